package muc

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"chatd/stanza"
	"chatd/store"
)

// storeAgain is after how long the store is tried again that could not take a merged room, or could not be asked for one that has lost its home.
const storeAgain = 5 * time.Second

// conflicts reports whether what is kept of two whole copies of a room differs: then the store may have that of either, or of one some and of the other the rest. A blank one has
// nothing that anybody has set.
func (x *State) conflicts(y *State) bool {
	if x.Configured == 0 || y.Configured == 0 || x.Config == nil || y.Config == nil {
		return false
	}
	return !bytes.Equal(x.Config, y.Config) || !bytes.Equal(x.Subject, y.Subject) || !slices.Equal(x.Affiliations, y.Affiliations)
}

// with is one room of two copies of it, of which y may be a part.
func (x *State) with(y *State) *State {
	m := merge(x, y.filled(x))
	m.Unkept = m.Unkept || x.conflicts(y)
	return m
}

// keepMerged has what two rooms have become that were one written as it is, once; it is there for the store's sake until then. The caller holds r.mu.
func (s *Service) keepMerged(r *room) {
	r.unkept = true
	s.wake(r)
}

// writeWhole writes what is kept of a room, all of it, and what of its history is in memory. There is no change meanwhile, and it does not move: nothing newer is written over.
func (s *Service) writeWhole(r *room) {
	name := r.at.Local()
	if !s.stays(name) {
		s.keepLater(r, true) // by its new home, if it goes
		return
	}
	defer s.leaveLane(name)
	r.admin.Lock()
	defer r.admin.Unlock()
	r.mu.Lock()
	rec, err := r.record(r.cfg)
	there, all := r.affiliates.stored(), r.standings()
	kept := r.phase == open && r.cfg.Persistent
	r.unkept = false
	r.mu.Unlock()
	if !kept {
		return
	}
	if err == nil {
		err = s.storeWhole(rec, there, all)
	}
	if err == nil {
		s.archivePast(r)
		return
	}
	s.log.Log(s.ctx, stanza.FaultLevel(err), "merged room not written", "room", r.at, "err", err)
	if stanza.Passing(err) {
		s.keepLater(r, true)
	}
}

// storeWhole has the store have a room as it is: there are its affiliations, all has those besides that are no more.
func (s *Service) storeWhole(rec store.Room, there, all []store.Affiliation) error {
	ctx, cancel := context.WithTimeout(s.ctx, storeTimeout)
	defer cancel()
	err := s.store.UpdateRoom(ctx, rec.Name, func(kept *store.Room) error {
		kept.Config, kept.Subject = rec.Config, rec.Subject
		return nil
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return s.store.CreateRoom(ctx, rec, there)
	case err != nil:
		return err
	}
	return s.store.SetAffiliations(ctx, rec.Name, all)
}

// archivePast has all messages written that are in memory, before others: those that the store has already it does not take again.
func (s *Service) archivePast(r *room) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]archived, 0, len(r.past.messages)+len(r.unwritten))
	for _, m := range r.past.messages {
		all = append(all, archived{utterance: m})
	}
	r.unwritten = append(all, r.unwritten...)
}

// keepLater has a room be written or read after a while.
func (s *Service) keepLater(r *room, unkept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unkept = r.unkept || unkept
	s.tryLater(r)
}

// tryLater has the store be tried again for a room. The caller holds r.mu.
func (s *Service) tryLater(r *room) {
	if r.rests {
		return
	}
	r.rests = true
	time.AfterFunc(storeAgain, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.rests = false
		if r.phase != gone && s.ctx.Err() == nil {
			s.wake(r)
		}
	})
}

// stays enters the lane of a room that is here and does not go; leaveLane ends that.
func (s *Service) stays(name string) bool {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.moves(name) && sh.lanes[name].moving.to != "" {
		return false
	}
	s.lane(sh, name).active++
	return true
}

// standings are the room's affiliations, and those that are none any more.
func (r *room) standings() (all []store.Affiliation) {
	all = r.affiliates.stored()
	for jid := range r.rep.stamps {
		if _, has := r.affiliates.find(jid); !has {
			all = append(all, store.Affiliation{JID: jid, As: None.String()})
		}
	}
	return all
}
