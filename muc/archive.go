package muc

import (
	"context"
	"errors"
	"time"

	"chatd/stanza"
	"chatd/store"
)

// maxUnwritten bounds how many messages of one room wait for the store. One more, and its sender is told to wait.
const maxUnwritten = 1000

// archived is what is to be written about one message.
type archived struct {
	utterance
	replaces bool        // it takes the place of the one with this id
	stone    []byte      // the tombstone, if what it is put on is in the store only; wire is nil
	by       *occupantID // the message is to be of this author's, if that is not nil
}

// archive has a message of a persistent room written: it has been delivered by then, and what the store is too slow for, or cannot take, delays nobody. The
// caller holds r.mu.
func (s *Service) archive(r *room, a archived) {
	if !r.cfg.Persistent {
		return
	}
	r.unwritten = append(r.unwritten, a)
	s.wake(r)
}

// wake has what is to be written of a room be written. The caller holds r.mu.
func (s *Service) wake(r *room) {
	if r.writing {
		return
	}
	r.writing = true
	s.writing.Add(1)
	go s.write(r)
}

// write writes what is to be kept of a room, and its history, until there is nothing more, in order.
func (s *Service) write(r *room) {
	defer s.writing.Done()
	for {
		r.mu.Lock()
		if (r.unkept || r.unread) && !r.rests { // first, as history is of a room that is there
			unread := r.unread
			r.mu.Unlock()
			if unread {
				s.readWhole(r)
			} else {
				s.writeWhole(r)
			}
			continue
		}
		todo := r.unwritten
		r.unwritten = nil
		r.writing = len(todo) > 0
		r.mu.Unlock()
		if len(todo) == 0 {
			s.settle(r)
			return
		}
		for i := range todo {
			s.writeOne(r.at, &todo[i])
		}
	}
}

func (s *Service) writeOne(at stanza.JID, a *archived) {
	ctx, cancel := context.WithTimeout(s.ctx, storeTimeout)
	defer cancel()
	id := string(a.id[:])
	var err error
	if a.replaces {
		err = s.buryStored(ctx, at, a)
	} else {
		_, err = s.store.AppendHistory(ctx, at.Local(), store.HistoryMessage{ID: id, Stored: time.UnixMilli(a.at), Stanza: a.wire}, s.cfg.Load().HistoryStored)
	}
	if err == nil || errors.Is(err, store.ErrNotFound) { // the room has been destroyed, or the message is too old
		return
	}
	s.Metrics.unstored.Inc()
	s.log.Log(ctx, stanza.FaultLevel(err), "room's history not written", "room", at, "err", err)
}

// buryStored puts a tombstone in the place of a message in the store: the one that is ready, or one of whom the message is from.
func (s *Service) buryStored(ctx context.Context, at stanza.JID, a *archived) error {
	id, wire := string(a.id[:]), a.wire
	if a.stone != nil {
		kept, err := s.store.HistoryMessage(ctx, at.Local(), id)
		if err != nil {
			return err
		}
		m := remembered(kept)
		if a.by != nil && m.by != *a.by {
			return nil
		}
		if wire, err = m.tombstone(at, a.stone); err != nil {
			return err
		}
	}
	return s.store.ReplaceHistory(ctx, at.Local(), id, wire)
}
