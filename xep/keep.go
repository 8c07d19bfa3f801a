package xep

import (
	"context"
	"errors"
	"slices"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// Keep is router.Spool. The gate has whoever is handed messages meanwhile know of the copy when it is seen.
func (o *Offline) Keep(ctx context.Context, st *stanza.Stanza) (seq int64, err error) {
	m, err := o.message(st)
	var hint *stanza.Error
	if errors.Is(err, router.ErrTransient) || errors.As(err, &hint) {
		return 0, nil // as its sender wishes (XEP-0334 §4.2)
	}
	if err != nil {
		return 0, err
	}
	user := st.To.Local()
	gate := o.gate(user)
	gate.RLock()
	defer gate.RUnlock()
	if seq, err = o.append(ctx, st.To, m); err != nil {
		return 0, err
	}
	o.keepFor(user, []int64{seq})
	return seq, nil
}

// Release is router.Spool.
func (o *Offline) Release(ctx context.Context, user stanza.JID, seqs []int64, ended bool) {
	local := user.Local()
	for ended && len(seqs) > 0 {
		gate := o.gate(local) // who is being handed what waits gets these as well, or can be reached by now
		gate.RLock()
		s := o.reachable(user)
		if s == nil {
			o.unkeep(local, seqs)
		}
		gate.RUnlock()
		if s == nil || o.handKept(ctx, s, seqs) {
			return
		}
		ended = ctx.Err() == nil && o.reachable(user) != s
	}
	o.unkeep(local, seqs)
}

// newTo is which of some messages a session was not handed: what was kept for another one, and what came behind all that it was handed.
func (o *Offline) newTo(s router.Session, seqs []int64) (rest []int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, seq := range seqs {
		if _, kept := o.kept[s.JID().Local()][seq]; kept || seq > s.State().HandedOver.Load() {
			rest = append(rest, seq)
		}
	}
	return rest
}

// handKept hands messages to a session that were kept for another one; if it acknowledges later they are kept for it from then on.
// It reports whether that was done.
func (o *Offline) handKept(ctx context.Context, s router.Session, seqs []int64) bool {
	user := s.JID().Local()
	end, ok := o.begin(ctx, user)
	if !ok {
		return false
	}
	defer end()
	if seqs = o.newTo(s, seqs); len(seqs) == 0 {
		return true
	}
	o.unkeep(user, seqs) // those that the session is given are kept for it
	after, last := slices.Min(seqs)-1, slices.Max(seqs)
	for after < last {
		all, err := o.messages.OfflinePage(ctx, user, after, offlinePage)
		if err != nil || len(all) == 0 {
			return err == nil
		}
		after = all[len(all)-1].Seq
		page := slices.DeleteFunc(all, func(m store.OfflineMessage) bool { return !slices.Contains(seqs, m.Seq) })
		sts, handed := o.delayed(user, o.withoutHad(ctx, s, page))
		o.keepFor(user, handed)
		kept, err := s.SendNow(ctx, sts, handed)
		if err != nil {
			return false
		}
		if !kept {
			o.remove(ctx, user, handed)
			o.unkeep(user, handed)
		}
	}
	return true
}

// keepFor notes that messages are handed to nobody here.
func (o *Offline) keepFor(user string, seqs []int64) {
	if len(seqs) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kept[user] == nil {
		o.kept[user] = make(map[int64]struct{})
	}
	for _, seq := range seqs {
		o.kept[user][seq] = struct{}{}
	}
}

// unkeep notes that messages are copies no more.
func (o *Offline) unkeep(user string, seqs []int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	copies := o.kept[user]
	for _, seq := range seqs {
		delete(copies, seq)
	}
	if len(copies) == 0 {
		delete(o.kept, user)
	}
}

// withoutCopies leaves out what sessions here have.
func (o *Offline) withoutCopies(user string, page []store.OfflineMessage) []store.OfflineMessage {
	o.mu.Lock()
	defer o.mu.Unlock()
	copies := o.kept[user]
	if len(copies) == 0 {
		return page
	}
	var rest []store.OfflineMessage
	for _, m := range page {
		if _, is := copies[m.Seq]; !is {
			rest = append(rest, m)
		}
	}
	return rest
}
