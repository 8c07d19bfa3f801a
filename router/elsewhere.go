package router

import (
	"context"
	"errors"
	"slices"
	"time"

	"chatd/stanza"
)

// Elsewhere knows the resources that are connected to other nodes of the cluster. cluster provides it; a server that is
// alone has none. But for Take its methods never block.
type Elsewhere interface {
	// Rows appends a user's resources on other nodes, which are marked Remote, to rows. Their sessions send over the link
	// to the node: what a session took and its node cannot deliver is that node's to deal with, as with Reroute.
	Rows(rows []Row, user stanza.JID) []Row
	// Intern is as Table.Intern, for those users.
	Intern(raw []byte) (stanza.JID, bool)
	// Clock counts the changes of what Rows returns.
	Clock() uint64
	// Now is the time for State.Begun of a new session: later than that of any session of any node that is known here.
	Now() time.Time
	// Changed is told of each row of this node that is new or has changed, and Gone of each that has left, both
	// under the lock of the user's shard: in the order of what happens to one user.
	Changed(row Row)
	Gone(row Row)
	// Stale is told of a change to what nodes keep of a user beside the store. Other nodes have forgotten it before
	// anything arrives there that is sent later from here.
	Stale(user stanza.JID, what Kept)
	// Held is told that a message was stored for a user, who may have become reachable on another node before
	// that node could know.
	Held(user stanza.JID)
	// Moving, if not nil, is closed when what was on its way to a session of the user's that is no more on another node, or was bound anew
	// since, has arrived there, is in the store, or has been taken out of it again as that node had it. Messages for the user that are
	// sent later wait.
	Moving(user stanza.JID) <-chan struct{}
	// Take ends the session that has a full JID on another node, with <conflict/>, and returns when it has ended. It
	// blocks on that node.
	Take(ctx context.Context, full stanza.JID) error
}

// Kept is what nodes keep of a user beside the store, a set.
type Kept uint8

// What nodes keep.
const (
	KeptFriends   Kept = 1 << iota // the friends list, and what is made of it
	KeptBlocklist                  // sessions have it (State.Blocked)
	KeptPrivacy                    // sessions have a part of it (State.Audience)
	KeptProfile                    // the picture that presence announces
	KeptAccount                    // whether there is one
)

// alone is the Elsewhere of a server without a cluster.
type alone struct{}

func (alone) Now() time.Time                         { return time.Now() }
func (alone) Intern([]byte) (stanza.JID, bool)       { return stanza.JID{}, false }
func (alone) Rows(rows []Row, _ stanza.JID) []Row    { return rows }
func (alone) Clock() uint64                          { return 0 }
func (alone) Changed(Row)                            {}
func (alone) Gone(Row)                               {}
func (alone) Stale(stanza.JID, Kept)                 {}
func (alone) Held(stanza.JID)                        {}
func (alone) Moving(stanza.JID) <-chan struct{}      { return nil }
func (alone) Take(context.Context, stanza.JID) error { return nil }

// Arrived takes a stanza that another node has routed to a resource here. What the sender's node could not check, since
// it is kept with the recipient's sessions, is checked now. A stanza that arrives goes to no third node: if
// its resource has gone it finds another way here, unless another resource of the user's has it. It may block on the store and calls
// b.Flush before it does. by is the resource whose session has it now, the bare JID if that is another one; zero if it is none.
func (r *Router) Arrived(ctx context.Context, b *Batch, st *stanza.Stanza, full stanza.JID, had bool) (by stanza.JID) {
	rows := r.settledRows(ctx, b, st, r.Table.Local(full), r.Table.Local)
	if rule, err := r.arrivedRule(ctx, b, rows, st); rule != "" || err != nil {
		r.refuseArrived(ctx, b, st, full, rule, err)
		return stanza.JID{}
	}
	if st.Kind == stanza.Presence && st.Type == stanza.Probe {
		r.presenceToBare(ctx, b, rows, st)
		return stanza.JID{}
	}
	for range resourceAttempts {
		i := resourceIn(rows, full)
		if i < 0 || rows[i].Detached && Storable(st) {
			break
		}
		if rows[i].Session.State().Handed.Knows(st) {
			return full
		}
		if rows[i].Session.Send(b, st) {
			if st.To.IsBare() && len(r.Table.Rows(full)) > 1 {
				share(&rows[i], st)
			}
			return full
		}
		r.refused(ctx, b, st, rows[i].Session)
		rows = r.Table.Local(full)
	}
	b.Flush()
	// What is being moved may be so for as long as another node does not confirm what it was sent, and that one may be waiting here.
	if !had && r.reroute(ctx, st, r.Table.Local, r.holdNow) {
		return full.Bare()
	}
	return stanza.JID{}
}

