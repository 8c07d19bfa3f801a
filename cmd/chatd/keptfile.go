package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"

	"chatd/c2s"
)

const (
	keptEnd = "end %d %x\n"
	// keptLine bounds one line in bytes: what JSON makes of the largest session.
	keptLine = 4 * c2s.KeptBytes
)

var errKeptFile = errors.New("damaged, or of another version of chatd")

// writeKept writes what outlives the process: a line that says so, one line of JSON for each, and a line with their number and the SHA-256 of all
// before it.
func writeKept[T any](w io.Writer, version string, all iter.Seq[*T]) error {
	buf := bufio.NewWriterSize(w, 64<<10)
	sum := sha256.New()
	out := io.MultiWriter(buf, sum)
	if _, err := io.WriteString(out, version); err != nil {
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
	if _, err := fmt.Fprintf(buf, keptEnd, n, sum.Sum(nil)); err != nil {
		return err
	}
	return buf.Flush()
}

// readKept gives all that was written, or nothing. It needs as much memory as the file has bytes.
func readKept[T any](r io.Reader, version string) ([]*T, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, keptLine)
	lines.Split(wholeLines)
	sum := sha256.New()
	if !lines.Scan() || lines.Text() != version {
		return nil, errors.Join(errKeptFile, lines.Err())
	}
	sum.Write(lines.Bytes())
	var all []*T
	for lines.Scan() {
		line := lines.Bytes()
		if line[0] != '{' {
			if !isEnd(line, len(all), sum) || lines.Scan() || lines.Err() != nil {
				return nil, errKeptFile
			}
			return all, nil
		}
		sum.Write(line)
		x := new(T)
		if err := json.Unmarshal(line, x); err != nil {
			return nil, fmt.Errorf("%w: %w", errKeptFile, err)
		}
		all = append(all, x)
	}
	return nil, errors.Join(errKeptFile, lines.Err())
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
	return string(line) == fmt.Sprintf(keptEnd, n, sum.Sum(nil))
}
