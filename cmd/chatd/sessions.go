package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"chatd/c2s"
)

// sessionsFile has the sessions that wait for resumption while no chatd runs, from a stop in
// order to the next start: a line that says so, one line of JSON for each, and a line with their number
// and the SHA-256 of all before it.
const sessionsFile = "sessions.json"

const (
	sessionsVersion = "chatd sessions 1\n"
	sessionsEnd     = "end %d %x\n"
	// sessionLine bounds one line in bytes: what JSON makes of the largest session.
	sessionLine = 4 * c2s.KeptBytes
)

var errSessionsFile = errors.New("damaged, or of another version of chatd")

// keepSessions is c2s.Server.Keep.
func keepSessions(dir string) func(iter.Seq[*c2s.Suspended]) error {
	return func(all iter.Seq[*c2s.Suspended]) error {
		return replaceFile(filepath.Join(dir, sessionsFile), 0o600, func(w io.Writer) error { return writeSessions(w, all) })
	}
}

func writeSessions(w io.Writer, all iter.Seq[*c2s.Suspended]) error {
	buf := bufio.NewWriterSize(w, 64<<10)
	sum := sha256.New()
	out := io.MultiWriter(buf, sum)
	if _, err := io.WriteString(out, sessionsVersion); err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false) // stanzas are full of it
	n := 0
	for x := range all {
		if err := enc.Encode(x); err != nil {
			return err
		}
		n++
	}
	if _, err := fmt.Fprintf(buf, sessionsEnd, n, sum.Sum(nil)); err != nil {
		return err
	}
	return buf.Flush()
}

// readSessions gives all that was written, or nothing. It needs as much memory as the file has bytes.
func readSessions(r io.Reader) ([]*c2s.Suspended, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, sessionLine)
	lines.Split(wholeLines)
	sum := sha256.New()
	if !lines.Scan() || lines.Text() != sessionsVersion {
		return nil, errors.Join(errSessionsFile, lines.Err())
	}
	sum.Write(lines.Bytes())
	var all []*c2s.Suspended
	for lines.Scan() {
		line := lines.Bytes()
		if line[0] != '{' {
			if !isEnd(line, len(all), sum) || lines.Scan() || lines.Err() != nil {
				return nil, errSessionsFile
			}
			return all, nil
		}
		sum.Write(line)
		x := new(c2s.Suspended)
		if err := json.Unmarshal(line, x); err != nil {
			return nil, fmt.Errorf("%w: %w", errSessionsFile, err)
		}
		all = append(all, x)
	}
	return nil, errors.Join(errSessionsFile, lines.Err())
}

// wholeLines is bufio.ScanLines, but each line is with its end, and has one.
func wholeLines(data []byte, atEOF bool) (n int, line []byte, err error) {
	n = bytes.IndexByte(data, '\n') + 1
	switch {
	case n > 0:
		return n, data[:n], nil
	case atEOF && len(data) > 0:
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

func isEnd(line []byte, n int, sum hash.Hash) bool {
	return string(line) == fmt.Sprintf(sessionsEnd, n, sum.Sum(nil))
}

// restoreSessions goes on with the sessions that the process before this one has kept. An error
// means that the next one would do so again.
func (s *server) restoreSessions(ctx context.Context) error {
	path := filepath.Join(s.cfg.Data, sessionsFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := readSessions(f)
	f.Close()
	if err != nil {
		s.log.Warn("sessions not restored: their clients log in anew", "file", path, "err", err)
	}
	if len(all) > 0 {
		s.log.Info("sessions restored", "sessions", len(all), "resumable", s.clients.Import(context.WithoutCancel(ctx), all)) // who stops chatd now has it keep them again
	}
	return removeFile(path)
}
