// Package auth proves who a client is: credentials, the server side of SASL
// (SCRAM by RFC 5802, RFC 7677, RFC 9266; PLAIN by RFC 4616; OAUTHBEARER by RFC
// 7628; hashed tokens by XEP-0484), tokens of others (RFC 7519) and of ours, and the
// accounts behind it.
//
// Nobody learns from it whether an account exists: an unknown user gets a salt
// that is as constant as a real one, costs the same work and the same round
// trips to the store, and fails at the same step as a wrong password.
package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"chatd/store"
)

// Errors of the account verbs.
var (
	ErrExists      = errors.New("auth: account exists already")
	ErrNotFound    = errors.New("auth: no such account")
	ErrBadUser     = errors.New("auth: not a valid user name")
	ErrBadPassword = errors.New("auth: not a valid password")
)

// errOver answers a Step after the last one: a mistake of the caller.
var errOver = errors.New("auth: the exchange is over")

// maxResponse bounds one message of a client, in bytes, decoded: a token and what
// is around it.
const maxResponse = maxToken + 1024

// A Failure is a SASL error (RFC 6120 §6.5): the exchange is over, the client
// may try again.
type Failure struct {
	Condition string // element name in urn:ietf:params:xml:ns:xmpp-sasl
	Text      string // optional, English; never tells whether the user exists
	Cause     error  // optional, for the log only
}

func (f *Failure) Error() string { return fmt.Sprintf("auth: %s", f.Condition) }

func (f *Failure) Unwrap() error { return f.Cause }

var (
	errAccountDisabled    = &Failure{Condition: "account-disabled"}    // RFC 6120 §6.5.2
	errEncryptionRequired = &Failure{Condition: "encryption-required"} // RFC 6120 §6.5.4
	errInvalidAuthzid     = &Failure{Condition: "invalid-authzid"}     // RFC 6120 §6.5.6
	errInvalidMechanism   = &Failure{Condition: "invalid-mechanism"}   // RFC 6120 §6.5.7
	errNotAuthorized      = &Failure{Condition: "not-authorized"}      // RFC 6120 §6.5.10
)

// malformed is RFC 6120 §6.5.8.
func malformed(text string) *Failure {
	return &Failure{Condition: "malformed-request", Text: text}
}

// A Channel is what protects a connection. The zero Channel is one without TLS.
type Channel struct {
	TLS      *tls.ConnectionState // nil without TLS
	Private  bool                 // without TLS of our own, others keep the stream private: a proxy that has TLS with the client
	cert     []byte               // our leaf certificate, DER, for tls-server-end-point (RFC 5929 §4); never changed
	exporter []byte               // tls-exporter; nil: there is none
}

// NewChannel is a channel over TLS, whose handshake is complete; cert is the leaf certificate that we showed, DER.
func NewChannel(state *tls.ConnectionState, cert []byte) Channel {
	return Channel{TLS: state, cert: cert, exporter: exporterOf(state)}
}

func (c Channel) private() bool { return c.TLS != nil || c.Private }

// Accounts is where accounts are kept. store.Store is one. A login begins with Player, so that the store may have ready what
// follows.
type Accounts interface {
	store.Accounts
	store.Players
}

// A Service verifies users of one domain and keeps their credentials. It is
// safe for concurrent use.
type Service struct {
	accounts Accounts
	domain   string
	secret   []byte
	hashing  chan struct{}            // one element for each password that is being hashed
	endPoint atomic.Pointer[endPoint] // of the certificate last asked for
	tokens   atomic.Pointer[Tokens]   // nil: none are accepted
	only     atomic.Pointer[[]string] // SCRAM mechanisms that are offered; nil: all
}

