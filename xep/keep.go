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
	if seq, err = o.append(ctx, user, m); err != nil {
		return 0, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kept[user] == nil {
		o.kept[user] = make(map[int64]struct{})
	}
	o.kept[user][seq] = struct{}{}
	return seq, nil
}

// Release is router.Spool.
func (o *Offline) Release(ctx context.Context, user stanza.JID, seqs []int64, ended bool) {
	local := user.Local()
	if seqs = o.keptOf(local, seqs); len(seqs) == 0 {
		return
	}
	for ended {
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

// keptOf is which of some messages are kept for a session here.
func (o *Offline) keptOf(user string, seqs []int64) (kept []int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, seq := range seqs {
		if _, is := o.kept[user][seq]; is {
			kept = append(kept, seq)
		}
	}
	return kept
}

// handKept hands messages that were kept for one session to another one, for which they are kept from then on if that has stream management.
// It reports whether that was done.
func (o *Offline) handKept(ctx context.Context, s router.Session, seqs []int64) bool {
	user := s.JID().Local()
	end, ok := o.begin(ctx, user)
	if !ok {
		return false
	}
	defer end()
	after, last := slices.Min(seqs)-1, slices.Max(seqs)
	for after < last {
		all, err := o.messages.OfflinePage(ctx, user, after, offlinePage)
		if err != nil || len(all) == 0 {
			return err == nil
		}
		after = all[len(all)-1].Seq
		page := slices.DeleteFunc(all, func(m store.OfflineMessage) bool { return !slices.Contains(seqs, m.Seq) })
		sts, handed := o.delayed(user, page)
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
