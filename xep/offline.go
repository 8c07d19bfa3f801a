package xep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

const (
	// offlinePage is how many messages are in memory for one session that
	// gets what it missed.
	offlinePage = 50

	// handOverWait bounds how long a session waits for another one of the same user
	// that is being handed messages.
	handOverWait = 10 * time.Second
)

// Offline keeps messages for users whom nobody can reach and hands them over
// when they come (XEP-0160). It is the router's Spool.
//
// A message that arrives while its recipient comes online is neither lost nor
// delivered before older ones: Hold looks for a reachable resource and stores
// under the read lock of the user's gate; HandOver sees that nothing is left
// and makes the resource reachable under the write lock.
type Offline struct {
	r        *router.Router
	messages store.Offline
	max      int

	seed  maphash.Seed
	gates [256]sync.RWMutex // by user

	mu      sync.Mutex
	kept    map[string]map[int64]struct{} // copies of what sessions here have (Keep), by user
	busy    map[string]chan struct{}      // users being handed messages; closed at the end
	arrears map[router.Session]int64      // sessions that the store kept from what waits behind these numbers
	serving bool                          // somebody sees to them

	late late

	// Had reports whether a message that another node has stored was delivered here already, and Stored is told of what this node stores, or will. Both are set
	// before the first message; nil: this server is alone.
	Had    func(id stanza.ID) bool
	Stored func(id stanza.ID)
}

// NewOffline makes the spool. max bounds the messages that wait for one user;
// 0 = unlimited.
func NewOffline(r *router.Router, messages store.Offline, max int) *Offline {
	o := &Offline{r: r, messages: messages, max: max, seed: maphash.MakeSeed(), busy: make(map[string]chan struct{}),
		arrears: make(map[router.Session]int64)}
	o.kept = make(map[string]map[int64]struct{})
	o.late.waiting = make(map[string][]*lateMessage)
	o.late.ctx, o.late.end = context.WithCancel(context.Background())
	return o
}

// Features is XEP-0160 §4.
func (*Offline) Features() []string { return []string{"msgoffline"} }

func (o *Offline) gate(user string) *sync.RWMutex {
	return &o.gates[maphash.String(o.seed, user)%uint64(len(o.gates))]
}

// Hold stores a message to a user of this server durably. It returns
// router.ErrReachable when the user has become reachable, router.ErrTransient
// when the message is not worth storing, and a *stanza.Error when it may not be
// stored.
func (o *Offline) Hold(ctx context.Context, st *stanza.Stanza) (seq int64, err error) {
	user := st.To.Local()
	m, err := o.permitted(ctx, st)
	if err != nil {
		return 0, err
	}
	gate := o.gate(user)
	gate.RLock()
	defer gate.RUnlock()
	for _, row := range o.r.Table.Local(st.To) {
		if row.Reachable() {
			return 0, router.ErrReachable
		}
	}
	if o.late.behind(user) {
		return 0, errBehind
	}
	return o.append(ctx, st.To, m)
}

// permitted is what is stored of a message that may be.
func (o *Offline) permitted(ctx context.Context, st *stanza.Stanza) (store.OfflineMessage, error) {
	if err := o.permit(ctx, st.To.Local(), st); err != nil {
		return store.OfflineMessage{}, err
	}
	return o.message(st)
}

func (o *Offline) append(ctx context.Context, to stanza.JID, m store.OfflineMessage) (seq int64, err error) {
	o.stores(m.ID)
	seq, err = o.messages.AppendOffline(ctx, to.Local(), m, o.max)
	if errors.Is(err, store.ErrFull) {
		return 0, stanza.ErrServiceUnavailable // XEP-0160 §2
	}
	if err != nil && stanza.Passing(err) && !errors.Is(err, store.ErrNotTried) {
		err = fmt.Errorf("%w: %w", router.ErrDoubt, err)
	}
	return seq, err
}

// stores notes that this node stores a message, now or later, by the id that its recipient's account knows it by.
func (o *Offline) stores(known string) {
	if id := idOf(store.OfflineMessage{ID: known}); o.Stored != nil && id != (stanza.ID{}) {
		o.Stored(id)
	}
}

// Waits is router.Spool.
func (o *Offline) Waits(ctx context.Context, user string) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	page, err := o.messages.OfflinePage(ctx, user, 0, 1)
	return err == nil && len(page) > 0
}

