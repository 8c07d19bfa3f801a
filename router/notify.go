package router

import (
	"context"
	"errors"

	"chatd/stanza"
)

// A Fate is what has become of a message.
type Fate string

// What can become of a message that a service sends.
const (
	Delivered Fate = "delivered" // queued to one session of the user's or more
	Stored    Fate = "stored"    // waits until the user can be reached
	Dropped   Fate = "dropped"   // nobody was there, and it is of a type that does not wait
	Refused   Fate = "refused"   // by the user's block list, a rule, or a limit
)

// Notify delivers a message of a service to a user's bare JID as RFC 6121 §8.5.2 has it for a client's, and tells what became of
// it. The type is chat, normal or headline. What the server's own address sends no block list and no rule stops. It
// blocks on the store; an error that is a *stanza.Error says why the message was refused.
func (r *Router) Notify(ctx context.Context, st *stanza.Stanza) (Fate, error) {
	var b Batch
	defer b.Flush()
	r.Metrics.routed[st.Kind].Inc()
	if Storable(st) {
		st.Identify()
	}
	rows := r.rows(ctx, &b, st)
	if r.blocked(&b, rows, st) || r.refusedAtReceiver(ctx, &b, rows, st) {
		return Refused, stanza.ErrServiceUnavailable
	}
	if st.Type == stanza.Headline {
		sent := false
		for _, row := range rows {
			sent = row.Reachable() && row.Session.Send(&b, st) || sent
		}
		if sent {
			return Delivered, nil
		}
		r.drop(dropNoResource)
		return Dropped, nil
	}
	return r.notifyOrHold(ctx, &b, rows, st)
}

// notifyOrHold is for what waits if need be.
func (r *Router) notifyOrHold(ctx context.Context, b *Batch, rows []Row, st *stanza.Stanza) (Fate, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for ; ; rows = r.rows(ctx, b, st) {
		if r.toMostAvailable(ctx, b, rows, st) {
			return Delivered, nil
		}
		r.settle(ctx, st)
		_, err := r.Spool.Hold(ctx, st)
		var refusal *stanza.Error
		switch {
		case err == nil:
			r.Metrics.Held.Inc()
			r.Table.Elsewhere.Held(st.To)
			return Stored, nil
		case errors.Is(err, ErrReachable) && ctx.Err() == nil:
			continue
		case errors.Is(err, ErrTransient):
			r.drop(dropNoResource)
			return Dropped, nil
		case errors.As(err, &refusal):
			r.drop(dropRefused)
			return Refused, refusal
		}
		r.drop(dropStore)
		return Dropped, err
	}
}
