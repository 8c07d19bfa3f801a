package xep

import (
	"context"

	"chatd/router"
)

const nsPing = "urn:xmpp:ping"

// Ping answers pings to the server (XEP-0199 §4.2). Those to a client's full
// JID are the client's to answer.
type Ping struct{}

// NewPing registers the answer to pings.
func NewPing(r *router.Router) Ping {
	r.Handle(router.ToHost|router.ToOwn, nsPing, "ping", get(pong))
	return Ping{}
}

// Features is XEP-0199 §5.
func (Ping) Features() []string { return []string{nsPing} }

func pong(context.Context, *router.Request) ([]byte, error) { return nil, nil }