// idOf is a stored message's stanza-id, the zero ID if it is none of this server's.
func idOf(m store.OfflineMessage) (id stanza.ID) {
	if len(m.ID) == len(id) {
		copy(id[:], m.ID)
	}
	return id
}

// Forget is router.Spool.
func (o *Offline) Forget(ctx context.Context, user string, seqs []int64) error {
	defer o.unkeep(user, seqs) // behind: until then nobody is handed them
	return o.messages.RemoveOffline(ctx, user, seqs)
}

// permit refuses what would not be delivered either: to nobody (RFC 6121
// §8.5.1), from an address that the user blocks (XEP-0191 §3.3), and against a rule.
func (o *Offline) permit(ctx context.Context, user string, st *stanza.Stanza) error {
	exists, err := o.r.Users.Exists(ctx, user)
	if err != nil {
		return err
	}
	if !exists {
		return stanza.ErrServiceUnavailable
	}
	refused, err := o.r.RefusedInStore(ctx, st)
	if err != nil {
		return err
	}
	if refused {
		return stanza.ErrServiceUnavailable
	}
	return nil
}

// unusual are the words without which a message is stored unseen.
var unusual = [...][]byte{[]byte(nsHints), []byte(nsChatStates), []byte(nsDelay)}

// message is what is stored of a stanza.
func (o *Offline) message(st *stanza.Stanza) (store.OfflineMessage, error) {
	if st.Type != stanza.None && st.Type != stanza.Chat { // XEP-0160 §3
		return store.OfflineMessage{}, stanza.ErrServiceUnavailable
	}
	kept := *st
	if containsAny(st.Inner, unusual[:]) {
		all, err := stanza.Elements(st)
		if err == nil {
			err = storable(all)
		}
		if err != nil {
			return store.OfflineMessage{}, err
		}
		kept.Inner = withoutForgedDelays(st.Inner, all, o.r.Domain.String())
	}
	return store.OfflineMessage{
		Stored: time.Now().UTC().Truncate(time.Millisecond),
		Stanza: kept.Append(make([]byte, 0, kept.Size())),
		ID:     knownAs(st),
	}, nil
}

// knownAs is the stanza-id by which the recipient's account knows a message (XEP-0359 §3.1), "" if it has none. What a
// session had not acknowledged has it among its children.
func knownAs(st *stanza.Stanza) string {
	if st.StanzaID != (stanza.ID{}) {
		return string(st.StanzaID[:])
	}
	if !bytes.Contains(st.Inner, []byte(stanza.NSStanzaID)) {
		return ""
	}
	all, err := stanza.Elements(st)
	if err != nil {
		return ""
	}
	for _, e := range all {
		if e.Is(stanza.NSStanzaID, "stanza-id") && e.Attribute("by") == st.To.Bare().String() {
			return e.Attribute("id")
		}
	}
	return ""
}

// storable is XEP-0160 §3 for messages of type chat and normal, with the hints
// of XEP-0334. <no-permanent-store/> does not forbid storage until delivery
// (XEP-0334 §3.3).
func storable(all []stanza.Element) error {
	var state, content, noStore bool
	for _, e := range all {
		switch {
		case e.Is(nsHints, "store"): // XEP-0334 §4.4
			return nil
		case e.Is(nsHints, "no-store"): // XEP-0334 §4.2
			noStore = true
		case e.Name.Space == nsHints, e.Is(stanza.NSStanzaID, "stanza-id"), e.Is(stanza.NSClient, "thread"): // XEP-0085 §5.6
		case e.Name.Space == nsChatStates:
			state = true
		default:
			content = true
		}
	}
	switch {
	case state && !content: // XEP-0085 §5.8
		return router.ErrTransient
	case noStore: // RFC 6121 §8.5.2.2.1: then the sender has to know
		return stanza.ErrServiceUnavailable
	}
	return nil
}

// withoutForgedDelays leaves out what claims that this server delayed the
// message (XEP-0203 §5).
func withoutForgedDelays(inner []byte, all []stanza.Element, domain string) []byte {
	var kept []byte
	from := 0
	for _, e := range all {
		if e.Is(nsDelay, "delay") && e.Attribute("from") == domain {
			kept = append(kept, inner[from:e.At]...)
			from = e.At + len(e.Raw)
		}
	}
	if from == 0 {
		return inner
	}
	return append(kept, inner[from:]...)
}
