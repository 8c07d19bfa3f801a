package router

import (
	"bytes"
	"context"

	"chatd/stanza"
)

// The rules by which a stanza is refused on its way from a user to a user. Each has one name,
// which is the metric's label and the log's word, and is checked at the sender, before
// routing, or at the receiver, before delivery, or at both.
const (
	RuleRate        = "rate"         // c2s: a session that is faster than its limits
	RuleSpoofedFrom = "spoofed-from" // c2s: RFC 6120 §8.1.2.1
	RuleSize        = "size"         // c2s, roster: larger than allowed
	RuleBlockList   = "block-list"   // router: XEP-0191
	RuleFriendship  = "friendship"   // roster: what goes between friends only
	RulePrivacy     = "privacy"      // roster: what the recipient's settings do not admit
	RuleRequestRate = "request-rate" // roster: more requests for friendship than allowed
	RuleStranger    = "stranger"     // roster: RFC 6121 §8.5.3.1
	RuleTextFilter  = "text-filter"  // webhook: what another service says of the text
)

// Sides of a rule.
const (
	AtSender   = "sender"
	AtReceiver = "receiver"
)

// Rules knows what two users are to each other. roster provides it. Its methods may block on the store and
// call b.Flush before they do. Both users are of this server, and not the same; the
// rule that they return is "" if the stanza may go on.
type Rules interface {
	// Sender is asked for what a client sends, when friendship is required for it.
	Sender(ctx context.Context, b *Batch, st *stanza.Stanza) (rule string, err error)
	// Receiver is asked before st is given to a user who is online: for messages when one of the user's
	// sessions has an Audience, which is passed on, for messages and presence when friendship is required, and for
	// requests to a full JID always.
	Receiver(ctx context.Context, b *Batch, st *stanza.Stanza, audience uint32) (rule string, err error)
	// Offline is asked before a message is kept for a user.
	Offline(ctx context.Context, st *stanza.Stanza) (rule string, err error)
}

// Requirement is for what friendship is required, a set.
type Requirement uint32

// What can require friendship.
const (
	ForMessages    Requirement = 1 << iota
	ForPresence                // directed presence (RFC 6121 §4.6)
	ForInvitations             // to rooms (XEP-0249)
)

// Require changes for what friendship is required, from the next stanza on.
func (r *Router) Require(q Requirement) { r.required.Store(uint32(q)) }

// RequiresFriends reports whether friendship is required for anything.
func (r *Router) RequiresFriends() bool { return r.required.Load() != 0 }

// Requires reports whether friendship is required for a stanza.
func (r *Router) Requires(st *stanza.Stanza) bool {
	required := Requirement(r.required.Load())
	if required == 0 {
		return false
	}
	switch {
	case st.Kind == stanza.Message:
		return required&ForMessages != 0 || required&ForInvitations != 0 && isInvitation(st)
	case st.Kind == stanza.Presence && st.Type == stanza.None:
		return required&ForPresence != 0
	}
	return false
}

// isInvitation reports whether a message invites to a room (XEP-0249 §2).
func isInvitation(st *stanza.Stanza) bool {
	return bytes.Contains(st.Inner, []byte("jabber:x:conference"))
}

// A Filter judges what users write, before it goes anywhere.
type Filter interface {
	// Filter is asked for each message that a client sends. It returns the message as it may go on, st itself or another
	// in its place, or what the sender is to be told instead. It may block and calls b.Flush before it does.
	Filter(ctx context.Context, b *Batch, st *stanza.Stanza) (*stanza.Stanza, *stanza.Error)
}

// SetFilter changes the filter, from the next message on; nil for none.
func (r *Router) SetFilter(f Filter) {
	if f == nil {
		r.filter.Store(nil)
		return
	}
	r.filter.Store(&f)
}

// filtered is the message that may go on; nil if none may, and then the sender is told.
func (r *Router) filtered(ctx context.Context, b *Batch, f Filter, st *stanza.Stanza) *stanza.Stanza {
	if st.Type == stanza.TypeError {
		return st
	}
	passed, refusal := f.Filter(ctx, b, st)
	if refusal == nil {
		return passed
	}
	r.Reject(st, RuleTextFilter, AtSender)
	r.Fail(b, st, refusal, RuleTextFilter)
	return nil
}

// betweenUsers reports whether rules apply to st: errors, services and a user's own resources are exempt.
func (r *Router) betweenUsers(st *stanza.Stanza) bool {
	return st.Type != stanza.TypeError && r.isUser(st.From) && r.isUser(st.To) && st.From.Bare() != st.To.Bare()
}

