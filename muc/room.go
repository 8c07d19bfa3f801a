package muc

import (
	"context"
	"errors"
	"sync"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// phase is where a room is in its life.
type phase uint8

const (
	loading phase = iota // somebody looks whether the store has it
	locked               // waits for its first configuration (XEP-0045 §10.1.1)
	open
	gone // not in the service's map any more
)

// A room is one room.
type room struct {
	at stanza.JID // address

	admin sync.Mutex // held while a change is stored, and while the room is loaded; taken before mu

	mu       sync.Mutex
	phase    phase
	writing  bool      // a goroutine writes history
	unkept   bool      // what is kept of it has been merged and is yet to be written
	unread   bool      // the store could not be asked for it (unread.go)
	rests    bool      // neither now: the store has just failed
	expected bool      // made by a service, and nobody has been in it yet
	awaited  time.Time // until then it is there for those who are only out of reach, and think that they are in it
	secret   secret
	cfg      *Settings // immutable; replaced as a whole
	crowd
	affiliates affiliates
	subject    []byte // the message that set it as it is sent to who enters, without 'to'; nil: never set
	created    int64  // seconds since 1970
	past       past
	unwritten  []archived
	voices     map[string]Role // of users who have left, if it is not what they would enter with
	rate       bucket
	entering   bucket
	lost       []loss    // sessions that took nothing and are nowhere; empty while mu is not held
	gathering  gathering // nil while nothing is gathered, and while mu is not held
}

// A loss is a session that took nothing.
type loss struct {
	full    stanza.JID
	session router.Session
}

func (r *room) lose(full stanza.JID, session router.Session) {
	r.lost = append(r.lost, loss{full, session})
}

// errNoRoom is for a room that is not there.
var errNoRoom = stanza.ErrItemNotFound

// find is a room that is in memory, nil if it is not.
func (s *Service) find(name string) *room {
	sh := s.shard(name)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.rooms[name]
}

// lock locks a room that is in memory and returns it; nil if there is none. It waits for one that is just being loaded.
func (s *Service) lock(b *router.Batch, name string) *room {
	for {
		r := s.find(name)
		if r == nil {
			return nil
		}
		r.mu.Lock()
		switch r.phase {
		case open, locked:
			return r
		}
		loads := r.phase == loading
		r.mu.Unlock()
		if loads {
			b.Flush()
			r.admin.Lock()
			//lint:ignore SA2001 it is held until the room is loaded
			r.admin.Unlock()
		}
	}
}

// unlock ends what lock began: sessions that were found to be nowhere leave.
func (s *Service) unlock(b *router.Batch, r *room) {
	for len(r.lost) > 0 {
		lost := r.lost
		r.lost = nil
		for _, l := range lost {
			o := r.of(l.full)
			if o == nil || o.seat(l.full).session != l.session { // another has come with its address
				continue
			}
			if n, ok := l.session.(*node); ok && s.beyond(r, n) {
				r.rep.strays = true
				continue
			}
			s.Metrics.bounced.Inc()
			s.depart(b, r, o, l.full, &notice{codes: []int{333}}) // XEP-0045 §11.1
		}
	}
	s.replicate(r)
	r.mu.Unlock()
}

// load locks a room that is in memory or in the store. If it is in neither, make is called to make a new one of the room that it is
// given, unless make is nil; an error of make's comes back. ErrItemNotFound: there is none; ErrUnavailable: the store could not be asked for it, and others are in it.
func (s *Service) load(ctx context.Context, b *router.Batch, name string, make func(*room) error) (*room, error) {
	for {
		if r := s.lock(b, name); r != nil && r.unread {
			r.mu.Unlock()
			return nil, store.ErrUnavailable
		} else if r != nil {
			return r, nil
		}
		r := &room{at: s.address(name)}
		r.admin.Lock()
		if !s.insert(name, r) {
			r.admin.Unlock()
			continue
		}
		b.Flush()
		err := s.fill(ctx, name, r)
		r.mu.Lock()
		if err == store.ErrNotFound {
			err = errNoRoom
			if make != nil {
				err = make(r)
			}
		}
		if err != nil {
			s.vanish(r)
			r.mu.Unlock()
			r.admin.Unlock()
			return nil, err
		}
		r.admin.Unlock()
		return r, nil
	}
}

func (s *Service) insert(name string, r *room) bool {
	sh := s.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.rooms[name] != nil {
		return false
	}
	sh.rooms[name] = r
	if s.Place != nil {
		r.rep = newReplication(s.Place.Node())
	}
	s.count.Add(1)
	s.Metrics.rooms.Inc()
	return true
}

// vanish takes a room out of memory. The caller holds r.mu, and nobody is in the room.
func (s *Service) vanish(r *room) {
	r.phase = gone
	s.discard(r)
	name := r.at.Local()
	sh := s.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.rooms[name] == r {
		delete(sh.rooms, name)
		s.count.Add(-1)
		s.Metrics.rooms.Dec()
	}
}

// fill reads a room from the store; store.ErrNotFound if it is not there. The caller holds r.admin.
func (s *Service) fill(ctx context.Context, name string, r *room) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	rec, err := s.store.Room(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return store.ErrNotFound
	}
	if err != nil {
		return err
	}
	all, err := s.store.Affiliations(ctx, name)
	if err != nil {
		return err
	}
	cfg, key, err := decodeSettings(rec.Config)
	if err != nil {
		return err
	}
	limits := s.cfg.Load()
	messages, err := s.store.HistoryPage(ctx, name, 0, min(cfg.History, limits.HistoryMessages))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cfg, r.secret, r.subject, r.created, r.affiliates = cfg, key, rec.Subject, rec.Created.Unix(), readAffiliates(all)
	for _, m := range messages {
		r.past.add(remembered(m), limits)
	}
	r.rep.asStored(r)
	r.phase = open
	return nil
}

