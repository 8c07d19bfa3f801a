package router

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"chatd/stanza"
)

// A Session is one connected resource, as the rest of the server sees it.
// c2s provides those of this node, cluster those of others. Any
// goroutine may call its methods; only SendNow blocks.
type Session interface {
	// JID is the full JID, fixed once bound.
	JID() stanza.JID
	// Send queues st for the client. It encodes st before it returns, so st
	// may be a view. false means that the session is ending (or that
	// its queue just overflowed, which ends it) and that st was not taken: the
	// caller finds st another way. The client is written to when b is flushed;
	// with a nil b at once.
	Send(b *Batch, st *stanza.Stanza) bool
	// SendNow writes messages to the client that the spool has under these numbers, behind
	// all that is queued, and returns when the operating system has taken them. It
	// blocks for as long as the client does not read, within the context
	// and the session's own bound. Only the session's reading goroutine may call it. With kept the
	// session calls Spool.Forget once the client has acknowledged them, also
	// after an error; else the caller does, unless there is one.
	SendNow(ctx context.Context, sts []*stanza.Stanza, seqs []int64) (kept bool, err error)
	// Close ends the session with a stream error. Ending goes on in the
	// background; Done tells when it is over.
	Close(reason *stanza.StreamError)
	// Done is closed when the session has left the table, its contacts have
	// been told, and what it was not sent has been routed anew.
	Done() <-chan struct{}
	// State is what other packages keep with the session.
	State() *State
}

// A State is what the packages above the router keep with a session, so that
// it lives exactly as long.
type State struct {
	// Begun is when the session was bound to its resource; fixed before it enters the table.
	Begun time.Time
	// Presence is the last available presence that the resource broadcast,
	// immutable, with its From; nil while the resource is not available.
	// Written by whoever keeps presence, under its lock; read by anyone.
	Presence atomic.Pointer[stanza.Stanza]
	// Blocked is the user's block list, nil when empty. Replaced as a whole.
	Blocked atomic.Pointer[Blocklist]
	// Audience is who may send the user messages, as Rules has it; 0: everyone. Written by whoever keeps the
	// settings; read by anyone.
	Audience atomic.Uint32
	// HandedOver is the number of the newest of the messages that waited which the session was handed. Written by whoever hands
	// over; read by anyone.
	HandedOver atomic.Int64
	// Handed is which messages it was given that may be in the store once more. Any goroutine may call its methods.
	Handed Handed
	// Strayed says that the session and its contacts may not know of each other what is so: it came from a node that may have reached others than this
	// one, or the store did not answer when they were to be told. Written by whoever moves sessions and whoever tells presence; read by anyone.
	Strayed atomic.Bool
	// Directed is the set of addresses that were sent directed presence and are
	// to be told of the end (RFC 6121 §4.6). Owned by the session's reading goroutine.
	Directed map[stanza.JID]struct{}
	// Temporary says that the user came with a token, with which the session ends. Owned by the
	// session's reading goroutine.
	Temporary bool
}

// A Blocklist is an immutable set of blocked addresses (XEP-0191). The nil
// list blocks nobody.
type Blocklist struct{ set map[string]struct{} }

// NewBlocklist makes a list of normalized addresses; it is nil if there are none.
func NewBlocklist(jids []string) *Blocklist {
	if len(jids) == 0 {
		return nil
	}
	l := &Blocklist{set: make(map[string]struct{}, len(jids))}
	for _, j := range jids {
		l.set[j] = struct{}{}
	}
	return l
}

// Matches reports whether j is blocked: as the address that it is, as any
// resource of a blocked user, or as anything at a blocked domain (XEP-0191 §6).
func (l *Blocklist) Matches(j stanza.JID) bool {
	if l == nil || j.IsZero() {
		return false
	}
	for _, form := range [...]string{j.String(), j.Bare().String(), j.Domain()} {
		if _, ok := l.set[form]; ok {
			return true
		}
	}
	return false
}

// A Flusher has queued bytes that somebody must write out.
type Flusher interface {
	// Flush writes them and does not block. It reports whether all have left the process.
	Flush() bool
}

// A Settler has queued bytes that somebody else may be writing.
type Settler interface {
	// Settle returns when they have left the process, or wait for a client that does not take them: then it is false.
	Settle() bool
	Confirmer
}

