// Package router decides where a stanza goes: the session table, the delivery
// rules of RFC 6121 §8, and the registry of IQ handlers. It knows neither
// connections nor the store nor any extension: it declares the small
// interfaces it needs (handler.go) and main brings them.
//
// Presence sits in two places: the table has each resource's availability and
// priority, because §8 routes by them; roster has the fan-out, because §4 is
// about friends.
package router

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"chatd/stanza"
)

// resourceAttempts is how often a stanza follows a resource from one session to the next.
const resourceAttempts = 4

// storeTimeout bounds how long one stanza may wait for the store.
const storeTimeout = 15 * time.Second

// A Router routes between the users of one domain. Its exported fields are
// set before the first stanza and fixed afterwards. Its methods are safe for
// concurrent use.
type Router struct {
	Domain   stanza.JID // the server's own address
	Table    *Table
	Presence Presence
	Spool    Spool
	Copies   Copies
	Users    Users
	Blocks   Blocks
	Rules    Rules // nil: none besides block lists
	Metrics  *Metrics
	Log      *slog.Logger
	// OnReject, if set, is told of each stanza that a rule refuses, by the rule's name and AtSender or AtReceiver. st is a
	// view. It runs on the sender's goroutine, perhaps under an account's lock, and must not block.
	OnReject func(st *stanza.Stanza, rule, side string)

	required atomic.Uint32 // a Requirement
	filter   atomic.Pointer[Filter]
	handlers map[Scope]map[payload]IQHandler
	services map[string]Service // by domain
}

// New makes a router for a domain. Presence, Spool, Copies, Users, Blocks and Rules are
// to be set by the caller.
func New(domain stanza.JID, log *slog.Logger) *Router {
	return &Router{
		Domain: domain, Table: NewTable(), Metrics: newMetrics(), Log: log,
		handlers: make(map[Scope]map[payload]IQHandler), services: make(map[string]Service),
	}
}

// FromClient takes a stanza that a client of this node sent, with From stamped. It
// may block on the store and calls b.Flush before it does.
func (r *Router) FromClient(ctx context.Context, b *Batch, s Session, st *stanza.Stanza) {
	if rand.Uint32()%latencySample != 0 {
		r.fromClient(ctx, b, s, st)
		return
	}
	begun := time.Now()
	r.fromClient(ctx, b, s, st)
	r.Metrics.latency.Observe(time.Since(begun).Seconds())
}

func (r *Router) fromClient(ctx context.Context, b *Batch, s Session, st *stanza.Stanza) {
	r.Metrics.routed[st.Kind].Inc()
	if st.To.IsZero() {
		if st.Kind == stanza.Presence {
			b.Flush()
			r.Presence.Broadcast(ctx, b, s, st)
			return
		}
		st.To = st.From.Bare() // RFC 6120 §10.3.1, §10.3.3
	}
	if l := s.State().Blocked.Load(); l != nil && l.Matches(st.To) && !r.neverBlocked(st) {
		r.Reject(st, RuleBlockList, AtSender)
		r.Fail(b, st, ErrBlocked, dropBlockedBySender) // XEP-0191 §3.3: never routed
		return
	}
	if r.refusedAtSender(ctx, b, st) {
		return
	}
	switch {
	case st.Kind == stanza.Presence && st.Type.IsSubscription():
		b.Flush()
		r.Presence.Outbound(ctx, b, s, st)
		return
	case st.Kind == stanza.Presence:
		r.Presence.Directed(s, st)
	case st.Kind == stanza.Message:
		if f := r.filter.Load(); f != nil {
			if st = r.filtered(ctx, b, *f, st); st == nil {
				return
			}
		}
		r.copySent(b, s, st)
		if Storable(st) && r.isUser(st.To) {
			st.Identify()
		}
	}
	r.RouteFrom(ctx, b, s, st)
}

// Route delivers a stanza by RFC 6121 §8. It may block on the store and calls
// b.Flush before it does.
func (r *Router) Route(ctx context.Context, b *Batch, st *stanza.Stanza) {
	r.RouteFrom(ctx, b, nil, st)
}

// RouteFrom is Route for what a session here says, as that it ends.
func (r *Router) RouteFrom(ctx context.Context, b *Batch, s Session, st *stanza.Stanza) {
	switch {
	case st.To.Domain() != r.Domain.Domain():
		r.toDomain(ctx, b, s, st)
	case st.To.Local() == "":
		r.toHost(ctx, b, s, st) // RFC 6121 §8.4, RFC 6120 §10.5.1
	case st.Kind == stanza.IQ && st.To.IsBare():
		r.toAccount(ctx, b, s, st) // RFC 6121 §8.5.1, §8.5.2.1.3
	case st.To.IsBare():
		r.toBare(ctx, b, st) // RFC 6121 §8.5.2
	default:
		r.toFull(ctx, b, st) // RFC 6121 §8.5.3
	}
}

