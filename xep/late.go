package xep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

const (
	// lateBytes bounds the messages that wait in memory for the store; for those over it senders get errors.
	lateBytes = 64 << 20
	// latePause is how often it is tried to store them.
	latePause = 500 * time.Millisecond
	// lateHands is for how many users at once.
	lateHands = 64
)

// errBehind is of a message that would overtake one that waits in memory.
var errBehind = fmt.Errorf("xep: older messages wait for the store: %w", store.ErrNotTried)

// late is messages that were accepted for a user who was there, were left over by a session that ended, and wait for the store
// to work again. They live as long as the process.
type late struct {
	mu        sync.Mutex
	waiting   map[string][]*lateMessage // by user, oldest first
	count     int
	withdrawn []*stanza.Stanza // what is to be taken out, oldest first
	bytes     int              // of both
	serving   bool
	closed    bool
	ctx       context.Context // ends with Close
	end       context.CancelFunc
	running   sync.WaitGroup
}

// A lateMessage is one of them.
type lateMessage struct {
	st    *stanza.Stanza
	doubt bool // the store may have it
}

// HoldLater is router.Spool.
func (o *Offline) HoldLater(st *stanza.Stanza, cause error) bool {
	if !stanza.Passing(cause) {
		return false
	}
	l := &o.late
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.bytes+st.Size() > lateBytes {
		return false
	}
	o.stores(knownAs(st))
	user := st.To.Local()
	l.waiting[user] = append(l.waiting[user], &lateMessage{st.Clone(), !errors.Is(cause, store.ErrNotTried)})
	l.count++
	l.bytes += st.Size()
	o.serveLateLocked()
	return true
}

func (o *Offline) serveLateLocked() {
	if l := &o.late; !l.serving {
		l.serving = true
		l.running.Go(o.storeLate)
	}
}

// Late is how many messages wait in memory for the store. Any goroutine may ask.
func (o *Offline) Late() int {
	o.late.mu.Lock()
	defer o.late.mu.Unlock()
	return o.late.count
}

// Settle waits until nothing waits in memory for the store, or ctx ends.
func (o *Offline) Settle(ctx context.Context) {
	pause := time.NewTicker(latePause)
	defer pause.Stop()
	for o.Late() > 0 {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// Close tries once more to store what waits in memory, and returns how much of it is lost. Nothing is taken afterwards.
func (o *Offline) Close(ctx context.Context) (lost int) {
	o.late.mu.Lock()
	o.late.closed = true
	o.late.mu.Unlock()
	o.late.end()
	o.late.running.Wait()
	o.tryLate(ctx)
	return o.Late()
}

// behind reports whether messages to a user wait already.
func (l *late) behind(user string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting[user]) > 0
}

// storeLate ends when nothing waits any more, or with Close.
func (o *Offline) storeLate() {
	l := &o.late
	for {
		select {
		case <-time.After(latePause):
		case <-l.ctx.Done():
			return
		}
		o.tryLate(l.ctx)
		l.mu.Lock()
		l.serving = l.count > 0 || len(l.withdrawn) > 0
		serving := l.serving
		l.mu.Unlock()
		if !serving {
			return
		}
	}
}

// tryLate stores what it can, and takes out what it can.
func (o *Offline) tryLate(ctx context.Context) {
	l := &o.late
	l.mu.Lock()
	users := make([]string, 0, len(l.waiting))
	for user := range l.waiting {
		users = append(users, user)
	}
	l.mu.Unlock()
	var hands sync.WaitGroup
	defer hands.Wait()
	hands.Go(func() { o.takeOut(ctx) })
	free := make(chan struct{}, lateHands)
	for _, user := range users {
		free <- struct{}{}
		hands.Go(func() {
			for m := l.first(user); m != nil && o.keepLate(ctx, user, m); m = l.first(user) {
				l.done(user)
			}
			<-free
		})
	}
}

// first is the oldest message to a user, nil if there is none.
func (l *late) first(user string) *lateMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting[user]) == 0 {
		return nil
	}
	return l.waiting[user][0]
}

// done drops the oldest message to a user. One goroutine at a time sees to a user.
func (l *late) done(user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.waiting[user]
	l.count--
	l.bytes -= of[0].st.Size()
	if l.waiting[user] = of[1:]; len(of) == 1 {
		delete(l.waiting, user)
	}
}

// keepLate stores a message, and reports whether that is over. A session that can be reached by now is handed it from the store.
func (o *Offline) keepLate(ctx context.Context, user string, l *lateMessage) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	end, ok := o.begin(ctx, user) // or else it might be stored behind the back of who is handing over
	if !ok {
		return false
	}
	defer end()
	m, err := o.permitted(ctx, l.st)
	var seq int64
	if err == nil {
		m.Again = l.doubt
		seq, err = o.append(ctx, l.st.To, m)
	}
	var refusal *stanza.Error
	switch {
	case err == nil:
		o.r.Metrics.Held.Inc()
		o.r.Table.Elsewhere.Held(l.st.To)
		o.oweReachable(l.st.To, seq-1)
		return true
	case errors.Is(err, router.ErrTransient):
		return true
	case errors.As(err, &refusal):
		o.r.Fail(nil, l.st, refusal, "refused")
		return true
	}
	l.doubt = l.doubt || !errors.Is(err, store.ErrNotTried)
	return false
}

// oweReachable has the user's most available session, if it is one of this node, handed what waits behind a number.
func (o *Offline) oweReachable(user stanza.JID, after int64) {
	var best *router.Row
	rows := o.r.Table.Rows(user)
	for i := range rows {
		if rows[i].Reachable() && (best == nil || rows[i].Priority > best.Priority) {
			best = &rows[i]
		}
	}
	if best == nil || best.Remote {
		return
	}
	o.mu.Lock()
	was, owed := o.arrears[best.Session]
	o.mu.Unlock()
	if !owed || was > after {
		o.owe(o.late.ctx, best.Session, after)
	}
}
