package roster

import (
	"bytes"
	"context"
	"encoding/xml"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// errRequestRate answers who asks too many for friendship, whoever they are.
var errRequestRate = stanza.ErrResourceConstraint.WithText("too many requests in a minute")

// admitRequest is the rules for a subscription request, on the side of the recipient. One that is refused
// vanishes as one to an unknown user does (RFC 6121 §8.5.1) and is not answered
// (XEP-0191 §3.3), so that nothing tells the three apart; only the rate, which does not depend on the
// recipient, is an error. The caller holds both locks.
func (s *Service) admitRequest(ctx context.Context, b *router.Batch, st *stanza.Stanza, blocked bool) (bool, error) {
	theirs, err := s.look(ctx, b, st.To, st.From)
	if err != nil {
		return false, err
	}
	wanted := theirs.to() || aspects[theirs].out // the recipient has asked first
	if !wanted && !theirs.from() && !s.takeRequest(st.From) {
		s.r.Reject(st, router.RuleRequestRate, router.AtReceiver)
		return false, errRequestRate
	}
	if blocked {
		s.r.Reject(st, router.RuleBlockList, router.AtReceiver)
		return false, nil
	}
	if exists, err := s.exists(ctx, st.To); !exists || err != nil {
		return false, err
	}
	if wanted {
		return true, nil
	}
	p, err := s.store.Privacy(ctx, st.To.Local())
	if err != nil {
		return false, err
	}
	ok, err := s.admits(ctx, p.Requests, st.To, st.From)
	if err == nil && !ok {
		s.r.Reject(st, router.RulePrivacy, router.AtReceiver)
	}
	return ok, err
}

// takeRequest counts a user's request and reports whether it is within the limit, of which all may
// be used at once. The caller holds the user's lock.
func (s *Service) takeRequest(user stanza.JID) bool {
	limit := s.requestsPerMinute.Load()
	if limit <= 0 {
		return true
	}
	return s.accounts.of(user).takeLocked(user.String(), time.Now(), time.Minute, limit)
}

// takeLocked is a leaky bucket that takes limit in a period: paid is when it will be empty.
func (st *stripe) takeLocked(user string, now time.Time, period time.Duration, limit int64) bool {
	paid := st.requests[user]
	if paid.Before(now) {
		paid = now
	}
	paid = paid.Add(period / time.Duration(limit))
	if paid.Sub(now) > period {
		return false
	}
	if st.requests == nil {
		st.requests = make(map[string]time.Time)
	}
	for other, t := range st.requests { // those that are empty go: what stays has asked within the period
		if t.Before(now) {
			delete(st.requests, other)
		}
	}
	st.requests[user] = paid
	return true
}

// checkRequest is the rules for a request on the side of the sender. XMPP's own path has
// the block list checked by the router.
func (s *Service) checkRequest(ctx context.Context, from, to stanza.JID) error {
	blocked, err := s.blocks(ctx, from, to)
	if err == nil && blocked {
		s.r.Reject(&stanza.Stanza{Kind: stanza.Presence, Type: stanza.Subscribe, From: from, To: to}, router.RuleBlockList, router.AtSender)
		err = router.ErrBlocked
	}
	return err
}

// requestText is the text of a subscription request: its first <status/> (RFC 6121 §4.7.2.2).
func requestText(st *stanza.Stanza) string {
	if st.Type != stanza.Subscribe || !bytes.Contains(st.Inner, []byte("status")) {
		return ""
	}
	var p struct {
		Status []string `xml:"jabber:client status"`
	}
	if err := xml.Unmarshal(st.Document(), &p); err != nil || len(p.Status) == 0 {
		return ""
	}
	return p.Status[0]
}