// toDomain is for all that is not at the server's own domain: a service has it, or nobody.
func (r *Router) toDomain(ctx context.Context, b *Batch, s Session, st *stanza.Stanza) {
	if svc := r.services[st.To.Domain()]; svc != nil {
		svc.Handle(ctx, b, s, st)
		return
	}
	r.Fail(b, st, stanza.ErrRemoteServerNotFound, dropRemote) // RFC 6121 §8.1 without federation
}

// toFull is RFC 6121 §8.5.3.
func (r *Router) toFull(ctx context.Context, b *Batch, st *stanza.Stanza) {
	rows := r.rows(ctx, b, st)
	if r.blocked(b, rows, st) || r.refusedAtReceiver(ctx, b, rows, st) {
		return
	}
	if st.Kind == stanza.Presence && (st.Type.IsSubscription() || st.Type == stanza.Probe) {
		r.presenceToBare(ctx, b, rows, st) // they concern the account
		return
	}
	if detached(rows, st) || r.arriving(ctx, b, rows, st) {
		r.toBare(ctx, b, st) // where it is stored, until the session is resumed or was handed what waits
		return
	}
	if r.toResource(ctx, b, rows, st) { // §8.5.3.1
		return
	}
	switch { // §8.5.3.2
	case st.Type == stanza.TypeError || st.Type == stanza.Result:
		r.drop(dropErrorUndeliverable)
	case st.Kind == stanza.Presence:
		r.drop(dropNoResource)
	case st.Kind == stanza.Message && st.Type == stanza.Chat:
		r.toBare(ctx, b, st)
	default:
		r.Fail(b, st, stanza.ErrServiceUnavailable, dropNoResource)
	}
}

// toResource sends st to the resource that it names. A session that does not take it is
// ending: another one may have its place then.
func (r *Router) toResource(ctx context.Context, b *Batch, rows []Row, st *stanza.Stanza) bool {
	for range resourceAttempts {
		i := resourceIn(rows, st.To)
		if i < 0 {
			return false
		}
		if rows[i].Session.Send(b, st) {
			r.copyReceived(b, rows, i, st)
			return true
		}
		r.refused(ctx, b, st, rows[i].Session)
		rows = r.rows(ctx, b, st)
		if detached(rows, st) {
			r.toBare(ctx, b, st)
			return true
		}
	}
	return false
}

// resourceIn is the index of a full JID's row, -1 if it has none. Of a session here and a later one on another node, which is behind it, it is the
// latter: the former is about to end.
func resourceIn(rows []Row, full stanza.JID) int {
	for i := len(rows) - 1; i >= 0; i-- {
		if rows[i].Session.JID() == full {
			return i
		}
	}
	return -1
}

// toBare is RFC 6121 §8.5.2 for messages and presence. st.To may be a full JID
// that matched nothing.
func (r *Router) toBare(ctx context.Context, b *Batch, st *stanza.Stanza) {
	rows := r.rows(ctx, b, st)
	if r.blocked(b, rows, st) || r.refusedAtReceiver(ctx, b, rows, st) {
		return
	}
	if st.Kind == stanza.Presence {
		r.presenceToBare(ctx, b, rows, st)
		return
	}
	switch st.Type { // §8.5.2.1.1, and §8.5.2.2.1 when nobody is reachable
	case stanza.TypeError:
		r.drop(dropErrorUndeliverable)
	case stanza.Groupchat:
		r.Fail(b, st, stanza.ErrServiceUnavailable, dropRefused)
	case stanza.Headline:
		sent := false
		for _, row := range rows {
			sent = row.Reachable() && row.Session.Send(b, st) || sent
		}
		if !sent {
			r.drop(dropNoResource)
		}
	default:
		if !r.toMostAvailable(ctx, b, rows, st) {
			if _, err := r.hold(ctx, b, st, func(stanza.JID) []Row { return r.rows(ctx, b, st) }); err != nil {
				r.notHeld(b, st, err)
			}
		}
	}
}

// toMostAvailable sends a message to the reachable resources of the highest
// priority, all of them if they are several, and reports whether any took it.
func (r *Router) toMostAvailable(ctx context.Context, b *Batch, rows []Row, st *stanza.Stanza) bool {
	for {
		best, several := highestPriority(rows)
		if best < 0 {
			return false
		}
		sent := false
		for i := range rows {
			if rows[i].Reachable() && rows[i].Priority == best && rows[i].Session.Send(b, st) {
				sent = true
				if several {
					share(&rows[i], st)
				}
			}
		}
		if sent {
			r.copyPast(b, rows, best, st)
			return true
		}
		// All of them are just ending: what they hold goes first, then the next best.
		rest := make([]Row, 0, len(rows))
		for _, row := range rows {
			if row.Reachable() && row.Priority == best {
				r.refused(ctx, b, st, row.Session)
			} else {
				rest = append(rest, row)
			}
		}
		rows = rest
	}
}

