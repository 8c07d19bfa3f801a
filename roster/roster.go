// Package roster is RFC 6121 §2-4: the friends list, the subscription state
// machine of Appendix A, and who is told of whose presence. It implements
// router.Presence and answers jabber:iq:roster.
//
// Everything that changes or reads one account's side of a subscription, and
// every presence that account's resources broadcast, happens under that
// account's lock (locks.go). So the pushes of one account go out in the order
// of their versions, and nobody is told an older presence after a newer one.
// A subscription stanza holds the locks of both accounts, so that two users
// who act at the same time leave rosters that mirror each other. Under a lock
// the store may be waited for, a client never: Session.Send does not block.
package roster

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// NS is the namespace of roster requests (RFC 6121 §2.1).
const NS = "jabber:iq:roster"

const (
	// storeTimeout bounds how long one stanza may wait for the store.
	storeTimeout = 15 * time.Second
	// maxRequest bounds a subscription request in bytes, which may wait in the
	// store for as long as the contact likes (RFC 6121 §3.1.3, security warning).
	maxRequest = 4096
	// maxPresence bounds a broadcast presence in bytes: a contact gets one of each
	// resource of each friend at once, before it can acknowledge any. The least that
	// RFC 6120 §13.12 allows.
	maxPresence = 10000
)

// The router's words for why something was not delivered.
const (
	dropRefused = "refused"
	dropStore   = "store-failed"
)

// A Store is what the roster keeps and reads. store.Store is one.
type Store interface {
	store.Rosters
	Blocklist(ctx context.Context, user string) ([]string, error)
	store.Notes
	store.Privacies
}

// Config is what an operator sets.
type Config struct {
	// MaxContacts bounds one user's roster items, and separately the requests of
	// strangers that wait for the user's answer; 0 = unlimited.
	MaxContacts int
	// RequestsPerMinute bounds how many others one user may ask for friendship; 0 = unlimited.
	RequestsPerMinute int
	// Require is what goes between friends only.
	Require router.Requirement
}

// cachedDetails bounds the contacts whose details are cached, for whoever was asked for lately.
// One costs some 300 bytes.
const cachedDetails = 1 << 18

// A Service keeps the rosters and tells presence for all users of one router.
// Its exported fields are set before the first stanza and fixed afterwards;
// its methods are safe for concurrent use.
type Service struct {
	// Amend, if set, returns an available presence as it is to be broadcast
	// (XEP-0153 §4.1): st itself or a changed copy. It may block on the store.
	Amend func(ctx context.Context, s router.Session, st *stanza.Stanza) *stanza.Stanza
	// HandOver, if set, is called when a resource is about to become reachable for
	// messages to the bare JID. It delivers what waits and calls reachable at
	// the moment from which no message can slip between. Until then the resource is
	// available in the table with priority -1. It may block, also on the client.
	HandOver func(ctx context.Context, s router.Session, reachable func())

	// Presence, if set, is told when a user's first resource becomes available and when the last one has gone. It
	// is called under the user's lock, so in the order of what happens, and must not block. A session that
	// takes over from another may have a user become available who is.
	Presence func(user stanza.JID, online bool)
	// Nodes says that other nodes have sessions of the same users. It is set before the first presence.
	Nodes bool
	// Serving ends with the server; set as Nodes is.
	Serving context.Context

	r           *router.Router
	store       Store
	log         *slog.Logger
	maxContacts atomic.Int64
	pushes      atomic.Uint64 // for the ids of roster pushes
	accounts    accounts
	missed      missed
	owed        owed
	left        missed       // whose last word here was that they are unavailable, each under the own bare JID
	lost        atomic.Int64 // when somebody was told last that others are gone with their node, in ns since 1970

	requestsPerMinute atomic.Int64
	lists             *cache[[]Friend] // for Friends
	circles           *cache[circle]   // for the rules
}

