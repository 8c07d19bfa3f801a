package xep

import (
	"context"
	"errors"

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