// New makes the service of one domain, a normalized domainpart. secret is what
// the salts of users who do not exist, tokens and clients' names are made from: random
// bytes, at least 16 (32 are plenty), the same on every start and every node, or a salt
// that changed would give an unknown user away, and a token not be known again. New
// panics if it is shorter.
func New(accounts Accounts, domain string, secret []byte) *Service {
	if len(secret) < 16 {
		panic("auth: the secret is too short")
	}
	return &Service{
		accounts: accounts,
		domain:   domain,
		secret:   slices.Clone(secret),
		// Hashing a password keeps a core busy for milliseconds: never all of
		// them, lest a storm of registrations starve those who chat.
		hashing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
}

// Mechanisms is what to offer on ch (RFC 6120 §6.3.4), best first: SCRAM with
// channel binding where ch can be bound, OAUTHBEARER and PLAIN only where ch is private.
func (s *Service) Mechanisms(ch Channel) []string {
	plus := len(s.ChannelBindings(ch)) > 0
	var names []string
	for _, h := range scramHashes {
		if only := s.only.Load(); only != nil && !slices.Contains(*only, h.name) {
			continue
		}
		if plus {
			names = append(names, h.name+plusSuffix)
		}
		names = append(names, h.name)
	}
	if ch.private() && s.TokensAccepted() {
		names = append(names, oauthBearer)
	}
	if ch.private() {
		names = append(names, "PLAIN")
	}
	return names
}

// SetSCRAM says which SCRAM mechanisms are offered, without -PLUS; at first that is all. An account that was imported may have a
// credential for one of them only, while clients take the best that they are offered.
func (s *Service) SetSCRAM(mechanisms []string) {
	mechanisms = slices.Clone(mechanisms)
	s.only.Store(&mechanisms)
}

// Start begins an exchange by a mechanism that a client chose. The error is a
// *Failure: the mechanism is not offered on ch.
func (s *Service) Start(mechanism string, ch Channel) (*Exchange, error) {
	if !ch.private() && (mechanism == "PLAIN" || mechanism == oauthBearer && s.TokensAccepted()) {
		return nil, errEncryptionRequired
	}
	if !slices.Contains(s.Mechanisms(ch), mechanism) {
		return nil, errInvalidMechanism
	}
	e := &Exchange{service: s, channel: ch}
	switch mechanism {
	case "PLAIN":
		e.next = e.plain
	case oauthBearer:
		e.next = e.oauthBearer
	default:
		name, plus := strings.CutSuffix(mechanism, plusSuffix)
		e.next = (&scram{Exchange: e, hash: hashByName(name), plus: plus}).clientFirst
	}
	return e, nil
}

// An Exchange is one SASL negotiation. It belongs to one goroutine.
type Exchange struct {
	service  *Service
	channel  Channel
	next     step // nil: the exchange is over
	asked    bool // for the initial response
	user     string
	disabled bool // what the account says of the user who is being proved
	expires  time.Time

	// What proved the user, if it is kept in the account.
	storedKey  []byte            // of the password
	shown      *store.LoginToken // the token of ours
	only       bool              // that is the only one that its client has
	invalidate bool              // the client's tokens end with this exchange
}

// A step reads one message of the client. It sets Exchange.next if another
// has to follow, and Exchange.user when it is done.
type step func(ctx context.Context, response []byte) (challenge []byte, done bool, err error)

// Step takes the client's next message, base64 already decoded, nil where
// <auth/> carried no initial response. It answers with the next challenge or,
// with done, with the additional data of <success/>, both possibly empty. An
// error ends the exchange: a *Failure is for the client; anything else is a
// fault of the store, the context's end, or a call after the end, for the log
// and <temporary-auth-failure/>. It may block on the store and on the CPU.
func (e *Exchange) Step(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	if e.next == nil {
		return nil, false, errOver
	}
	if len(response) == 0 && !e.asked {
		e.asked = true // RFC 6120 §6.3.10: an empty challenge asks for the initial response
		return []byte{}, false, nil
	}
	e.asked = true
	now := e.next
	e.next = nil
	if len(response) > maxResponse {
		return nil, false, malformed("message too long")
	}
	challenge, done, err = now(ctx, response)
	if err == nil && done && e.disabled {
		e.user = ""
		return nil, false, errAccountDisabled // only who has proved to be the user may learn it
	}
	return challenge, done, err
}

// User is the normalized localpart of the user who proved to be there; "" as
// long as nobody did.
func (e *Exchange) User() string { return e.user }

// Expires is when the token that proved the user stops to count; the zero time if it
// was no token that did.
func (e *Exchange) Expires() time.Time { return e.expires }
