package xep

import (
	"context"
	"errors"
	"slices"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// Withdraw is router.Spool. The store may have the message, or have it soon: a write may still be under way. What is asked of the store later about
// the same message waits for that.
func (o *Offline) Withdraw(st *stanza.Stanza) {
	if knownAs(st) == "" {
		return
	}
	l := &o.late
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.bytes+st.Size() > lateBytes {
		return
	}
	l.withdrawn = append(l.withdrawn, st.Clone())
	l.bytes += st.Size()
	o.serveLateLocked()
}

// takeOut takes what was withdrawn out of the store, until that fails.
func (o *Offline) takeOut(ctx context.Context) {
	l := &o.late
	for {
		l.mu.Lock()
		if len(l.withdrawn) == 0 {
			l.mu.Unlock()
			return
		}
		st := l.withdrawn[0]
		l.mu.Unlock()
		if !o.takeOneOut(ctx, st) {
			return
		}
		l.mu.Lock()
		l.withdrawn = slices.Delete(l.withdrawn, 0, 1)
		l.bytes -= st.Size()
		l.mu.Unlock()
	}
}

// takeOneOut reports whether that is over. Nobody here is handed the message meanwhile.
func (o *Offline) takeOneOut(ctx context.Context, st *stanza.Stanza) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	user := st.To.Local()
	end, ok := o.begin(ctx, user)
	if !ok {
		return false
	}
	defer end()
	m, err := o.message(st)
	var seq int64
	if err == nil {
		m.Again = true
		seq, err = o.messages.AppendOffline(ctx, user, m, -1)
	}
	if err == nil {
		err = o.messages.RemoveOffline(ctx, user, []int64{seq})
	}
	var refusal *stanza.Error
	return err == nil || errors.Is(err, store.ErrFull) || errors.Is(err, router.ErrTransient) || errors.As(err, &refusal)
}
