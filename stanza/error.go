package stanza

import (
	"errors"
	"fmt"
	"log/slog"
)

// An Error is a stanza error (RFC 6120 §8.3): what a handler returns to have
// the sender told. The predeclared ones cover the usual cases; WithText adds
// words for a human. Errors are immutable.
type Error struct {
	Type      string // auth | cancel | continue | modify | wait (RFC 6120 §8.3.2)
	Condition string // element name in urn:ietf:params:xml:ns:xmpp-stanzas (RFC 6120 §8.3.3)
	Text      string // optional, English
	App       string // optional application-specific condition: one raw XML element
	By        JID    // who says so, if it is not whom the stanza was to (RFC 6120 §8.3.1)
	Secret    bool   // the reply leaves out what was sent, which may hold a password
}

func (e *Error) Error() string {
	if e.Text == "" {
		return "stanza error: " + e.Condition
	}
	return fmt.Sprintf("stanza error: %s: %s", e.Condition, e.Text)
}

// WithText is e with words for a human.
func (e *Error) WithText(text string) *Error { c := *e; c.Text = text; return &c }

// WithApp is e with an application-specific condition, raw XML.
func (e *Error) WithApp(xml string) *Error { c := *e; c.App = xml; return &c }

// Stanza errors, each with the type that RFC 6120 §8.3.3 associates with it.
var (
	ErrBadRequest           = &Error{Type: "modify", Condition: "bad-request"}
	ErrConflict             = &Error{Type: "cancel", Condition: "conflict"}
	ErrForbidden            = &Error{Type: "auth", Condition: "forbidden"}
	ErrInternalServerError  = &Error{Type: "cancel", Condition: "internal-server-error"}
	ErrItemNotFound         = &Error{Type: "cancel", Condition: "item-not-found"}
	ErrJIDMalformed         = &Error{Type: "modify", Condition: "jid-malformed"}
	ErrNotAcceptable        = &Error{Type: "modify", Condition: "not-acceptable"}
	ErrNotAllowed           = &Error{Type: "cancel", Condition: "not-allowed"}
	ErrPolicyViolation      = &Error{Type: "modify", Condition: "policy-violation"}
	ErrRecipientUnavailable = &Error{Type: "wait", Condition: "recipient-unavailable"}
	ErrRemoteServerNotFound = &Error{Type: "cancel", Condition: "remote-server-not-found"}
	ErrResourceConstraint   = &Error{Type: "wait", Condition: "resource-constraint"}
	ErrServiceUnavailable   = &Error{Type: "cancel", Condition: "service-unavailable"}
)

// Fault is what the sender of a stanza is told of a failure: the stanza error that err is, to try again if it passes by itself, as
// with a store out of reach (RFC 6120 §8.3.3.18), and else that it is a fault of the server's (§8.3.3.6).
func Fault(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case Passing(err):
		return ErrResourceConstraint
	}
	return ErrInternalServerError
}

