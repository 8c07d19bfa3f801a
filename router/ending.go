package router

import (
	"context"
	"time"

	"chatd/stanza"
)

// A session that ends routes anew what it could not send. What is sent to its
// user meanwhile must not overtake that (RFC 6120 §10.1): it waits.

// endingTimeout bounds how long a stanza waits for a session to end.
const endingTimeout = 5 * time.Second

// rows is the table's rows for the recipient, once nothing of the recipient's is being moved and those of its sessions that are
// ending have ended.
func (r *Router) rows(ctx context.Context, b *Batch, st *stanza.Stanza) []Row {
	rows := b.recipients(r.Table, st)
	if done := r.Table.Elsewhere.Moving(st.To); done != nil { // behind the rows: if there is one instead of another node's, it is so by now
		r.await(ctx, b, st, stanza.JID{}, done)
		rows = r.Table.Rows(st.To)
	}
	return r.settledRows(ctx, b, st, rows, r.Table.Rows)
}

// settle waits until nothing of the recipient's is being moved, so that st is not stored before it.
func (r *Router) settle(ctx context.Context, st *stanza.Stanza) {
	for done := r.Table.Elsewhere.Moving(st.To); done != nil && ctx.Err() == nil; done = r.Table.Elsewhere.Moving(st.To) {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// settledRows is rows, or what again says of the recipient once those that are ending have ended.
func (r *Router) settledRows(ctx context.Context, b *Batch, st *stanza.Stanza, rows []Row, again func(stanza.JID) []Row) []Row {
	ending := false
	for i := range rows {
		if rows[i].Wait != nil {
			ending = true
			r.await(ctx, b, st, rows[i].Session.JID(), rows[i].Wait)
		}
	}
	if ending {
		return again(st.To)
	}
	return rows
}

// Storable reports whether a message is of the types that are kept for who is not there
// (XEP-0160 §3) and copied to other resources (XEP-0280 §6.1); both have finer rules
// besides.
func Storable(st *stanza.Stanza) bool {
	return st.Kind == stanza.Message && (st.Type == stanza.Chat || st.Type == stanza.None)
}

// detached reports whether a message is for a session that waits for resumption
// (XEP-0198 §5). It goes to another resource of the user or to the store, where it
// survives this process.
func detached(rows []Row, st *stanza.Stanza) bool {
	if !Storable(st) {
		return false
	}
	for i := range rows {
		if rows[i].Detached && rows[i].Session.JID() == st.To {
			return true
		}
	}
	return false
}

// ArrivingTime is how long a resource that was bound is expected to say that it is available.
const ArrivingTime = 10 * time.Second

// arriving reports whether a message is for a resource that has just come and has yet to be handed what waits, which it is when it says that
// it is available (XEP-0160 §3). Where nobody else can be reached the message waits, too, so that it does not overtake that (RFC 6120 §10.1).
func (r *Router) arriving(ctx context.Context, b *Batch, rows []Row, st *stanza.Stanza) bool {
	i := resourceIn(rows, st.To)
	if best, _ := highestPriority(rows); i < 0 || !Storable(st) || best >= 0 {
		return false
	}
	if row := &rows[i]; row.Available && row.Priority != Pending || !row.Available && row.Flags&Arriving == 0 {
		return false
	}
	b.Flush()
	return r.Spool.Waits(ctx, st.To.Local())
}

// refused waits for the end of a session that did not take st, unless it is that it
// now waits for resumption.
func (r *Router) refused(ctx context.Context, b *Batch, st *stanza.Stanza, s Session) {
	if row, ok := r.Table.Row(s.JID()); ok && row.Session == s && row.Detached {
		return
	}
	r.await(ctx, b, st, s.JID(), s.Done())
}

// await waits until the session of a full JID has ended. Only messages wait, and
// nobody for the end of the own session.
func (r *Router) await(ctx context.Context, b *Batch, st *stanza.Stanza, full stanza.JID, done <-chan struct{}) {
	if st.Kind != stanza.Message || st.From == full {
		return
	}
	b.Flush()
	timeout := time.NewTimer(endingTimeout)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	case <-ctx.Done():
	}
}

// Reroute finds another way for a stanza that a session took and could not
// send: another resource of its user, the spool, at once or later, or an error to the sender. The
// session is ending and marked so in the table.
func (r *Router) Reroute(ctx context.Context, st *stanza.Stanza) {
	r.reroute(ctx, st, r.Table.Rows, r.hold)
}

// A holder is hold or holdNow.
type holder func(context.Context, *Batch, *stanza.Stanza, func(stanza.JID) []Row) (taken bool, err error)

// reroute looks for resources in rows only, and does not wait for the session whose end this is. It reports whether another session has
// taken st.
func (r *Router) reroute(ctx context.Context, st *stanza.Stanza, rows func(stanza.JID) []Row, hold holder) (taken bool) {
	switch {
	case st.Type == stanza.TypeError || st.Type == stanza.Result || st.Kind == stanza.Presence:
		r.drop(dropErrorUndeliverable)
	case st.Kind == stanza.Message && st.Type == stanza.Headline:
		r.drop(dropNoResource)
	case st.Kind == stanza.Message && st.Type != stanza.Groupchat:
		to := rows(st.To)
		return hasShared(to, st) || r.toMostAvailable(ctx, nil, to, st) || r.holdAccepted(ctx, st, rows, hold)
	default:
		r.Fail(nil, st, stanza.ErrServiceUnavailable, dropNoResource)
	}
	return false
}

// holdAccepted is hold for a message that its sender takes for delivered, and may have left.
func (r *Router) holdAccepted(ctx context.Context, st *stanza.Stanza, rows func(stanza.JID) []Row, hold holder) (taken bool) {
	taken, err := hold(ctx, nil, st, rows)
	if err != nil {
		r.later(st, err)
	}
	return taken
}

// later is for such a message that the spool does not keep now.
func (r *Router) later(st *stanza.Stanza, err error) {
	if !r.Spool.HoldLater(st, err) {
		r.notHeld(nil, st, err)
	}
}