// New makes the service for a router, whose Presence and Rules the caller sets to it.
func New(r *router.Router, st Store, cfg Config, log *slog.Logger) *Service {
	s := &Service{
		Serving: context.Background(), r: r, store: st, log: log,
		lists:   newCache(cachedDetails, func(l []Friend) int { return len(l) + 1 }),
		circles: newCache(cachedFriends, func(f circle) int { return len(f) + 8 }),
	}
	s.missed.keep, s.left.keep = missedFor, lostFor
	s.accounts.init()
	s.Reload(cfg)
	return s
}

// Reload puts a new configuration in force. A roster that is over a lowered limit keeps its
// items.
func (s *Service) Reload(cfg Config) {
	s.maxContacts.Store(int64(cfg.MaxContacts))
	s.requestsPerMinute.Store(int64(cfg.RequestsPerMinute))
	s.r.Require(cfg.Require)
}

// Register registers the handlers of jabber:iq:roster and of the privacy settings.
func (s *Service) Register() {
	s.r.Handle(router.ToOwn, NS, "query", s.handle)
	s.r.Handle(router.ToAccount, NS, "query", forbid)
	s.r.Handle(router.ToOwn, NSPrivacy, "privacy", s.handlePrivacy)
}

// SeesPresence reports whether viewer has a subscription to owner's presence, or
// is the owner (RFC 6121 §4.2.2). The resources of both do not matter. It may block on the store.
func (s *Service) SeesPresence(ctx context.Context, owner, viewer stanza.JID) (bool, error) {
	owner = owner.Bare()
	if !s.local(owner) {
		return false, nil
	}
	a := s.accounts.lock(owner)
	defer a.Unlock()
	return s.seesLocked(ctx, a, owner, viewer)
}

// RemoveUser ends all of a user's subscriptions in both directions and empties
// the roster, as if the user had removed every contact. Call it before the
// account is deleted, lest whoever gets the name next is shown the presence of
// the former owner's friends.
func (s *Service) RemoveUser(ctx context.Context, user stanza.JID) error {
	user = user.Bare()
	list, err := s.store.Roster(ctx, user.Local())
	if err != nil {
		return err
	}
	var b router.Batch
	defer b.Flush()
	for i := range list.Items {
		contact, err := stanza.ParseJID(list.Items[i].JID)
		if err != nil {
			continue
		}
		if err := s.remove(ctx, &b, user, contact, anyItem); err != nil {
			return err
		}
	}
	return nil
}

// Forget drops what is cached, after somebody else has changed the store: of one user, or of all
// for the zero JID. Sessions that are connected keep their settings.
func (s *Service) Forget(user stanza.JID) {
	if user = user.Bare(); !user.IsZero() {
		a := s.accounts.lock(user)
		a.dropLocked(user)
		a.Unlock()
		s.lists.forget(user, false)
		s.circles.forget(user, false)
		return
	}
	for i := range s.accounts.stripes {
		a := &s.accounts.stripes[i]
		a.Lock()
		clear(a.viewers)
		a.cached = 0
		a.Unlock()
	}
	s.lists.forgetAll()
	s.circles.forgetAll()
}

// Features is what service discovery says of the server.
func (*Service) Features() []string { return []string{NSPrivacy} }

// local reports whether j is an address of a user of this server, who need not exist.
func (s *Service) local(j stanza.JID) bool {
	return j.Local() != "" && j.Domain() == s.r.Domain.Domain()
}

// errFull is the answer at the contact limit.
var errFull = stanza.ErrNotAllowed.WithText("your contact list is full")

// refuse tells the sender why st had no effect, or only half of it.
func (s *Service) refuse(b *router.Batch, st *stanza.Stanza, err error) {
	var refusal *stanza.Error
	if errors.As(err, &refusal) {
		s.r.Fail(b, st, refusal, dropRefused)
		return
	}
	s.log.Log(context.Background(), stanza.FaultLevel(err), "presence not processed", "from", st.From, "to", st.To, "type", st.Type.String(), "err", err)
	s.r.Fail(b, st, stanza.Fault(err), dropStore)
}

// nextID is the id of a push, unique while the server runs.
func (s *Service) nextID() []byte {
	return strconv.AppendUint([]byte("push-"), s.pushes.Add(1), 36)
}
