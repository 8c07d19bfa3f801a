package xep

import (
	"context"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

const nsDelay = "urn:xmpp:delay"

// HandOver gives a session the messages that wait for its user, oldest first,
// and then calls reachable, which must make the session reachable in the table
// and not block: from then on the router delivers to it directly. A message
// leaves the store once the operating system has taken it for the client.
//
// reachable is called exactly once whatever happens. After a failure the rest
// waits for the next HandOver, so that newer messages overtake it; after one of the store's
// that comes by itself when the store works again. When
// another session of the user takes too long over its own HandOver, that one
// gets the messages and this one becomes reachable without.
//
// It runs on the session's reading goroutine and blocks on the store and on the
// client.
func (o *Offline) HandOver(ctx context.Context, s router.Session, reachable func()) {
	if !o.handOver(ctx, s, anew, reachable) {
		o.owe(ctx, s, 0)
	}
}

// anew, as a number, is for what the session has been handed and not acknowledged, too.
const anew = -1

// handOver is HandOver of what waits behind a number and behind what the session has been handed. It reports whether the store could be
// read.
func (o *Offline) handOver(ctx context.Context, s router.Session, after int64, reachable func()) bool {
	user := s.JID().Local()
	end, ok := o.begin(ctx, user)
	if !ok {
		o.open(user, reachable)
		return true
	}
	defer end()
	handed := &s.State().HandedOver
	if after > handed.Load() || after == anew {
		handed.Store(max(0, after))
	}
	if after == anew {
		s.State().Handed.Again()
	}
	for {
		page, err := o.next(ctx, user, handed.Load(), reachable)
		if err != nil {
			return false
		}
		if len(page) == 0 {
			o.settled(s)
			return true
		}
		last := page[len(page)-1].Seq
		sts, seqs := o.delayed(user, o.withoutHad(ctx, s, page))
		kept, err := s.SendNow(ctx, sts, seqs)
		if err != nil {
			o.r.Log.Info("messages not handed over", "to", s.JID(), "err", err)
			o.open(user, reachable)
			return true
		}
		handed.Store(last)
		if !kept && len(seqs) > 0 {
			o.remove(ctx, user, append(seqs, s.State().Handed.Had(seqs)...))
		}
	}
}

// withoutHad leaves out what was delivered here already, or given to the session by another number: the node that has stored it could not
// know, or it was stored for another resource. It is removed, or will be when the client has acknowledged the other one.
func (o *Offline) withoutHad(ctx context.Context, s router.Session, page []store.OfflineMessage) (rest []store.OfflineMessage) {
	var all []int64
	for _, m := range page {
		id, handed := idOf(m), &s.State().Handed
		give, had := false, false
		switch {
		case o.Had == nil: // the store has nothing twice
			had = handed.Has(id)
			give = !had
		case o.Had(id):
			had = true
		default:
			give, had = handed.Take(id, m.Seq)
		}
		if give {
			rest = append(rest, m)
		} else if had {
			all = append(all, m.Seq)
		}
	}
	if len(all) > 0 {
		o.remove(ctx, s.JID().Local(), all)
	}
	return rest
}

// next reads a page of messages. If there is none, or none can be read, it makes
// the session reachable before anyone can store another.
func (o *Offline) next(ctx context.Context, user string, after int64, reachable func()) (page []store.OfflineMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	gate := o.gate(user)
	gate.Lock()
	defer gate.Unlock()
	for {
		page, err = o.messages.OfflinePage(ctx, user, after, offlinePage)
		all := page
		if page = o.withoutCopies(user, all); len(page) > 0 || len(all) == 0 {
			break
		}
		after = all[len(all)-1].Seq
	}
	if err != nil {
		o.r.Log.Log(ctx, stanza.FaultLevel(err), "waiting messages not read", "user", user, "err", err)
	}
	if err != nil || len(page) == 0 {
		reachable()
	}
	return page, err
}

// open makes a session reachable that was not handed everything.
func (o *Offline) open(user string, reachable func()) {
	gate := o.gate(user)
	gate.Lock()
	defer gate.Unlock()
	reachable()
}

// delayed turns a page into stanzas with the time at which each was stored
// (XEP-0203 §2), and tells which ones they are. One that cannot be read stays in
// the store.
func (o *Offline) delayed(user string, page []store.OfflineMessage) (sts []*stanza.Stanza, seqs []int64) {
	for _, m := range page {
		st, err := stanza.Parse(m.Stanza)
		if err != nil {
			o.r.Log.Error("stored message is unreadable", "user", user, "seq", m.Seq, "err", err)
			continue
		}
		inner := append(st.Inner, "<delay xmlns='"+nsDelay+"' from='"...)
		inner = stanza.AppendEscaped(inner, o.r.Domain.String())
		inner = append(inner, "' stamp='"...)
		inner = m.Stored.UTC().AppendFormat(inner, dateTimeMillis)
		st.Inner = append(inner, "'/>"...)
		sts, seqs = append(sts, st), append(seqs, m.Seq)
	}
	return sts, seqs
}

// remove deletes what has been handed over, also when the session's context
// has ended since: it must not be delivered twice.
func (o *Offline) remove(ctx context.Context, user string, seqs []int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := o.messages.RemoveOffline(ctx, user, seqs); err != nil {
		o.r.Log.Log(ctx, stanza.FaultLevel(err), "delivered messages not removed", "user", user, "err", err)
	}
}

// begin waits for the user's turn: two sessions that come at once must not get
// the same messages. ok is false if the turn did not come in time.
func (o *Offline) begin(ctx context.Context, user string) (end func(), ok bool) {
	ctx, cancel := context.WithTimeout(ctx, handOverWait)
	defer cancel()
	for {
		o.mu.Lock()
		other, taken := o.busy[user]
		if !taken {
			mine := make(chan struct{})
			o.busy[user] = mine
			o.mu.Unlock()
			return func() {
				o.mu.Lock()
				delete(o.busy, user)
				o.mu.Unlock()
				close(mine)
			}, true
		}
		o.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, false
		}
	}
}
