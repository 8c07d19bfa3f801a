package main

import (
	"context"
	"errors"
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

const sessionsVersion = "chatd sessions 1\n"

// keepSessions is c2s.Server.Keep.
func keepSessions(dir string) func(iter.Seq[*c2s.Suspended]) error {
	return func(all iter.Seq[*c2s.Suspended]) error {
		return replaceFile(filepath.Join(dir, sessionsFile), 0o600, func(w io.Writer) error { return writeSessions(w, all) })
	}
}

func writeSessions(w io.Writer, all iter.Seq[*c2s.Suspended]) error {
	return writeKept(w, sessionsVersion, all)
}

func readSessions(r io.Reader) ([]*c2s.Suspended, error) {
	return readKept[c2s.Suspended](r, sessionsVersion)
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
