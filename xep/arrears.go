package xep

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"chatd/router"
	"chatd/stanza"
)

const (
	// arrearsPause is how often it is tried to hand over what the store has kept back.
	arrearsPause = time.Second
	// arrearsHands is how many sessions are seen to at once: a client that does not read keeps one busy.
	arrearsHands = 8

	// lookTime is for how long Look tries, and lookPause how often.
	lookTime  = 10 * time.Second
	lookPause = 100 * time.Millisecond
)

// owe notes that a session has not got what waits behind a number. It is handed over once the store works again, while the
// session is reachable: what came meanwhile has overtaken it.
func (o *Offline) owe(ctx context.Context, s router.Session, after int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.arrears[s] = after
	if !o.serving {
		o.serving = true
		go o.serve(ctx)
	}
}

// Look hands over what another node has stored for a user who is reachable here. It blocks on the store and on the client, within
// lookTime: what the caller keeps back meanwhile overtakes nothing.
func (o *Offline) Look(ctx context.Context, user stanza.JID) {
	trying, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	for {
		others := o.turn(user.Local()) // before the rows: who was handed all since can be reached
		s := o.reachable(user)
		switch {
		case s != nil && o.handOver(trying, s, 0, func() {}):
			return
		case s == nil && others == nil: // who comes later finds it
			return
		case s == nil:
			select {
			case <-others:
				continue
			case <-trying.Done():
				return
			}
		}
		select {
		case <-time.After(lookPause):
		case <-trying.Done():
			o.owe(ctx, s, 0)
			return
		}
	}
}

// turn is closed when whoever is being handed a user's messages has been; nil: nobody is.
func (o *Offline) turn(user string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if busy, ok := o.busy[user]; ok {
		return busy
	}
	return nil
}

// reachable is one of the user's sessions here that messages may go to; nil: there is none.
func (o *Offline) reachable(user stanza.JID) router.Session {
	for _, row := range o.r.Table.Local(user) {
		if row.Reachable() {
			return row.Session
		}
	}
	return nil
}

func (o *Offline) settled(s router.Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.arrears, s)
}

// serve ends when nothing is owed to anybody any more, or with the server, when ctx does.
func (o *Offline) serve(ctx context.Context) {
	for {
		select {
		case <-time.After(arrearsPause):
		case <-ctx.Done():
			return
		}
		o.mu.Lock()
		sessions := slices.Collect(maps.Keys(o.arrears))
		if o.serving = len(sessions) > 0; !o.serving {
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		var hands sync.WaitGroup
		free := make(chan struct{}, arrearsHands)
		for _, s := range sessions {
			free <- struct{}{}
			hands.Go(func() {
				o.settle(ctx, s)
				<-free
			})
		}
		hands.Wait()
	}
}

// settle hands a session what it is owed, unless that is no more for it to get.
func (o *Offline) settle(ctx context.Context, s router.Session) {
	row, ok := o.r.Table.Row(s.JID())
	if !ok || row.Session != s || !row.Reachable() {
		o.settled(s)
		return
	}
	o.mu.Lock()
	after, owed := o.arrears[s]
	o.mu.Unlock()
	if owed {
		o.handOver(ctx, s, after, func() {})
	}
}
