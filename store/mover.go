package store

import "context"

// A Record is everything that a store keeps under one user's name, but for the messages that wait.
type Record struct {
	User         string
	Account      *Account // nil: none, only what outlives an account or was written without one
	Roster       Roster   // with its Version
	Blocked      []string
	Notes        []Note
	Privacy      Privacy
	Private      []PrivateElement
	VCard        []byte
	LastActivity *LastActivity
	LastSeq      int64 // the highest Seq that a message of the user was given so far
}

// Empty reports whether the record says nothing that an unknown name's would not.
func (r *Record) Empty() bool {
	return r.Account == nil && r.Roster.Version == 0 && len(r.Roster.Items) == 0 && len(r.Blocked) == 0 && len(r.Notes) == 0 &&
		r.Privacy == (Privacy{}) && len(r.Private) == 0 && len(r.VCard) == 0 && r.LastActivity == nil && r.LastSeq == 0
}

// A Queue is the state of one queue of the outbox but for its events; who holds its lease is not moved.
type Queue struct {
	Name    string
	LastSeq int64 // the highest Seq that an event was given so far
}

// A Mover reads and writes a store as a whole, for moving it elsewhere. Nobody else should write meanwhile.
type Mover interface {
	// Names returns up to limit names after the given one, in byte order, under which anything is kept, with an account
	// or without; perhaps also some whose records are empty.
	Names(ctx context.Context, after string, limit int) ([]string, error)
	// Record is what is kept under a name; an unknown one has an empty record.
	Record(ctx context.Context, user string) (Record, error)
	// PutRecord replaces what is kept under the record's name, and removes the messages that wait there: an empty record leaves
	// nothing. It announces nothing.
	PutRecord(ctx context.Context, r Record) error
	// PutOffline adds messages with the numbers that they have; one whose number is there already is replaced. The user's record
	// was put before, with a LastSeq that none of the numbers exceeds.
	PutOffline(ctx context.Context, user string, messages []OfflineMessage) error
	// Queues is all queues of the outbox, in byte order of their names.
	Queues(ctx context.Context) ([]Queue, error)
	// PutEvents adds events with the numbers that they have to a queue, which is made if it is not there and has this LastSeq
	// afterwards; an event whose number is there already is replaced.
	PutEvents(ctx context.Context, q Queue, events []Event) error
}