// arrivedRule is the rule by which a stanza that arrived is refused. A copy is judged as what it is a copy of: whoever
// made it could not.
func (r *Router) arrivedRule(ctx context.Context, b *Batch, rows []Row, st *stanza.Stanza) (rule string, err error) {
	if string(st.Space) == nsCarbons && st.From == st.To.Bare() {
		if original := r.Copies.Original(st); original != nil {
			st = original
		}
	}
	return r.ruleAtReceiver(ctx, b, rows, st)
}

// refuseArrived tells the sender, once: a message to a bare JID arrives for several resources, maybe on several nodes.
func (r *Router) refuseArrived(ctx context.Context, b *Batch, st *stanza.Stanza, full stanza.JID, rule string, err error) {
	if string(st.Space) == nsCarbons && st.From == st.To.Bare() || !r.speaksFor(full, st) {
		return
	}
	r.refusal(ctx, b, st, rule, err)
}

// speaksFor reports whether the node of a resource is the one to tell the sender that a stanza is refused: that of the first by
// address among those that the stanza was sent to.
func (r *Router) speaksFor(full stanza.JID, st *stanza.Stanza) bool {
	if st.Kind != stanza.Message || st.To == full {
		return true
	}
	rows := r.Table.Rows(full)
	best, _ := highestPriority(rows)
	for i := range rows {
		if rows[i].Reachable() && (rows[i].Priority == best || st.Type == stanza.Headline) &&
			rows[i].Session.JID().String() < full.String() {
			return false
		}
	}
	return true
}

// Node is the name of the node that a Remote row's session is connected to; "" for a row of this node.
func (r Row) Node() string {
	if s, ok := r.Session.(interface{ Node() string }); ok && r.Remote {
		return s.Node()
	}
	return ""
}

// Overflowed answers for a stanza that arrived and that nobody has time for.
func (r *Router) Overflowed(b *Batch, st *stanza.Stanza) {
	r.Fail(b, st, stanza.ErrResourceConstraint, dropOverflow)
}

const nsCarbons = "urn:xmpp:carbons:2"

// Returned takes back a stanza that was sent to a resource on another node, which did not confirm it and is gone. A message
// goes to another resource here or to the store; then its number there is returned, so that it can be taken out when
// the node turns out to have had it after all. It blocks on the store. An error says that this could not keep it now: the caller
// tries again, or gives up by NotReturned.
func (r *Router) Returned(ctx context.Context, st *stanza.Stanza) (seq int64, err error) {
	if !Storable(st) {
		r.Reroute(ctx, st)
		return 0, nil
	}
	if string(st.Space) == nsCarbons && st.From == st.To.Bare() { // XEP-0280: what it is a copy of finds its own way
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if r.given(st) {
		return 0, nil
	}
	for !r.toMostAvailable(ctx, nil, r.Table.Local(st.To), st) {
		seq, err := r.Spool.Hold(ctx, st)
		var refusal *stanza.Error
		switch {
		case err == nil:
			r.Metrics.Held.Inc()
			r.Table.Elsewhere.Held(st.To)
			return seq, nil
		case errors.Is(err, ErrReachable) && ctx.Err() == nil:
		case errors.Is(err, ErrTransient) || errors.As(err, &refusal):
			r.notHeld(nil, st, err)
			return 0, nil
		case errors.Is(err, ErrDoubt): // if it is tried as if for the first time it may be there twice
			r.later(st, err)
			return 0, nil
		default:
			return 0, err
		}
	}
	r.taken(st)
	return 0, nil
}

// mostAvailable is the states of the user's sessions here that messages go to.
func (r *Router) mostAvailable(user stanza.JID) (states []*State) {
	rows := r.Table.Local(user)
	best, _ := highestPriority(rows)
	for i := range rows {
		if rows[i].Reachable() && rows[i].Priority == best {
			states = append(states, rows[i].Session.State())
		}
	}
	return states
}

// given reports whether the user was given a message here already: the node that it comes back from has stored it.
func (r *Router) given(st *stanza.Stanza) bool {
	return slices.ContainsFunc(r.mostAvailable(st.To), func(s *State) bool { return s.Handed.Knows(st) })
}

// taken notes that the user has a message here, which the node that it was sent to may have as well.
func (r *Router) taken(st *stanza.Stanza) {
	for _, s := range r.mostAvailable(st.To) {
		s.Handed.Take(st.WrittenID(), 0)
	}
}

// NotReturned gives up trying: a message that Returned could not keep waits in memory for the store, or its sender is told.
func (r *Router) NotReturned(st *stanza.Stanza, err error) { r.later(st, err) }

// judgedThere reports whether it is for another node to ask its sessions' block lists and settings about a stanza. About messages the
// sessions of this node know as much.
func judgedThere(rows []Row, st *stanza.Stanza) bool {
	if len(rows) == 0 || rows[0].Remote { // those of this node come first
		return len(rows) > 0
	}
	i := resourceIn(rows, st.To)
	return i >= 0 && rows[i].Remote && st.Kind != stanza.Message
}
