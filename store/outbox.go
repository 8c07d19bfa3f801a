package store

import (
	"context"
	"time"
)

// An Event waits in a queue of the outbox until somebody outside has been told of it.
type Event struct {
	// Seq orders the events of one queue and names one for removal. It is given by
	// the store, grows, and is never reused.
	Seq    int64
	ID     string    // the same in every queue and for every attempt
	Type   string    // what has happened, such as "account.made"
	Key    string    // what it happened to: events of one key are told in their order
	Queued time.Time // UTC, milliseconds: when it was put into this queue
	Fault  string    // why it could not be delivered; "" while that is not known
	Body   []byte    // what is sent, as it is
}

// A Posting is an event on its way into a queue.
type Posting struct {
	Queue string
	Max   int // the event is dropped when so many wait in the queue (0 = unlimited)
	Event Event
}

// An Announcer says which events a change in the store is. The store calls it while it writes, perhaps several times
// for one write, from any goroutine; it must not block nor use the store.
type Announcer interface {
	// AccountMade is called for a new account.
	AccountMade(a *Account) []Posting
	// ItemChanged is called for a roster item that is written or removed. before and after are not to be
	// changed; an item that is not there is a zero one with its JID.
	ItemChanged(user string, before, after *RosterItem) []Posting
	// Dropped is told of each of the postings that found its queue full.
	Dropped(queue string)
}

// Outbox keeps events until they have been delivered. A queue is as one user's offline messages: a backend without
// transactions keeps the numbers of what waits in one value and each event in another.
type Outbox interface {
	// Announce sets who is asked for the events of the changes that follow. They are put into their queues in the
	// transaction of the change; a backend without transactions does it right after the change, before its verb
	// returns. nil, as at the start: nobody. It is not a verb: it may be called after Close, does not block, and another
	// process's changes are not asked about.
	Announce(a Announcer)
	// Post puts events into their queues, each behind all that wait in it already, and returns the queues
	// that were full, one for each event that was dropped for that. An event is never seen before one of the same queue with a smaller Seq.
	Post(ctx context.Context, postings []Posting) (full []string, err error)
	// Events returns up to limit events of a queue with Seq greater than after, oldest first; none if limit
	// is not positive.
	Events(ctx context.Context, queue string, after int64, limit int) ([]Event, error)
	// RemoveEvents removes the events with these sequence numbers; unknown ones are no error.
	RemoveEvents(ctx context.Context, queue string, seqs []int64) error
	// CountEvents is how many wait.
	CountEvents(ctx context.Context, queue string) (int, error)
	// LeaseQueue gives the queue to holder until a time, unless another holder has it beyond now. It reports whether
	// holder has it. A holder extends its lease, and gives it up by one that is over.
	LeaseQueue(ctx context.Context, queue, holder string, now, until time.Time) (bool, error)
}
