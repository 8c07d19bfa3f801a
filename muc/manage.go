package muc

import (
	"context"
	"slices"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// What services may do to rooms besides what users do: no rule about roles, affiliations or rates applies to them.
// All of it blocks on the store. An error that is a *stanza.Error says what was wrong: item-not-found, conflict, not-acceptable.

// Default is how a room is configured of which nothing is said.
func (s *Service) Default() Settings { return *s.defaults.Load() }

// Create makes a room, without occupants. One that is not persistent ends when its last occupant has left, or when nobody has
// entered it for ten minutes. ErrConflict if there is such a room.
func (s *Service) Create(ctx context.Context, name string, cfg Settings, affiliations []store.Affiliation) error {
	at, err := stanza.ParseJID(name + "@" + s.host.Domain())
	if err != nil || at.Local() != name {
		return stanza.ErrJIDMalformed
	}
	if err := cfg.acceptable(); err != nil {
		return err
	}
	giveBack, err := s.borrow(ctx, name)
	if err != nil {
		return err
	}
	defer giveBack()
	var b router.Batch
	defer b.Flush()
	made := false
	r, err := s.load(ctx, &b, name, func(r *room) error {
		made = true
		return s.begin(r, stanza.JID{})
	})
	if err != nil {
		return err
	}
	r.expected = r.expected || made
	s.unlock(&b, r)
	if !made {
		s.settle(r)
		return stanza.ErrConflict
	}
	var letters []*stanza.Stanza
	err = s.change(ctx, &b, name, func(r *room) (plan, error) {
		list := readAll(affiliations)
		if err := s.consistent(r, list); err != nil {
			return plan{}, err
		}
		letters = s.lettersTo(r, &cfg, r.at, list)
		return s.configuration(&b, r, &cfg, list, func() { r.phase = open })
	})
	if err != nil {
		s.giveUp(r)
		return err
	}
	s.post(ctx, &b, letters)
	time.AfterFunc(expectation, func() { s.giveUp(r) })
	return nil
}

// post sends what a change of affiliations gives those to read who are not in the room.
func (s *Service) post(ctx context.Context, b *router.Batch, letters []*stanza.Stanza) {
	for _, letter := range letters {
		s.r.Route(ctx, b, letter)
	}
}

// expectation is for how long a room that a service has made waits for its first occupant.
const expectation = 10 * time.Minute

// giveUp ends the wait.
func (s *Service) giveUp(r *room) {
	r.mu.Lock()
	r.expected = false
	r.mu.Unlock()
	s.settle(r)
}

// Configuration is a room's.
func (s *Service) Configuration(ctx context.Context, name string) (Settings, error) {
	d, err := s.Describe(ctx, name)
	return d.Settings, err
}

// A Description is what a room is, and what there is of it now.
type Description struct {
	Settings
	Subject   string
	Created   time.Time // UTC, whole seconds
	Occupants int
}

// Describe tells what a room is.
func (s *Service) Describe(ctx context.Context, name string) (d Description, err error) {
	giveBack, err := s.borrow(ctx, name)
	if err != nil {
		return d, err
	}
	defer giveBack()
	var b router.Batch
	defer b.Flush()
	err = s.visit(ctx, &b, name, func(r *room) error {
		d = Description{*r.cfg, subjectText(r.subject), time.Unix(r.created, 0).UTC(), len(r.all)}
		return nil
	})
	return d, err
}

// Configure changes a room's configuration. update has no side effects.
func (s *Service) Configure(ctx context.Context, name string, update func(*Settings)) error {
	giveBack, err := s.borrow(ctx, name)
	if err != nil {
		return err
	}
	defer giveBack()
	var b router.Batch
	defer b.Flush()
	return s.change(ctx, &b, name, func(r *room) (plan, error) {
		next := *r.cfg
		update(&next)
		if err := next.acceptable(); err != nil {
			return plan{}, err
		}
		return s.configuration(&b, r, &next, nil, func() { r.phase = open })
	})
}

// Destroy ends a room (XEP-0045 §10.9). venue, if not "", is where its occupants are sent.
func (s *Service) Destroy(ctx context.Context, name, venue, reason string) error {
	giveBack, err := s.borrow(ctx, name)
	if err != nil {
		return err
	}
	defer giveBack()
	var b router.Batch
	defer b.Flush()
	return s.change(ctx, &b, name, func(r *room) (plan, error) {
		return s.destruction(&b, r, destroyed{Venue: venue, Reason: reason}, nil), nil
	})
}

// An Occupant is somebody in a room.
type Occupant struct {
	Nick        string
	User        stanza.JID // bare
	Role        Role
	Affiliation Affiliation
	Sessions    int
}

// Members is a room's affiliations, in byte order of the addresses, and who is in it.
func (s *Service) Members(ctx context.Context, name string) (members []store.Affiliation, occupants []Occupant, err error) {
	giveBack, err := s.borrow(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	defer giveBack()
	var b router.Batch
	defer b.Flush()
	err = s.visit(ctx, &b, name, func(r *room) error {
		members = r.affiliates.stored()
		for _, o := range r.all {
			occupants = append(occupants, Occupant{o.nick(), o.user(), o.role, o.affiliation, len(o.seats)})
		}
		return nil
	})
	return members, occupants, err
}

// SetMembers changes the affiliations that are given; "none" removes one. Who has a nick reserved keeps it unless another is given.
func (s *Service) SetMembers(ctx context.Context, name string, affiliations []store.Affiliation) error {
	giveBack, err := s.borrow(ctx, name)
	if err != nil {
		return err
	}
	defer giveBack()
	var b router.Batch
	defer b.Flush()
	list := readAll(affiliations)
	var letters []*stanza.Stanza
	err = s.change(ctx, &b, name, func(r *room) (plan, error) {
		for i := range list {
			r.keepNick(&list[i])
		}
		if err := s.consistent(r, list); err != nil {
			return plan{}, err
		}
		letters = s.lettersTo(r, r.cfg, r.at, list)
		return s.affiliate(&b, r, list, notice{}, nil), nil
	})
	if err == nil {
		s.post(ctx, &b, letters)
	}
	return err
}

var errNobody = stanza.ErrItemNotFound.WithText("nobody in the room has that nick")

// Kick takes an occupant out of a room with all its sessions (XEP-0045 §8.2).
func (s *Service) Kick(ctx context.Context, name, nick, reason string) error {
	giveBack, err := s.borrow(ctx, name)
	if err != nil {
		return err
	}
	defer giveBack()
	var b router.Batch
	defer b.Flush()
	return s.visit(ctx, &b, name, func(r *room) error {
		o := r.named(nick)
		if o == nil {
			return errNobody
		}
		s.expel(&b, r, o, &notice{reason: reason, codes: []int{307}}, nil)
		return nil
	})
}

// keepNick leaves a change of affiliation the nick that is reserved if it names none. An outcast has none (XEP-0045 §9.1).
func (r *room) keepNick(a *affiliate) {
	switch i, ok := r.affiliates.find(a.jid); {
	case a.as <= None:
		a.nick = ""
	case ok && a.nick == "":
		a.nick = r.affiliates[i].nick
	}
}

// readAll is affiliations with those that remove one.
func readAll(all []store.Affiliation) (list []affiliate) {
	for _, a := range all {
		if as, ok := ParseAffiliation(a.As); ok {
			list = append(list, affiliate{jid: a.JID, nick: a.Nick, reason: a.Reason, as: as})
		}
	}
	return list
}

// Send gives all occupants a message of the room's own. It returns its stanza-id.
func (s *Service) Send(ctx context.Context, name, body string) (id string, err error) {
	giveBack, err := s.borrow(ctx, name)
	if err != nil {
		return "", err
	}
	defer giveBack()
	var b router.Batch
	defer b.Flush()
	err = s.visit(ctx, &b, name, func(r *room) error {
		if len(r.unwritten) >= maxUnwritten {
			return stanza.ErrResourceConstraint
		}
		m := utterance{id: stanza.NewID(), at: r.past.after(time.Now().UnixMilli())}
		id = string(m.id[:])
		inner := m.id.Append([]byte("<body>"+stanza.Escape(body)+"</body>"), r.at)
		st := stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: r.at, ID: m.id[:], Inner: inner}
		s.remember(r, m, s.cast(&b, r, &st))
		if s.Watcher != nil {
			s.Watcher.RoomMessage(r.at, stanza.JID{}, "", id, &st)
		}
		return nil
	})
	return id, err
}

// remember keeps a message that was sent, for those who enter later. The caller holds the room's lock.
func (s *Service) remember(r *room, m utterance, wire []byte) {
	m.wire = wire
	s.Metrics.messages.Inc()
	r.past.add(m, s.cfg.Load())
	r.rep.remember(m)
	s.archive(r, archived{utterance: m})
}

// History is the newest messages of a room before the one with the given number (0: of all), up to limit, the oldest first: of a persistent room those in
// the store, but for those of the last moment that are just being written; of another those in memory.
func (s *Service) History(ctx context.Context, name string, before int64, limit int) (page []store.HistoryMessage, err error) {
	giveBack, err := s.borrow(ctx, name)
	if err != nil {
		return nil, err
	}
	defer giveBack()
	var b router.Batch
	defer b.Flush()
	persistent := false
	err = s.visit(ctx, &b, name, func(r *room) error {
		persistent = r.cfg.Persistent
		for i, m := range r.past.messages {
			if seq := r.past.dropped + int64(i) + 1; !persistent && (before == 0 || seq < before) {
				page = append(page, store.HistoryMessage{Seq: seq, ID: string(m.id[:]), Stored: time.UnixMilli(m.at).UTC(), Stanza: slices.Clone(m.wire)})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if persistent {
		return s.store.HistoryPage(ctx, name, before, limit)
	}
	return page[max(0, len(page)-limit):], nil
}