// address is a room's.
func (s *Service) address(name string) stanza.JID {
	j, err := stanza.ParseJID(name + "@" + s.host.Domain())
	if err != nil {
		panic("muc: the name of a room is not normalized: " + name)
	}
	return j
}

// settle sees to a room that may be empty now: a temporary one ends, a persistent one leaves memory when all of it is stored. The caller holds no lock.
func (s *Service) settle(r *room) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != open && r.phase != locked || len(r.all) > 0 || r.unread {
		return
	}
	if !r.cfg.Persistent { // XEP-0045 §7.14
		if !r.expected && !time.Now().Before(r.awaited) {
			s.vanish(r)
			s.tellDestroyed(r, LeftEmpty, "")
		}
		return
	}
	if r.writing || r.unkept || !r.admin.TryLock() {
		return // who does either calls settle when it is done
	}
	s.vanish(r)
	r.admin.Unlock()
}

// await has a room be there until a time, also if nobody is in it. The caller holds r.mu.
func (s *Service) await(r *room, until time.Time) {
	if wait := time.Until(until); wait > 0 && until.After(r.awaited) {
		r.awaited = until
		time.AfterFunc(wait, func() { s.settle(r) })
	}
}

// begin makes a new room of r for a user, or a service if by is zero. The caller holds r.mu.
func (s *Service) begin(r *room, by stanza.JID) error {
	limits := s.cfg.Load()
	if limits.Rooms > 0 && s.count.Load() > int64(limits.Rooms) {
		s.Metrics.refuse(refusedRooms)
		return stanza.ErrResourceConstraint
	}
	r.cfg, r.secret, r.created, r.phase = s.defaults.Load(), newSecret(), time.Now().Unix(), locked
	s.Metrics.created.Inc()
	if s.Watcher != nil {
		s.Watcher.RoomCreated(r.at, by.Bare())
	}
	return nil
}

// affiliation is what a user is to the room.
func (r *room) affiliation(user stanza.JID) Affiliation { return r.affiliates.of(user).as }

// isModerator reports whether any session of a user's is a moderator (XEP-0045 §8).
func (r *room) role(user stanza.JID) (role Role) {
	for _, o := range r.ofUser(user.Bare()) {
		role = max(role, o.role)
	}
	return role
}

// record is what the store keeps of the room.
func (r *room) record(cfg *Settings) (store.Room, error) {
	raw, err := cfg.encode(r.secret)
	return store.Room{Name: r.at.Local(), Config: raw, Subject: r.subject, Created: time.Unix(r.created, 0).UTC()}, err
}

// visit looks at a room that is in memory or in the store, under its lock.
func (s *Service) visit(ctx context.Context, b *router.Batch, name string, look func(*room) error) error {
	r, err := s.load(ctx, b, name, nil)
	if err != nil {
		return err
	}
	err = look(r)
	empty := len(r.all) == 0
	s.unlock(b, r)
	if empty {
		s.settle(r)
	}
	return err
}
