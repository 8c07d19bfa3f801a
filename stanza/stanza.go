package stanza

import "bytes"

// A Kind is one of the three kinds of stanza (RFC 6120 §8.2).
type Kind uint8

// The kinds of stanza.
const (
	Message Kind = iota + 1
	Presence
	IQ
)

// String is the element's name.
func (k Kind) String() string {
	switch k {
	case Message:
		return "message"
	case Presence:
		return "presence"
	case IQ:
		return "iq"
	}
	return "unknown"
}

// A Type is the value of a stanza's 'type' attribute; each kind has its own set.
type Type uint8

// Types of message (RFC 6121 §5.2.2), presence (RFC 6121 §4.7.1) and IQ (RFC
// 6120 §8.2.3). None stands for an absent attribute: a normal message or an
// available presence.
const (
	None Type = iota
	TypeError
	Chat
	Groupchat
	Headline
	Unavailable
	Subscribe
	Subscribed
	Unsubscribe
	Unsubscribed
	Probe
	Get
	Set
	Result
)

var typeNames = [...]string{
	TypeError: "error", Chat: "chat", Groupchat: "groupchat", Headline: "headline",
	Unavailable: "unavailable", Subscribe: "subscribe", Subscribed: "subscribed",
	Unsubscribe: "unsubscribe", Unsubscribed: "unsubscribed", Probe: "probe",
	Get: "get", Set: "set", Result: "result",
}

// String is the attribute's value, "" for None.
func (t Type) String() string { return typeNames[t] }

// ParseType maps a 'type' attribute to the Type that the kind of stanza gives
// it. ok is false for a value that the kind does not define: for a message
// that is a normal one (RFC 6121 §5.2.2), for presence and IQ it is a
// <bad-request/>. "normal" is None.
func ParseType(k Kind, v []byte) (t Type, ok bool) {
	switch k {
	case Message:
		switch string(v) {
		case "", "normal":
			return None, true
		case "chat":
			return Chat, true
		case "groupchat":
			return Groupchat, true
		case "headline":
			return Headline, true
		case "error":
			return TypeError, true
		}
	case Presence:
		switch string(v) {
		case "":
			return None, true
		case "unavailable":
			return Unavailable, true
		case "subscribe":
			return Subscribe, true
		case "subscribed":
			return Subscribed, true
		case "unsubscribe":
			return Unsubscribe, true
		case "unsubscribed":
			return Unsubscribed, true
		case "probe":
			return Probe, true
		case "error":
			return TypeError, true
		}
	case IQ:
		switch string(v) {
		case "get":
			return Get, true
		case "set":
			return Set, true
		case "result":
			return Result, true
		case "error":
			return TypeError, true
		}
	}
	return None, false
}

// IsSubscription reports whether a presence type belongs to the subscription
// state machine of RFC 6121 §3.
func (t Type) IsSubscription() bool { return t >= Subscribe && t <= Unsubscribed }

// A Stanza is one message, presence or IQ. The bytes in it are raw XML as it
// stood on the wire: attribute values still escaped, children untouched.
//
// A stanza that comes from a connection is a view into that connection's read
// buffer: it is valid only until the call it was passed to returns. Whoever
// keeps one longer keeps a Clone. To and From are always safe to keep. Once
// From is stamped nobody changes a stanza; to address it anew, copy the struct
// and set To: the copies share Inner.
type Stanza struct {
	Kind Kind
	Type Type
	From JID
	To   JID // zero: no 'to'
	ID   []byte
	Lang []byte // xml:lang
	// Attrs is any further attributes and namespace declarations, ready to be
	// written: each " name='value'" with the space in front.
	Attrs []byte
	// Inner is the children, in the default namespace jabber:client.
	Inner []byte
	// Space and Local name the first child element: an IQ's payload.
	// They may be empty on stanzas that the server makes.
	Space []byte
	Local []byte
	// StanzaID is written as the last child, by the bare address in To (XEP-0359). Messages that
	// were encoded before have it in Inner.
	StanzaID ID
	// Wire, if set, is the stanza as Append writes it but without 'to' and StanzaID: it was encoded once for many
	// recipients, and only 'to' is written anew for each. The fields above say the same.
	Wire []byte
}

