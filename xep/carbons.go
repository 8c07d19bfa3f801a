package xep

import (
	"bytes"
	"context"

	"chatd/router"
	"chatd/stanza"
)

const (
	nsCarbons    = "urn:xmpp:carbons:2"
	nsForward    = "urn:xmpp:forward:0"
	nsHints      = "urn:xmpp:hints"
	nsChatStates = "http://jabber.org/protocol/chatstates"
	nsMarkers    = "urn:xmpp:chat-markers:0"
	nsReceipts   = "urn:xmpp:receipts"
	nsConference = "jabber:x:conference"
	nsMUCUser    = "http://jabber.org/protocol/muc#user"
)

// Carbons copies a user's conversations to the other resources that asked for
// it (XEP-0280). It is the router's Copies. Errors are not copied, so the full
// rule set of XEP-0280 §6.2 is not advertised.
type Carbons struct{ table *router.Table }

// NewCarbons registers the requests that switch copies on and off.
func NewCarbons(r *router.Router) *Carbons {
	c := &Carbons{r.Table}
	r.Handle(router.ToHost|router.ToOwn, nsCarbons, "enable", set(c.toggle(router.Carbons, 0)))
	r.Handle(router.ToHost|router.ToOwn, nsCarbons, "disable", set(c.toggle(0, router.Carbons)))
	return c
}

// Features is XEP-0280 §3.
func (*Carbons) Features() []string { return []string{nsCarbons} }

// toggle is XEP-0280 §4 and §5; doing it twice is no error (§10.1).
func (c *Carbons) toggle(add, remove router.Flags) router.IQHandler {
	return func(_ context.Context, req *router.Request) ([]byte, error) {
		if req.Session == nil {
			return nil, stanza.ErrNotAllowed // XEP-0280 §4.1, §5.1
		}
		c.table.SetFlags(req.Session, add, remove)
		return nil, nil
	}
}

// Sent is XEP-0280 §8. A message to the own account is delivered to the other
// resources anyway.
func (c *Carbons) Sent(b *router.Batch, to router.Row, st *stanza.Stanza) {
	if st.To.Bare() != st.From.Bare() && eligible(st, false) {
		to.Session.Send(b, carbon("sent", to, st))
	}
}

// Received is XEP-0280 §7.
func (c *Carbons) Received(b *router.Batch, to router.Row, st *stanza.Stanza) {
	if to.Session.JID() != st.From && eligible(st, true) {
		to.Session.Send(b, carbon("received", to, st))
	}
}

// Original is router.Copies. What the user has sent is not looked at: nobody refuses that.
func (*Carbons) Original(st *stanza.Stanza) *stanza.Stanza {
	within, err := stanza.Elements(st)
	for _, name := range [...][2]string{{nsCarbons, "received"}, {nsForward, "forwarded"}} {
		if err != nil || len(within) != 1 || !within[0].Is(name[0], name[1]) {
			return nil
		}
		within, err = within[0].Children()
	}
	if err != nil || len(within) != 1 {
		return nil
	}
	original, err := stanza.Parse(within[0].Standalone())
	if err != nil {
		return nil
	}
	return original
}

// carbon wraps a message by XEP-0297 §3.2.
func carbon(direction string, to router.Row, st *stanza.Stanza) *stanza.Stanza {
	original := *st
	original.Attrs = append([]byte(" xmlns='"+stanza.NSClient+"'"), st.Attrs...)
	b := make([]byte, 0, st.Size()+256)
	b = append(b, '<')
	b = append(b, direction...)
	b = append(b, " xmlns='"+nsCarbons+"'><forwarded xmlns='"+nsForward+"'>"...)
	b = original.Append(b)
	b = append(b, "</forwarded></"...)
	b = append(b, direction...)
	b = append(b, '>')
	full := to.Session.JID()
	return &stanza.Stanza{Kind: stanza.Message, Type: st.Type, From: full.Bare(), To: full, Inner: b}
}

// special are the words without which a chat message is copied unseen.
var special = [...][]byte{[]byte(nsCarbons), []byte(nsHints), []byte(nsMUCUser)}

// eligible is XEP-0280 §6.1 for messages of type chat and normal.
func eligible(st *stanza.Stanza, received bool) bool {
	if st.Type == stanza.Chat && !containsAny(st.Inner, special[:]) {
		return true
	}
	all, err := stanza.Elements(st)
	if err != nil {
		return false
	}
	im := st.Type == stanza.Chat
	for _, e := range all {
		switch {
		case e.Is(nsCarbons, "private"), e.Is(nsHints, "no-copy"): // XEP-0280 §9, XEP-0334 §4.3
			return false
		case e.Is(nsMUCUser, "x"):
			invites := mediatedInvitation(e)
			if received && !invites && !st.From.IsBare() {
				return false // a room's private message: the room sends it to every resource that joined
			}
			im = im || invites
		case e.Is(stanza.NSClient, "body"), e.Is(nsConference, "x"):
			im = true
		case e.Name.Space == nsChatStates, e.Name.Space == nsMarkers, e.Name.Space == nsReceipts:
			im = true
		}
	}
	return im
}

// mediatedInvitation is XEP-0045 §7.8.2.
func mediatedInvitation(x stanza.Element) bool {
	all, err := x.Children()
	if err != nil {
		return false
	}
	for _, e := range all {
		if e.Is(nsMUCUser, "invite") {
			return true
		}
	}
	return false
}

func containsAny(b []byte, words [][]byte) bool {
	for _, w := range words {
		if bytes.Contains(b, w) {
			return true
		}
	}
	return false
}
