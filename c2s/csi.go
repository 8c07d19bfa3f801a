package c2s

import (
	"bytes"

	"chatd/stanza"
	"chatd/xmlstream"
)

// nsCSI is client state indication (XEP-0352).
const nsCSI = "urn:xmpp:csi:0"

// postponedMax bounds how many stanzas wait for an inactive client; at one more
// all of them are sent.
const postponedMax = 500

// A postponement is what an inactive client need not hear at once: presence and chat
// states, the latest of each kind from each address, in the order in which they first
// came. It is guarded by its outbox's lock.
type postponement struct {
	order []postponed
	at    map[postponedKey]int // where in order
}

type postponedKey struct {
	from stanza.JID
	kind stanza.Kind
}

type postponed []byte // one encoded stanza

// take keeps st if it can wait, and reports whether it did.
func (p *postponement) take(st *stanza.Stanza) bool {
	if !canWait(st) || len(p.order) >= postponedMax {
		return false
	}
	key := postponedKey{st.From, st.Kind}
	if i, ok := p.at[key]; ok {
		p.order[i] = st.Append(p.order[i][:0])
		return true
	}
	if p.at == nil {
		p.at = make(map[postponedKey]int)
	}
	p.at[key] = len(p.order)
	p.order = append(p.order, st.Append(nil))
	return true
}

// canWait reports whether a stanza tells only how somebody is doing right now.
func canWait(st *stanza.Stanza) bool {
	switch st.Kind {
	case stanza.Presence:
		return st.Type == stanza.None || st.Type == stanza.Unavailable
	case stanza.Message:
		return st.Type != stanza.TypeError && string(st.Space) == "http://jabber.org/protocol/chatstates" && alone(st.Inner)
	}
	return false
}

// indicate takes the client's word on whether somebody is looking at it.
func (s *Session) indicate(tok *xmlstream.Token) error {
	o := &s.out
	o.mu.Lock()
	switch string(tok.Local) {
	case "inactive":
		if o.inactive == nil {
			o.inactive = &postponement{}
		}
		o.mu.Unlock()
		return nil
	case "active":
		o.catchUpLocked()
		o.inactive = nil
		s.queuedLocked(&s.scratch.batch)
		return nil
	}
	o.mu.Unlock()
	return stanza.StreamUnsupportedStanzaType
}

// catchUpLocked queues what was postponed.
func (o *outbox) catchUpLocked() {
	if o.inactive == nil {
		return
	}
	for _, p := range o.inactive.order {
		o.queueStanzaLocked(0, func(b []byte) []byte { return append(b, p...) })
	}
	*o.inactive = postponement{}
}

// alone reports whether there is one empty element only, but for a hint how to store it (XEP-0334).
func alone(inner []byte) bool {
	elements := bytes.Count(inner, []byte("<"))
	return elements == 1 || elements == 2 && bytes.Contains(inner, []byte("urn:xmpp:hints"))
}