// Passing reports whether an error says of itself that it passes, or is the end of a wait.
func Passing(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// FaultLevel is how important a failure is: what passes and concerns all is told once, by who knows of it, and not for each
// stanza.
func FaultLevel(err error) slog.Level {
	if Passing(err) {
		return slog.LevelDebug
	}
	return slog.LevelError
}

// WithSecret is e for a request that must not be echoed.
func (e *Error) WithSecret() *Error { c := *e; c.Secret = true; return &c }

// WithBy is e as an entity behind the addressee has found it.
func (e *Error) WithBy(j JID) *Error { c := *e; c.By = j; return &c }

// AppendXML appends the <error/> element.
func (e *Error) AppendXML(b []byte) []byte {
	b = append(b, "<error"...)
	if !e.By.IsZero() {
		b = appendJID(b, " by=", e.By)
	}
	b = append(b, " type='"...)
	b = append(b, e.Type...)
	b = append(b, "'><"...)
	b = append(b, e.Condition...)
	b = append(b, " xmlns='"+NSStanzas+"'/>"...)
	if e.Text != "" {
		b = append(b, "<text xmlns='"+NSStanzas+"' xml:lang='en'>"...)
		b = AppendEscaped(b, e.Text)
		b = append(b, "</text>"...)
	}
	b = append(b, e.App...)
	return append(b, "</error>"...)
}

// Reply is the error stanza that answers st: same kind and id, addresses
// swapped, st's children followed by the error. It is nil where nothing may
// be answered: to an error, never (RFC 6120 §8.3.1), nor to an IQ result. This is
// the one place that builds error replies.
func (e *Error) Reply(st *Stanza) *Stanza {
	if st.Type == TypeError || st.Type == Result && st.Kind == IQ {
		return nil
	}
	inner := make([]byte, 0, len(st.Inner)+256)
	if !e.Secret {
		inner = append(inner, st.Inner...)
	}
	inner = e.AppendXML(inner)
	r := &Stanza{Kind: st.Kind, Type: TypeError, From: st.To, To: st.From, ID: st.ID, Attrs: st.Attrs, Inner: inner}
	return r.Clone()
}

// A StreamError ends a stream (RFC 6120 §4.9). It is returned up the
// connection's call chain; the connection writes it once and closes.
type StreamError struct {
	Condition string // element name in urn:ietf:params:xml:ns:xmpp-streams (RFC 6120 §4.9.3)
	Text      string // optional, English
	App       string // optional application-specific condition: one raw XML element
	Content   string // text content of the condition element, for see-other-host
}

func (e *StreamError) Error() string {
	if e.Text == "" {
		return "stream error: " + e.Condition
	}
	return fmt.Sprintf("stream error: %s: %s", e.Condition, e.Text)
}

// WithText is e with words for a human.
func (e *StreamError) WithText(text string) *StreamError { c := *e; c.Text = text; return &c }

// The stream errors that a server meets (RFC 6120 §4.9.3).
var (
	StreamBadFormat             = &StreamError{Condition: "bad-format"}
	StreamConflict              = &StreamError{Condition: "conflict"}
	StreamConnectionTimeout     = &StreamError{Condition: "connection-timeout"}
	StreamHostUnknown           = &StreamError{Condition: "host-unknown"}
	StreamImproperAddressing    = &StreamError{Condition: "improper-addressing"}
	StreamInternalServerError   = &StreamError{Condition: "internal-server-error"}
	StreamInvalidFrom           = &StreamError{Condition: "invalid-from"}
	StreamInvalidNamespace      = &StreamError{Condition: "invalid-namespace"}
	StreamNotAuthorized         = &StreamError{Condition: "not-authorized"}
	StreamNotWellFormed         = &StreamError{Condition: "not-well-formed"}
	StreamPolicyViolation       = &StreamError{Condition: "policy-violation"}
	StreamResourceConstraint    = &StreamError{Condition: "resource-constraint"}
	StreamRestrictedXML         = &StreamError{Condition: "restricted-xml"}
	StreamSystemShutdown        = &StreamError{Condition: "system-shutdown"}
	StreamUndefinedCondition    = &StreamError{Condition: "undefined-condition"}
	StreamUnsupportedEncoding   = &StreamError{Condition: "unsupported-encoding"}
	StreamUnsupportedFeature    = &StreamError{Condition: "unsupported-feature"}
	StreamUnsupportedStanzaType = &StreamError{Condition: "unsupported-stanza-type"}
	StreamUnsupportedVersion    = &StreamError{Condition: "unsupported-version"}
)

// AppendXML appends the <stream:error/> element, without the closing stream tag.
func (e *StreamError) AppendXML(b []byte) []byte {
	b = append(b, "<stream:error><"...)
	b = append(b, e.Condition...)
	b = append(b, " xmlns='"+NSStreams+"'"...)
	if e.Content != "" {
		b = append(b, '>')
		b = AppendEscaped(b, e.Content)
		b = append(b, "</"...)
		b = append(b, e.Condition...)
		b = append(b, '>')
	} else {
		b = append(b, "/>"...)
	}
	if e.Text != "" {
		b = append(b, "<text xmlns='"+NSStreams+"' xml:lang='en'>"...)
		b = AppendEscaped(b, e.Text)
		b = append(b, "</text>"...)
	}
	b = append(b, e.App...)
	return append(b, "</stream:error>"...)
}
