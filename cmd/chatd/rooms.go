package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"chatd/muc"
)

// roomsFile has the rooms in which sessions are that wait for resumption while no chatd runs, as sessionsFile has those.
const roomsFile = "rooms.json"

// roomsTimeout bounds how long rooms may take to move.
const roomsTimeout = 5 * time.Second

const roomsVersion = "chatd rooms 1\n"

// keepRooms writes the rooms that somebody is still in: nobody but sessions that are kept.
func (s *server) keepRooms() error {
	return replaceFile(filepath.Join(s.cfg.Data, roomsFile), 0o600, func(w io.Writer) error { return writeKept(w, roomsVersion, s.rooms.Export()) })
}

// restoreRooms goes on with the rooms that the process before this one has kept, once the sessions are restored.
func (s *server) restoreRooms() error {
	path := filepath.Join(s.cfg.Data, roomsFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := readKept[muc.State](f, roomsVersion)
	f.Close()
	if err != nil {
		s.log.Warn("rooms not restored: their occupants enter them anew", "file", path, "err", err)
	}
	for _, x := range all {
		if err := s.rooms.Import(x); err != nil {
			s.log.Warn("room not restored", "room", x.Name, "err", err)
		}
	}
	return removeFile(path)
}

// moveRooms gives the rooms to other nodes while their occupants are still connected.
func (s *server) moveRooms(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, roomsTimeout)
	defer cancel()
	s.others.Retire()
	if err := s.rooms.Leave(ctx); err != nil {
		s.log.Warn("stopped before all rooms had moved", "err", err)
	}
}