// highestPriority is that of the reachable resources, negative if there is none, and whether several have it.
func highestPriority(rows []Row) (best int8, several bool) {
	best = -1
	for i := range rows {
		if rows[i].Reachable() && rows[i].Priority >= best {
			best, several = rows[i].Priority, rows[i].Priority == best
		}
	}
	return best, several
}

// presenceToBare is RFC 6121 §8.5.2.1.2.
func (r *Router) presenceToBare(ctx context.Context, b *Batch, rows []Row, st *stanza.Stanza) {
	switch {
	case st.Type.IsSubscription():
		b.Flush()
		r.Presence.Inbound(ctx, b, st)
	case st.Type == stanza.Probe:
		b.Flush()
		r.Presence.Probe(ctx, b, st)
	case st.Type == stanza.TypeError:
		r.drop(dropErrorUndeliverable)
	default:
		for _, row := range rows {
			if row.Available {
				row.Session.Send(b, st)
			}
		}
	}
}

// hold is RFC 6121 §8.5.2.2: nobody is reachable, the message waits, behind what is being moved for its recipient. rows is how to
// look again when somebody has become reachable, who has taken it then. An error is why the spool does not keep it.
func (r *Router) hold(ctx context.Context, b *Batch, st *stanza.Stanza, rows func(stanza.JID) []Row) (taken bool, err error) {
	b.Flush()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for again := true; again; {
		r.settle(ctx, st)
		taken, again, err = r.holdOnce(ctx, b, st, rows)
	}
	return taken, err
}

// holdNow is hold of what waits for nothing.
func (r *Router) holdNow(ctx context.Context, b *Batch, st *stanza.Stanza, rows func(stanza.JID) []Row) (taken bool, err error) {
	b.Flush()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for again := true; again; {
		taken, again, err = r.holdOnce(ctx, b, st, rows)
	}
	return taken, err
}

// holdOnce asks to be called again when somebody was reachable and is not any more.
func (r *Router) holdOnce(ctx context.Context, b *Batch, st *stanza.Stanza, rows func(stanza.JID) []Row) (taken, again bool, err error) {
	_, err = r.Spool.Hold(ctx, st)
	switch {
	case err == nil:
		r.Metrics.Held.Inc()
		r.Table.Elsewhere.Held(st.To)
	case !errors.Is(err, ErrReachable):
	case r.toMostAvailable(ctx, b, rows(st.To), st):
		return true, false, nil
	default:
		again = ctx.Err() == nil
	}
	return false, again, err
}

// notHeld is for a message that the spool does not keep.
func (r *Router) notHeld(b *Batch, st *stanza.Stanza, err error) {
	var refusal *stanza.Error
	switch {
	case errors.Is(err, ErrReachable): // and yet not
		r.Fail(b, st, stanza.ErrRecipientUnavailable, dropStore)
	case errors.Is(err, ErrTransient):
		r.drop(dropNoResource)
	case errors.As(err, &refusal):
		r.Fail(b, st, refusal, dropRefused)
	default:
		r.Log.Log(context.Background(), stanza.FaultLevel(err), "message not stored", "to", st.To, "err", err)
		if errors.Is(err, ErrDoubt) {
			r.Spool.Withdraw(st)
		}
		r.Fail(b, st, stanza.ErrResourceConstraint, dropStore)
	}
}

// Fail tells the sender that st was not delivered and counts why. It never
// answers an error (RFC 6120 §8.3.1) and never blocks.
func (r *Router) Fail(b *Batch, st *stanza.Stanza, e *stanza.Error, reason string) {
	r.drop(reason)
	if reply := e.Reply(st); reply != nil {
		r.toSender(b, nil, reply)
	}
}

// fault is Fail for a failure on our side, which is what the log says of it.
func (r *Router) fault(ctx context.Context, b *Batch, st *stanza.Stanza, what string, err error) {
	r.Log.Log(ctx, stanza.FaultLevel(err), what, "from", st.From, "to", st.To, "payload", string(st.Space), "err", err)
	r.Fail(b, st, stanza.Fault(err), dropStore)
}

// toSender hands an answer to the session that asked, if it is still there.
func (r *Router) toSender(b *Batch, s Session, st *stanza.Stanza) {
	if s == nil {
		if svc := r.services[st.To.Domain()]; svc != nil {
			svc.Handle(context.Background(), b, nil, st)
			return
		}
		row, ok := r.Table.Row(st.To)
		if !ok {
			r.drop(dropErrorUndeliverable)
			return
		}
		s = row.Session
	}
	if !s.Send(b, st) {
		r.drop(dropErrorUndeliverable)
	}
}

// Ended is called once by a session that has left the table.
func (r *Router) Ended(ctx context.Context, s Session) { r.Presence.Ended(ctx, s) }

func (r *Router) drop(reason string) { r.Metrics.Dropped.WithLabelValues(reason).Inc() }