// A Confirmer has been sent stanzas that a client has yet to take, or for sessions on another node.
type Confirmer interface {
	// Confirm waits, within ctx, until none of what it was sent so far can be lost with this process or with that node alone, and
	// reports whether that is so.
	Confirm(ctx context.Context) bool
}

// maxBehind bounds the sessions that a batch waits for when it is flushed.
const maxBehind = 64

// A Batch collects the sessions that one goroutine has queued stanzas for, so
// that each of them is written to once. It belongs to one goroutine. The nil
// Batch writes at once. It also remembers whom its stanzas were last from and to: what is
// read at once is mostly of one conversation.
type Batch struct {
	dirty    []Flusher
	behind   []Settler // at most maxBehind
	owed     *Owed     // nil: the batch is not certain
	from, to view
}

// Owed is the other nodes that have yet to confirm what one client has sent, and those to whom it has sent more than they have taken. It belongs to the goroutine of its batch, and
// outlives that: a client may ask long after it has sent.
type Owed struct {
	// Here leaves out other nodes: a node that confirms to another one does not wait for that, or for a third.
	Here bool
	to   []Confirmer
}

// manyOwed is how many may be noted before those that have confirmed are looked for.
const manyOwed = 16

func (o *Owed) add(c Confirmer) {
	if slices.Contains(o.to, c) {
		return
	}
	if len(o.to) >= manyOwed {
		o.to = slices.DeleteFunc(o.to, func(c Confirmer) bool { return c.Confirm(ended) })
	}
	o.to = append(o.to, c)
}

// Confirmed waits, within ctx, for all of them, and reports whether nothing of what was sent can be lost. The batch has been flushed.
func (o *Owed) Confirmed(ctx context.Context) bool {
	for len(o.to) > 0 {
		if !o.to[0].Confirm(ctx) {
			return false
		}
		o.to = slices.Delete(o.to, 0, 1)
	}
	o.to = nil
	return true
}

// Empty reports whether nobody has anything to confirm.
func (o *Owed) Empty() bool { return len(o.to) == 0 }

// ended is a context for who does not wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// senders is the rows of the user whom st is from, recipients of the one whom it is to.
func (b *Batch) senders(t *Table, st *stanza.Stanza) []Row {
	if b == nil {
		return t.Rows(st.From)
	}
	return b.from.look(t, st.From)
}

func (b *Batch) recipients(t *Table, st *stanza.Stanza) []Row {
	if b == nil {
		return t.Rows(st.To)
	}
	return b.to.look(t, st.To)
}

// Certain makes Flush wait also for what others are about to write on the batch's behalf, and has it note in owed who has
// yet to confirm, so that what was sent can be acknowledged afterwards. With nil it does neither.
func (b *Batch) Certain(owed *Owed) { b.owed = owed }

// Behind notes that others are about to flush what the batch's owner has queued with f.
func (b *Batch) Behind(f Settler) {
	if b == nil || b.owed == nil || slices.Contains(b.behind, f) {
		return
	}
	if len(b.behind) == maxBehind {
		b.settle()
	}
	b.behind = append(b.behind, f)
}

// Owe notes that a stanza of the batch went to another node.
func (b *Batch) Owe(c Confirmer) {
	if b != nil && b.owed != nil && !b.owed.Here {
		b.owed.add(c)
	}
}

func (b *Batch) settle() {
	for i, f := range b.behind {
		if !f.Settle() {
			b.owed.add(f)
		}
		b.behind[i] = nil
	}
	b.behind = b.behind[:0]
}

// Add marks f to be flushed with the batch. A session adds itself only when
// nobody else is about to flush it.
func (b *Batch) Add(f Flusher) {
	if b == nil {
		f.Flush()
		return
	}
	b.dirty = append(b.dirty, f)
}

// Several reports whether Flush is to write to more than one session.
func (b *Batch) Several() bool { return len(b.dirty) > 1 }

// Flush writes out all that was queued. Call it before anything that may
// block and when the input at hand is used up.
func (b *Batch) Flush() {
	if b == nil {
		return
	}
	for i, f := range b.dirty {
		if !f.Flush() {
			if s, ok := f.(Settler); ok {
				b.Behind(s)
			}
		}
		b.dirty[i] = nil
	}
	b.dirty = b.dirty[:0]
	b.settle()
	b.from, b.to = view{}, view{}
}
