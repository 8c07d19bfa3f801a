package router

import (
	"context"
	"errors"

	"chatd/stanza"
)

// The router declares what it needs of the packages above it; main puts them
// together.

// Presence is the friends list's part in routing: RFC 6121 §3 and §4. roster provides it.
// Its methods may block on the store.
type Presence interface {
	// Broadcast takes a presence without 'to' from a client: initial
	// presence, an update, or unavailable (RFC 6121 §4.2, §4.4, §4.5).
	Broadcast(ctx context.Context, b *Batch, s Session, st *stanza.Stanza)
	// Directed remembers or forgets the target of a directed presence (RFC
	// 6121 §4.6). The router then delivers it.
	Directed(s Session, st *stanza.Stanza)
	// Outbound takes a subscription presence from a local client (RFC 6121
	// §3, the user's server's part) and routes what follows from it.
	Outbound(ctx context.Context, b *Batch, s Session, st *stanza.Stanza)
	// Inbound takes a subscription presence for a local user (RFC 6121 §3, the
	// contact's server's part). From and To are bare.
	Inbound(ctx context.Context, b *Batch, st *stanza.Stanza)
	// Probe answers a presence probe for a local user (RFC 6121 §4.3).
	Probe(ctx context.Context, b *Batch, st *stanza.Stanza)
	// Ended tells all who saw the session that it is gone (RFC 6121 §4.5, §4.6). The session has
	// left the table. Called once, by the session's own goroutine.
	Ended(ctx context.Context, s Session)
}

// ErrReachable is what Spool.Hold returns when the recipient has meanwhile
// become reachable: the router routes the message again.
var ErrReachable = errors.New("router: recipient is reachable")

// ErrTransient is what Spool.Hold returns for a message that would be worth
// nothing later, such as a chat state: the router drops it.
var ErrTransient = errors.New("router: message is not worth keeping")

// ErrDoubt is wrapped by an error of Spool.Hold that leaves open whether the message is kept.
var ErrDoubt = errors.New("router: not known whether the message is kept")

// A Spool keeps messages for users who cannot be reached (XEP-0160).
type Spool interface {
	// Hold keeps a message to a user of this server durably before it
	// returns nil, and tells under which number. An error that is a *stanza.Error is
	// for the sender. st.To may be full or bare. It blocks on the store.
	Hold(ctx context.Context, st *stanza.Stanza) (seq int64, err error)
	// HoldLater keeps in memory what Hold could not and nobody answers for any more: a message that a session took and could
	// not send. It is stored once the store works again. false means that cause does not pass, or that too much waits
	// already. st may be a view. It does not block.
	HoldLater(st *stanza.Stanza, cause error) bool
	// Withdraw is for a message whose sender is told that it is not kept, although Hold's error was ErrDoubt: if the store has it all the same it is
	// taken out again, as soon as the store works. st may be a view. It does not block.
	Withdraw(st *stanza.Stanza)
	// Keep stores a message for one session only: a copy of what its client is slow to take, or what waits for it to be resumed. Who
	// else is handed messages here does not get it. The caller calls Forget when the client has the message, or when another way
	// was found for it, or Release. 0 is for one that is not to be stored. It blocks on the store.
	Keep(ctx context.Context, st *stanza.Stanza) (seq int64, err error)
	// Release is for who has asked to Keep messages for a session that now is to be handed what waits, or goes elsewhere: they
	// wait like others. With ended it is no more: they are handed to another one here that messages may go to, if there is one. It may be
	// called with numbers of other messages that the session had not acknowledged. With ended it blocks on the store and on that client.
	Release(ctx context.Context, user stanza.JID, seqs []int64, ended bool)
	// Waits reports whether messages wait for a user. It blocks on the store; if that fails none do.
	Waits(ctx context.Context, user string) bool
	// Forget drops messages of a user that are known to have been delivered. It blocks on the store.
	Forget(ctx context.Context, user string, seqs []int64) error
}

// Copies makes the copies that Carbons resources get (XEP-0280). Its methods
// never block.
type Copies interface {
	// Sent copies what a client of the row's user sent from another resource.
	Sent(b *Batch, to Row, st *stanza.Stanza)
	// Received copies what another resource of the row's user was sent.
	Received(b *Batch, to Row, st *stanza.Stanza)
	// Original is the message that Received made a copy of; nil if st is no such copy.
	Original(st *stanza.Stanza) *stanza.Stanza
}

// Users knows which accounts exist.
type Users interface {
	Exists(ctx context.Context, user string) (bool, error)
}

// Blocks knows the block lists of users who have no session (XEP-0191). nil: there are none.
type Blocks interface {
	// Blocklist blocks on the store.
	Blocklist(ctx context.Context, user string) (*Blocklist, error)
}

// A Request is an IQ get or set to be answered.
type Request struct {
	*stanza.Stanza         // a view: valid until the handler returns
	Session        Session // the sender's, if it is a client of this node; else nil
	Batch          *Batch  // for what the handler sends besides the answer
	Own            bool    // the sender is the account that the request is addressed to
	// After, if the handler sets it, runs once the result has been queued.
	After func()
}

// An IQHandler answers a Request with the payload of the result, raw XML, nil
// for an empty result. An error that is a *stanza.Error goes to the sender as it is;
// any other is logged and the sender gets <internal-server-error/>. It runs on the
// sender's reading goroutine and may block.
type IQHandler func(ctx context.Context, req *Request) ([]byte, error)

// Scope says to whom a request is addressed.
type Scope uint8

// Scopes; a handler may serve several.
const (
	ToHost    Scope = 1 << iota // the server's domain
	ToOwn                       // the sender's own account, also by leaving out 'to' (RFC 6120 §10.3.3)
	ToAccount                   // another user's bare JID, which exists (RFC 6121 §8.5.2.1.3)
)

type payload struct{ space, local string }

// Handle registers h for IQs whose child element is local in the namespace
// space. It panics when the place is taken. Call it before the first Route.
func (r *Router) Handle(scope Scope, space, local string, h IQHandler) {
	for bit := ToHost; bit <= ToAccount; bit <<= 1 {
		if scope&bit == 0 {
			continue
		}
		m := r.handlers[bit]
		if m == nil {
			m = make(map[payload]IQHandler)
			r.handlers[bit] = m
		}
		p := payload{space, local}
		if m[p] != nil {
			panic("router: two handlers for " + space + " " + local)
		}
		m[p] = h
	}
}

// A Service has an address of its own beside the users': rooms, say (XEP-0045).
type Service interface {
	// Handle takes each stanza that is for the service's domain, or for anything at it. st is a view, valid until
	// Handle returns. s is the sender's session if it is a client of this node, else nil. It runs on the sender's
	// goroutine, may block on the store, and calls b.Flush before it does. With errors and results it never blocks.
	Handle(ctx context.Context, b *Batch, s Session, st *stanza.Stanza)
}

// Serve gives the service all that is for a domain, which is not the server's own. Call it before the first Route.
func (r *Router) Serve(domain string, s Service) { r.services[domain] = s }