func (r *Router) isUser(j stanza.JID) bool {
	return j.Local() != "" && j.Domain() == r.Domain.Domain()
}

var errFriendsOnly = stanza.ErrForbidden.WithText("this goes to friends only")

// refusedAtSender answers a client whose stanza a rule refuses. The client learns nothing that its own
// friends list does not tell.
func (r *Router) refusedAtSender(ctx context.Context, b *Batch, st *stanza.Stanza) bool {
	if r.required.Load() == 0 || r.Rules == nil || !r.Requires(st) || !r.betweenUsers(st) {
		return false
	}
	rule, err := r.Rules.Sender(ctx, b, st)
	if err != nil {
		return r.undecided(ctx, b, st, err)
	}
	if rule == "" {
		return false
	}
	r.Reject(st, rule, AtSender)
	r.Fail(b, st, errFriendsOnly, rule)
	return true
}

// refusedAtReceiver does the same before delivery. The sender learns no more than from a user who is not there.
func (r *Router) refusedAtReceiver(ctx context.Context, b *Batch, rows []Row, st *stanza.Stanza) bool {
	if judgedThere(rows, st) {
		return false
	}
	rule, err := r.receiverRule(ctx, b, rows, st)
	if rule == "" && err == nil {
		return false
	}
	r.refusal(ctx, b, st, rule, err)
	return true
}

// ruleAtReceiver is the rule by which a stanza is refused before delivery, block lists included; "" if none does.
func (r *Router) ruleAtReceiver(ctx context.Context, b *Batch, rows []Row, st *stanza.Stanza) (rule string, err error) {
	if r.listed(rows, st) {
		return RuleBlockList, nil
	}
	return r.receiverRule(ctx, b, rows, st)
}

// receiverRule is the rule, other than block lists. rows is those of the recipient.
func (r *Router) receiverRule(ctx context.Context, b *Batch, rows []Row, st *stanza.Stanza) (rule string, err error) {
	audience := uint32(0)
	switch st.Kind {
	case stanza.Message:
		for i := range rows { // one that is just binding may not know yet
			if rows[i].Remote {
				break
			}
			audience = max(audience, rows[i].Session.State().Audience.Load())
		}
		if audience == 0 && r.required.Load() == 0 {
			return "", nil
		}
	case stanza.Presence:
		if r.required.Load() == 0 {
			return "", nil
		}
	default:
		if st.Type != stanza.Get && st.Type != stanza.Set || len(rows) == 0 {
			return "", nil
		}
	}
	if r.Rules == nil || !r.betweenUsers(st) {
		return "", nil
	}
	return r.Rules.Receiver(ctx, b, st, audience)
}

// refusal answers for a stanza that a rule refuses at the receiver, or that the store does not say of whether it may go on: it does not.
func (r *Router) refusal(ctx context.Context, b *Batch, st *stanza.Stanza, rule string, err error) {
	switch {
	case err != nil:
		r.undecided(ctx, b, st, err)
	case rule == RuleBlockList:
		r.refuse(b, st, rule, dropBlockedByRecipient)
	default:
		r.refuse(b, st, rule, rule)
	}
}

// undecided is for a stanza of which the store does not say whether it may go on: it does not.
func (r *Router) undecided(ctx context.Context, b *Batch, st *stanza.Stanza, err error) bool {
	r.fault(ctx, b, st, "rules not decided", err)
	return true
}

// Reject counts that a rule has refused st and tells who wants to know.
func (r *Router) Reject(st *stanza.Stanza, rule, side string) {
	r.Metrics.Reject(rule, side)
	if r.OnReject != nil {
		r.OnReject(st, rule, side)
	}
}

// RefusedInStore reports whether a message may not be kept for its recipient, by the recipient's block list or
// by a rule. A room asks it about a mediated invitation (XEP-0045 §7.8.2), by the direct one that would say the
// same from the inviter to the invitee. It counts the refusal and blocks on the store.
func (r *Router) RefusedInStore(ctx context.Context, st *stanza.Stanza) (bool, error) {
	blocked, err := r.BlockedInStore(ctx, st)
	if err != nil {
		return false, err
	}
	if blocked {
		r.Reject(st, RuleBlockList, AtReceiver)
		return true, nil
	}
	if r.Rules == nil || !r.betweenUsers(st) {
		return false, nil
	}
	rule, err := r.Rules.Offline(ctx, st)
	if err != nil || rule == "" {
		return false, err
	}
	r.Reject(st, rule, AtReceiver)
	return true, nil
}
