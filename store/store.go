// Package store defines the records that chatd keeps and the verbs to keep
// them, as small interfaces by domain. The verbs are written for the weakest
// backend: each touches one user's value for one domain, whole
// read-modify-write, with no transaction across keys and no secondary index.
// Backends are store/sqlstore and store/memory; store/storetest holds every
// one of them to what is promised here.
//
// Users are named by the normalized localpart of their account. All verbs may
// block, are safe for concurrent use, and return the context's error when it
// ends first: a write may then have happened or not, never half, and may be
// repeated. A write that returned nil is durable: it survives the process
// and, with SQLite's default durability, a power cut.
package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"
)

// Errors that callers tell apart; everything else is a fault of the backend.
var (
	ErrNotFound = errors.New("store: not found")
	ErrExists   = errors.New("store: exists already")
	ErrFull     = errors.New("store: limit reached")
	ErrClosed   = errors.New("store: closed")
	// ErrUnavailable is wrapped by the error of a verb that could not reach its backend, or that was not given an
	// answer in time: it may be tried again later. A write may have happened or not.
	ErrUnavailable error = &passing{"store: not reachable now", nil}
	// ErrNotTried is an ErrUnavailable of a verb that was not begun: nothing has changed, nor will.
	ErrNotTried error = &passing{"store: known not to be reachable", ErrUnavailable}
)

// A passing error is one that goes away by itself.
type passing struct {
	text string
	kind error // that this one is an instance of; nil: none
}

func (e *passing) Error() string { return e.text }

func (e *passing) Unwrap() error { return e.kind }

// Temporary tells it from a fault that somebody has to mend, as context.DeadlineExceeded does.
func (*passing) Temporary() bool { return true }

// A Store is one backend.
type Store interface {
	Accounts
	Rosters
	Blocklists
	Offline
	Notes
	Privacies
	Private
	VCards
	LastActivities
	Outbox
	Rooms
	Mover
	Players

	// Close flushes and releases the backend. Verbs called afterwards return
	// ErrClosed; closing again does nothing.
	Close() error
}

// An Account is what is kept of one user's right to log in. The password is
// not in it (RFC 5802 §3).
type Account struct {
	User        string
	Credentials []Credential // one per SCRAM hash
	Tokens      []LoginToken // of the user's clients
	Created     time.Time    // UTC, whole seconds
	Disabled    bool         // may not log in
}

