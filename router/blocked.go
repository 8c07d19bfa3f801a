package router

import (
	"context"

	"chatd/stanza"
)

// ErrBlocked answers who sends something to an address that they block (XEP-0191 §3.3).
var ErrBlocked = &stanza.Error{Type: "cancel", Condition: "not-acceptable", App: "<blocked xmlns='urn:xmpp:blocking:errors'/>"}

// neverBlocked reports whether a stanza is exempt from block lists: what passes
// between a user's own resources (XEP-0191 §5), and between a user and the own
// server, so that a list that names the whole domain locks nobody out.
func (r *Router) neverBlocked(st *stanza.Stanza) bool {
	return st.From.Bare() == st.To.Bare() || r.isHost(st.From) || r.isHost(st.To)
}

func (r *Router) isHost(j stanza.JID) bool {
	return j.Local() == "" && j.Domain() == r.Domain.Domain()
}

// blocked enforces the recipient's block list for users who are online here.
func (r *Router) blocked(b *Batch, rows []Row, st *stanza.Stanza) bool {
	if judgedThere(rows, st) || !r.listed(rows, st) {
		return false
	}
	r.refuse(b, st, RuleBlockList, dropBlockedByRecipient)
	return true
}

// listed reports whether the recipient blocks the sender, as the recipient's sessions here know it.
func (r *Router) listed(rows []Row, st *stanza.Stanza) bool {
	for i := range rows { // a session that is just binding may have no list yet
		if rows[i].Remote {
			return false
		}
		if l := rows[i].Session.State().Blocked.Load(); l != nil && l.Matches(st.From) && !r.neverBlocked(st) {
			return true
		}
	}
	return false
}

// blockedOffline does what blocked does for requests to users without a
// session here. For messages to them the spool does it, for subscriptions and probes Presence.
func (r *Router) blockedOffline(ctx context.Context, b *Batch, rows []Row, st *stanza.Stanza) bool {
	if len(rows) > 0 && !rows[0].Remote {
		return false
	}
	blocked, err := r.BlockedInStore(ctx, st)
	if err != nil {
		r.fault(ctx, b, st, "block list not read", err)
		return true
	}
	if blocked {
		r.refuse(b, st, RuleBlockList, dropBlockedByRecipient)
	}
	return blocked
}

// BlockedInStore reports whether the stored list of the recipient blocks the sender. It blocks on the store.
func (r *Router) BlockedInStore(ctx context.Context, st *stanza.Stanza) (bool, error) {
	if r.Blocks == nil || r.neverBlocked(st) {
		return false, nil
	}
	l, err := r.Blocks.Blocklist(ctx, st.To.Local())
	return err == nil && l.Matches(st.From), err
}

// refuse is the recipient's part of XEP-0191 §3.3, and of every other rule at the receiver: presence gets
// no answer at all, messages and requests the one of a user who is not there.
func (r *Router) refuse(b *Batch, st *stanza.Stanza, rule, reason string) {
	r.Reject(st, rule, AtReceiver)
	if st.Kind == stanza.Presence {
		r.drop(reason)
		return
	}
	r.Fail(b, st, stanza.ErrServiceUnavailable, reason)
}