// Clone copies s and all its bytes into one new allocation.
func (s *Stanza) Clone() *Stanza {
	c := *s
	b := make([]byte, 0, len(s.ID)+len(s.Lang)+len(s.Attrs)+len(s.Inner)+len(s.Space)+len(s.Local)+len(s.Wire))
	for _, f := range []*[]byte{&c.ID, &c.Lang, &c.Attrs, &c.Inner, &c.Space, &c.Local, &c.Wire} {
		if *f == nil {
			continue
		}
		n := len(b)
		b = append(b, *f...)
		*f = b[n:len(b):len(b)]
	}
	return &c
}

// Append appends the stanza's XML to b, in the default namespace jabber:client
// that the stream declares, and returns the longer slice.
func (s *Stanza) Append(b []byte) []byte {
	name := s.Kind.String()
	b = append(b, '<')
	b = append(b, name...)
	if s.Wire != nil {
		if !s.To.IsZero() {
			b = appendJID(b, " to=", s.To)
		}
		return append(b, s.Wire[len(name)+1:]...)
	}
	if !s.From.IsZero() {
		b = appendJID(b, " from=", s.From)
	}
	if !s.To.IsZero() {
		b = appendJID(b, " to=", s.To)
	}
	if s.ID != nil {
		b = appendAttr(b, " id=", s.ID)
	}
	if s.Type != None {
		b = append(b, " type='"...)
		b = append(b, s.Type.String()...)
		b = append(b, '\'')
	}
	if s.Lang != nil {
		b = appendAttr(b, " xml:lang=", s.Lang)
	}
	b = append(b, s.Attrs...)
	identified := s.StanzaID != ID{}
	if len(s.Inner) == 0 && !identified {
		return append(b, '/', '>')
	}
	b = append(b, '>')
	b = append(b, s.Inner...)
	if identified {
		b = s.appendStanzaID(b)
	}
	b = append(b, '<', '/')
	b = append(b, name...)
	return append(b, '>')
}

// Size is an upper bound of what Append adds, in bytes.
func (s *Stanza) Size() int {
	return 176 + 6*(len(s.From.s)+2*len(s.To.s)) + len(s.ID) + len(s.Lang) + len(s.Attrs) + max(len(s.Inner), len(s.Wire))
}

// appendAttr writes a raw value that came from the wire, where it was quoted
// by a quote that it does not contain.
func appendAttr(b []byte, name string, raw []byte) []byte {
	q := byte('\'')
	if bytes.IndexByte(raw, '\'') >= 0 {
		q = '"'
	}
	b = append(b, name...)
	b = append(b, q)
	b = append(b, raw...)
	return append(b, q)
}

func appendJID(b []byte, name string, j JID) []byte {
	b = append(b, name...)
	b = append(b, '\'')
	if j.escape {
		b = AppendEscaped(b, j.s)
	} else {
		b = append(b, j.s...)
	}
	return append(b, '\'')
}

// AppendEscaped appends text to b so that it can stand in an attribute value
// (in either quote) or as character data.
func AppendEscaped[T string | []byte](b []byte, text T) []byte {
	from := 0
	for i := 0; i < len(text); i++ {
		if !special[text[i]] {
			continue
		}
		b = append(b, text[from:i]...)
		b = append(b, escapes[text[i]]...)
		from = i + 1
	}
	return append(b, text[from:]...)
}

// escapes is what stands for each special character.
var escapes = [...]string{'&': "&amp;", '<': "&lt;", '>': "&gt;", '\'': "&apos;", '"': "&quot;"}

var special = [256]bool{'&': true, '<': true, '>': true, '\'': true, '"': true}

func anySpecial(text string) bool {
	for i := 0; i < len(text); i++ {
		if special[text[i]] {
			return true
		}
	}
	return false
}

// Escape is AppendEscaped for a string of its own.
func Escape(text string) string { return string(AppendEscaped(nil, text)) }