// A Credential verifies one SCRAM mechanism without being able to
// impersonate the user elsewhere (RFC 5802 §3, §9).
type Credential struct {
	Mechanism  string // "SCRAM-SHA-1" or "SCRAM-SHA-256"
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// A LoginToken lets one client log in without its user's password (XEP-0484). The token itself is not
// in it: who issued it derives it from Nonce and a secret that is not kept here.
type LoginToken struct {
	Client    string    // names the client among those of the user
	Mechanism string    // the only SASL mechanism it is good for
	Nonce     []byte    // unique
	Issued    time.Time // UTC, whole seconds
	Expires   time.Time // UTC, whole seconds
	Used      bool      // the client has logged in with it, so it is the one that it has
	Limited   bool      // what it begins ends when it expires
}

// Accounts keeps who may log in.
type Accounts interface {
	// Account returns ErrNotFound for an unknown user.
	Account(ctx context.Context, user string) (Account, error)
	// CreateAccount returns ErrExists if the user exists. The new user starts
	// with nothing: what was written under the name without an account, say by
	// a session that outlived it, is removed.
	CreateAccount(ctx context.Context, a Account) error
	// SetCredentials replaces all credentials and removes all tokens; ErrNotFound for
	// an unknown user.
	SetCredentials(ctx context.Context, user string, creds []Credential) error
	// SetDisabled changes whether the user may log in; ErrNotFound for an unknown user.
	SetDisabled(ctx context.Context, user string, disabled bool) error
	// UpdateTokens is a read-modify-write of the account's tokens: update gets the account
	// and returns the tokens that it is to have. It runs on any goroutine, perhaps more
	// than once or after the call has returned an error, and must have no side effects but
	// on what its caller reads after success only; it must not use the store. When it returns an error nothing is
	// changed and that error comes back as it is. ErrNotFound for an unknown user.
	UpdateTokens(ctx context.Context, user string, update func(Account) ([]LoginToken, error)) error
	// DeleteAccount removes the user and everything that the store keeps
	// under that name in every domain; ErrNotFound for an unknown user.
	DeleteAccount(ctx context.Context, user string) error
	// ListAccounts returns up to limit names after the given one, in byte
	// order; none if limit is not positive.
	ListAccounts(ctx context.Context, after string, limit int) ([]string, error)
}

// Subscription is the state of a roster item (RFC 6121 §2.1.2.5).
type Subscription uint8

// Subscription states. SubNone with neither Ask nor PendingIn nor Approved is
// a contact without any subscription.
const (
	SubNone Subscription = iota
	SubTo                // the user sees the contact's presence
	SubFrom              // the contact sees the user's presence
	SubBoth
)

// String is the attribute's value.
func (s Subscription) String() string { return [...]string{"none", "to", "from", "both"}[s] }

// A RosterItem is one contact of one user.
type RosterItem struct {
	JID       string // bare, normalized; the key
	Name      string // handle, RFC 6121 §2.1.2.4
	Groups    []string
	Sub       Subscription
	Ask       bool   // pending out (RFC 6121 §3.1.2)
	PendingIn bool   // the contact asked and waits for an answer (RFC 6121 §3.1.3)
	Approved  bool   // pre-approved (RFC 6121 §3.4)
	Hidden    bool   // only a pending request so far: never shown in the roster
	Request   []byte // the presence of the request that the contact made, raw XML
	Message   string // text of the pending request, whoever made it
	// Created is when the subscription became mutual, UTC, whole seconds; until then
	// when the pending request was made, and without one when the item was.
	Created time.Time
}

// Equal reports whether two items are the same in all that is kept.
func (i RosterItem) Equal(o RosterItem) bool {
	return i.JID == o.JID && i.Name == o.Name && slices.Equal(i.Groups, o.Groups) &&
		i.Sub == o.Sub && i.Ask == o.Ask && i.PendingIn == o.PendingIn &&
		i.Approved == o.Approved && i.Hidden == o.Hidden &&
		i.Message == o.Message && bytes.Equal(i.Request, o.Request) && i.Created.Equal(o.Created)
}

// A Roster is one user's friends list.
type Roster struct {
	// Version grows with every change that an XMPP client can see, and never
	// repeats for a user name, also not when the account is made anew
	// (RFC 6121 §2.6); 0 is a roster that never had an item.
	Version int64
	Items   []RosterItem // ordered by JID
}

// Rosters keeps friends lists.
type Rosters interface {
	// Roster returns the user's list; an unknown user has an empty one.
	Roster(ctx context.Context, user string) (Roster, error)
	// Mutual is the addresses of the items with SubBoth, in byte order. It costs far less than Roster.
	Mutual(ctx context.Context, user string) ([]string, error)
	// UpdateItem is a read-modify-write of one item: update gets the present
	// item (a zero one with JID set, and exists false, if there is none) and
	// changes it in place, all but its JID. It returns Keep, Remove or Leave.
	// update runs on the caller's goroutine, perhaps more than once, and must
	// have no side effects; it may use the store. When it returns an error
	// nothing is changed and that error comes back as it is. A write that would
	// make more than maxItems items not Hidden returns ErrFull (0 =
	// unlimited), and one that would make more than maxItems Hidden ones likewise.
	// The roster's Version after the call is returned; it grows only if the
	// item was or becomes visible (not Hidden).
	UpdateItem(ctx context.Context, user, contact string, maxItems int, update func(item *RosterItem, exists bool) (Verdict, error)) (version int64, err error)
}

// A Verdict is what becomes of an item after an update.
type Verdict uint8

// Verdicts.
const (
	Leave  Verdict = iota // write nothing
	Keep                  // write the item as it now is
	Remove                // delete the item
)

// Blocklists keeps who is blocked by whom (XEP-0191).
type Blocklists interface {
	// Blocklist returns the blocked addresses in byte order.
	Blocklist(ctx context.Context, user string) ([]string, error)
	// Block adds addresses; those present already change nothing. ErrFull if the list
	// would grow over max (0 = unlimited), and then nothing is added.
	Block(ctx context.Context, user string, jids []string, max int) error
	// Unblock removes addresses; nil removes all.
	Unblock(ctx context.Context, user string, jids []string) error
}

// A Note is what a user has written about an address (XEP-0145), who need not be a contact.
type Note struct {
	JID      string // bare, normalized; the key
	Text     string
	Created  time.Time // UTC, whole seconds, as the client has it; zero: not known
	Modified time.Time // likewise
}

// Notes keeps what users have written about others.
type Notes interface {
	// Notes returns the user's notes in byte order of their JIDs.
	Notes(ctx context.Context, user string) ([]Note, error)
	// UpdateNotes is a read-modify-write of all of a user's notes: update gets them as Notes
	// does and returns those to keep, in any order, no JID twice. It runs on the caller's
	// goroutine, perhaps more than once, and must have no side effects; it may use the store.
	// When it returns an error nothing is changed and that error comes back as it is.
	UpdateNotes(ctx context.Context, user string, update func(notes []Note) ([]Note, error)) error
}

// An Audience is who may do something to a user.
type Audience uint8

// Audiences, each within the one before.
const (
	Everyone Audience = iota
	FriendsOfFriends
	Friends
	Nobody
)

// String is how an Audience is written in protocols.
func (a Audience) String() string {
	return [...]string{"everyone", "friends-of-friends", "friends", "nobody"}[a]
}

// Privacy is one user's settings. The zero value is what a user has who has set nothing.
type Privacy struct {
	Messages Audience // who may send the user messages
	Requests Audience // who may ask for friendship: not Friends, who have it
}

// Privacies keeps privacy settings.
type Privacies interface {
	Privacy(ctx context.Context, user string) (Privacy, error)
	SetPrivacy(ctx context.Context, user string, p Privacy) error
}

// An OfflineMessage waits for its recipient.
type OfflineMessage struct {
	// Seq orders the messages of one user and names one for removal. It is
	// given by the store, grows, and is never reused.
	Seq    int64
	Stored time.Time // UTC, milliseconds: when the server took it
	Stanza []byte    // the whole <message/>, raw XML
	// ID names the message for good, so that it can be kept again safely; "" for one that has none.
	ID string
	// Again says that an earlier AppendOffline with the same ID failed in a way that leaves open whether the message was
	// kept. If it is among the user's newest 1,000 messages, nothing is changed and its number is returned.
	Again bool
}

// Offline keeps messages for users who are not there (XEP-0160).
type Offline interface {
	// AppendOffline keeps a message after all that wait already; ErrFull when max wait
	// (0 = unlimited). A negative max keeps none: it finds out whether one that comes Again was kept. Two calls of which the first returned before the second began keep that order.
	// seq is the number that the message was given.
	AppendOffline(ctx context.Context, user string, m OfflineMessage, max int) (seq int64, err error)
	// OfflinePage returns up to limit messages with Seq greater than after,
	// oldest first; none if limit is not positive.
	OfflinePage(ctx context.Context, user string, after int64, limit int) ([]OfflineMessage, error)
	// RemoveOffline removes the messages with these sequence numbers; unknown ones are
	// no error.
	RemoveOffline(ctx context.Context, user string, seqs []int64) error
	// CountOffline is how many wait.
	CountOffline(ctx context.Context, user string) (int, error)
}

// A PrivateElement is one element of a client's own XML.
type PrivateElement struct {
	Space, Local string
	XML          []byte
}

// Private keeps clients' own XML (XEP-0049), keyed by the element's name and namespace.
type Private interface {
	// PrivateXML returns the element as stored; ErrNotFound if there is none.
	PrivateXML(ctx context.Context, user, space, local string) ([]byte, error)
	// SetPrivateXML replaces the element. ErrFull when the user would have more than max
	// elements (0 = unlimited).
	SetPrivateXML(ctx context.Context, user, space, local string, xml []byte, max int) error
	// PrivateElements returns all that the user has, in byte order of namespace and name.
	PrivateElements(ctx context.Context, user string) ([]PrivateElement, error)
}

// VCards keeps profiles (XEP-0054).
type VCards interface {
	// VCard returns the <vCard/> element as stored; ErrNotFound if there is none.
	VCard(ctx context.Context, user string) ([]byte, error)
	// SetVCard replaces it; empty removes it.
	SetVCard(ctx context.Context, user string, xml []byte) error
}

// A LastActivity is when a user was last seen and with what words (XEP-0012).
type LastActivity struct {
	At     time.Time // UTC, whole seconds
	Status string    // of the last unavailable presence
}

// LastActivities keeps when users were last online.
type LastActivities interface {
	// LastActivity returns ErrNotFound for a user who was never online.
	LastActivity(ctx context.Context, user string) (LastActivity, error)
	SetLastActivity(ctx context.Context, user string, a LastActivity) error
}
