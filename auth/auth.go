// Package auth proves who a client is: credentials, the server side of SASL
// (SCRAM by RFC 5802, RFC 7677, RFC 9266; PLAIN by RFC 4616), and the accounts
// behind it.
package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"chatd/store"
)

// Errors of the account verbs.
var (
	ErrExists      = errors.New("auth: account exists already")
	ErrNotFound    = errors.New("auth: no such account")
	ErrBadUser     = errors.New("auth: not a valid user name")
	ErrBadPassword = errors.New("auth: not a valid password")
)

// A Failure is a SASL error (RFC 6120 §6.5): the exchange is over, the client
// may try again.
type Failure struct {
	Condition string // element name in urn:ietf:params:xml:ns:xmpp-sasl
	Text      string // optional, English; never tells whether the user exists
}

func (f *Failure) Error() string { return fmt.Sprintf("auth: %s", f.Condition) }

// A Channel is what channel binding needs to know of a connection. The zero
// Channel is a connection without TLS.
type Channel struct {
	TLS  *tls.ConnectionState // nil without TLS
	Cert []byte               // our leaf certificate, DER, for tls-server-end-point (RFC 5929 §4)
}

// A Service verifies users of one domain and keeps their credentials. It is
// safe for concurrent use.
type Service struct {
	accounts store.Accounts
}

// An Exchange is one SASL negotiation. It belongs to one goroutine.
type Exchange struct{}

var _ = context.Background
