package muc

import (
	"bytes"
	"encoding/binary"
	"time"

	"chatd/store"
)

// A standby is the copy of a room whose home is another node.
type standby struct {
	home  string // "" once it is gone
	of    string // which it was; it may be back
	state *State
}

// copied takes a copy or what has changed of one.
func (s *Service) copied(node, room string, kind byte, payload []byte) bool {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	has := sh.copies[room]
	if kind == frameForget {
		if has != nil && has.home == node {
			delete(sh.copies, room)
		}
		return true
	}
	if kind == frameHistory {
		return has.remember(node, payload, s.cfg.Load().HistoryMessages)
	}
	x, _, ok := readState(room, payload)
	switch {
	case !ok:
		return false
	case kind == frameCopy && x.Config != nil:
		if sh.copies == nil {
			sh.copies = make(map[string]*standby)
		}
		sh.copies[room] = &standby{home: node, state: x}
	case has != nil && has.home == node:
		has.state.apply(x)
	}
	return true
}

func (c *standby) remember(node string, payload []byte, max int) bool {
	if len(payload) < 8 {
		return false
	}
	id, wire, ok := cutText(payload[8:])
	if ok && c != nil && c.home == node {
		at := time.UnixMilli(int64(binary.LittleEndian.Uint64(payload))).UTC()
		c.state.remember(store.HistoryMessage{ID: string(id), Stored: at, Stanza: bytes.Clone(wire)}, max)
	}
	return ok
}

// takeCopy is the copy of a room whose home is gone, which is then forgotten; nil if there is none.
func (s *Service) takeCopy(room string) *standby {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.copies[room]
	if c == nil || s.reaches(c.home) {
		return nil
	}
	delete(sh.copies, room)
	return c
}

// homeOrCopied is the node whose room there is a copy of here, if that can be reached, or else the one that has borrowed it, or its home.
func (s *Service) homeOrCopied(room string) string {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c := sh.copies[room]; c != nil && s.reaches(c.home) {
		return c.home
	}
	return s.where(sh, room, true)
}
