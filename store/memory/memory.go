// Package memory is the store that forgets: everything lives in this process
// and is gone with it. It is the first citizen of storetest, and serves the
// tests of every package that needs a store.
package memory

import (
	"context"
	"sync"
	"time"

	"chatd/store"
)

var _ store.Store = (*Store)(nil)

// Store keeps everything under one mutex. It has no bounds but those that
// the verbs ask for.
type Store struct {
	mu     sync.Mutex
	closed bool
	users  map[string]*user

	rooms map[string]*room

	queues    map[string]*queue
	announcer store.Announcer // nil: nobody
}

// A user is all that is kept under one name. It outlives its account, so
// that versions and sequence numbers never repeat.
type user struct {
	account *store.Account // nil: none

	rosterVersion int64
	roster        map[string]store.RosterItem // by JID

	blocked map[string]struct{}

	lastSeq int64
	offline []store.OfflineMessage // by Seq

	notes   []store.Note // by JID; never changed in place
	privacy store.Privacy

	private map[privateName][]byte
	vcard   []byte
	last    *store.LastActivity // nil: never online
}

// New returns an empty store.
func New() *Store {
	return &Store{users: make(map[string]*user), rooms: make(map[string]*room), queues: make(map[string]*queue)}
}

// Close makes every later verb return store.ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.users, s.rooms, s.queues = nil, nil, nil
	return nil
}

// lock begins every verb; when it returns nil the caller holds s.mu.
func (s *Store) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrClosed
	}
	return nil
}

// userLocked is for reading: an unknown user is an empty one.
func (s *Store) userLocked(name string) *user {
	if u := s.users[name]; u != nil {
		return u
	}
	return new(user)
}

// makeUserLocked is for writing.
func (s *Store) makeUserLocked(name string) *user {
	u := s.users[name]
	if u == nil {
		u = &user{
			roster:  make(map[string]store.RosterItem),
			blocked: make(map[string]struct{}),
			private: make(map[privateName][]byte),
		}
		s.users[name] = u
	}
	return u
}

// purgeLocked forgets all but what keeps numbers from repeating. The
// version grows if a client may have seen the roster that goes.
func (s *Store) purgeLocked(name string) {
	old := s.users[name]
	if old == nil {
		return
	}
	delete(s.users, name)
	u := s.makeUserLocked(name)
	u.lastSeq = old.lastSeq
	if old.rosterVersion > 0 {
		u.rosterVersion = nextVersion(old.rosterVersion)
	}
}

// nextVersion follows prev, and in all likelihood also what a lost store had given.
func nextVersion(prev int64) int64 { return max(prev+1, time.Now().UnixMicro()) }
