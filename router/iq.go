package router

import (
	"context"
	"errors"

	"chatd/stanza"
)

// toHost answers for the server itself.
func (r *Router) toHost(ctx context.Context, b *Batch, s Session, st *stanza.Stanza) {
	switch {
	case st.Type == stanza.TypeError || st.Type == stanza.Result:
		r.drop(dropErrorUndeliverable)
	case st.Kind == stanza.IQ:
		r.answer(ctx, b, s, st, ToHost, false)
	case st.Kind == stanza.Message:
		r.Fail(b, st, stanza.ErrServiceUnavailable, dropUnhandled)
	default: // presence: the server is nobody's contact
		r.drop(dropUnhandled)
	}
}

// toAccount answers IQs on a user's behalf (RFC 6121 §8.5.2.1.3). An account
// that does not exist answers like one that knows nothing (§8.5.1).
func (r *Router) toAccount(ctx context.Context, b *Batch, s Session, st *stanza.Stanza) {
	if st.Type == stanza.TypeError || st.Type == stanza.Result {
		r.drop(dropErrorUndeliverable)
		return
	}
	if st.From.Bare() == st.To {
		r.answer(ctx, b, s, st, ToOwn, true)
		return
	}
	rows := r.Table.Rows(st.To)
	if r.blocked(b, rows, st) {
		return
	}
	if r.handlers[ToAccount][payload{string(st.Space), string(st.Local)}] != nil {
		b.Flush()
		exists, err := r.Users.Exists(ctx, st.To.Local())
		if err != nil {
			r.fault(ctx, b, st, "account not looked up", err)
			return
		}
		if !exists {
			r.Fail(b, st, stanza.ErrServiceUnavailable, dropNoSuchUser)
			return
		}
		if r.blockedOffline(ctx, b, rows, st) {
			return
		}
	}
	r.answer(ctx, b, s, st, ToAccount, false)
}

// answer gives an IQ get or set its one reply (RFC 6120 §8.2.3).
func (r *Router) answer(ctx context.Context, b *Batch, s Session, st *stanza.Stanza, scope Scope, own bool) {
	h := r.handlers[scope][payload{string(st.Space), string(st.Local)}]
	if h == nil {
		r.Fail(b, st, stanza.ErrServiceUnavailable, dropUnhandled)
		return
	}
	b.Flush()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	req := &Request{Stanza: st, Session: s, Batch: b, Own: own}
	result, err := h(ctx, req)
	var refusal *stanza.Error
	switch {
	case err == nil:
		r.toSender(b, s, &stanza.Stanza{Kind: stanza.IQ, Type: stanza.Result, From: st.To, To: st.From, ID: st.ID, Inner: result})
		if req.After != nil {
			req.After()
		}
	case errors.As(err, &refusal):
		r.Fail(b, st, refusal, dropRefused)
	default:
		r.fault(ctx, b, st, "request failed", err)
	}
}
