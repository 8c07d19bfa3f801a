package muc

import (
	"fmt"
	"time"
)

// ConsistencyCheck verifies what must hold at any time: each room under its own name, no nick and no session twice in one, nobody without a
// session, no temporary room that is empty.
func (s *Service) ConsistencyCheck() error {
	n, seats := 0, 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		rooms := make(map[string]*room, len(sh.rooms))
		for name, r := range sh.rooms {
			rooms[name] = r
		}
		sh.mu.RUnlock()
		for name, r := range rooms {
			r.mu.Lock()
			err := r.check(name)
			n++
			seats += r.seats
			r.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
	if got := s.count.Load(); got != int64(n) {
		return fmt.Errorf("muc: %d rooms are counted as %d", n, got)
	}
	return nil
}

func (r *room) check(name string) error {
	if r.at.Local() != name {
		return fmt.Errorf("muc: %s is under %s", r.at, name)
	}
	if r.phase == loading || r.phase == gone {
		return nil
	}
	if len(r.all) == 0 && !r.cfg.Persistent && !r.expected && !time.Now().Before(r.awaited) {
		return fmt.Errorf("muc: %s is temporary and empty", r.at)
	}
	nicks, sessions := make(map[string]bool), make(map[string]bool)
	for _, o := range r.all {
		if nicks[o.nick()] || r.named(o.nick()) != o {
			return fmt.Errorf("muc: %s: nick %q twice, or not found", r.at, o.nick())
		}
		nicks[o.nick()] = true
		if len(o.seats) == 0 {
			return fmt.Errorf("muc: %s has no session", o.at)
		}
		for i := range o.seats {
			full := o.seats[i].jid
			if sessions[full.String()] || r.of(full) != o {
				return fmt.Errorf("muc: %s: session %s twice, or not found", r.at, full)
			}
			sessions[full.String()] = true
		}
	}
	if len(sessions) != r.seats {
		return fmt.Errorf("muc: %s: %d sessions are counted as %d", r.at, len(sessions), r.seats)
	}
	return nil
}
