package muc

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unique"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// adopt makes a room of another node's part of what is here: the room as it comes, if there is none here, or else what
// both are together.
func (s *Service) adopt(ctx context.Context, b *router.Batch, x *State) {
	r, err := s.guestOf(ctx, b, x)
	if err != nil {
		s.log.Error("room of another node not taken", "room", x.Name, "err", err)
		return
	}
	if x.Whole != "" {
		s.prune(b, r, x)
	}
	mine, err := r.state()
	if err == nil {
		m := merge(mine, x.filled(mine))
		m.moved = x.moved
		err = s.become(b, r, m)
	}
	if err != nil {
		s.log.Error("room of another node not taken", "room", x.Name, "err", err)
	}
	s.expect(r, x.Shown)
	s.unlock(b, r)
	s.settle(r)
}

// guestOf locks the room that x is to become a part of.
func (s *Service) guestOf(ctx context.Context, b *router.Batch, x *State) (*room, error) {
	if r := s.lock(b, x.Name); r != nil {
		return r, nil
	}
	if x.Config == nil {
		return s.load(ctx, b, x.Name, s.blank)
	}
	for {
		r := &room{at: s.address(x.Name)}
		r.mu.Lock()
		if s.insert(x.Name, r) {
			return r, s.blank(r)
		}
		if r := s.lock(b, x.Name); r != nil {
			return r, nil
		}
	}
}

// blank makes a room of which nothing is known but that it has been there. Whatever becomes known of it counts more.
func (s *Service) blank(r *room) error {
	r.cfg, r.secret, r.created, r.phase = s.defaults.Load(), newSecret(), now().Unix(), open
	r.rep.asStored(r)
	r.rep.configured = 0
	return nil
}

// filled is x with what it leaves out as the other has it.
func (x *State) filled(other *State) *State {
	if x.Config != nil {
		return x
	}
	y := *x
	y.Config, y.Configured, y.Locked, y.Created = other.Config, other.Configured, other.Locked, other.Created
	for _, o := range x.Occupants {
		user := stanza.Restore(o.Sessions[0].JID).Bare().String()
		if _, known := other.standings()[user]; !known && o.Affiliation != "" && o.Affiliation != None.String() && other.Configured == 0 {
			y.Affiliations = append(y.Affiliations, store.Affiliation{JID: user, As: o.Affiliation})
		}
	}
	return &y
}

// prune takes those sessions of a node out of the room that are not in it as that node sees it.
func (s *Service) prune(b *router.Batch, r *room, x *State) {
	in := make(map[string]bool)
	for _, session := range sittings(x) {
		in[session.JID] = true
	}
	s.departAll(b, r, func(who *seat) bool { return r.rep.nodeOf(who.session) == x.Whole && !in[who.jid.String()] })
}

// departAll takes sessions out of the room whose node is gone, or which have left without the room's having heard of it.
func (s *Service) departAll(b *router.Batch, r *room, which func(*seat) bool) {
	var gone []stanza.JID
	for _, o := range r.all {
		for i := range o.seats {
			if which(&o.seats[i]) {
				gone = append(gone, o.seats[i].jid)
			}
		}
	}
	for _, full := range gone {
		if o := r.of(full); o != nil {
			s.reconciling(r)[o.nick()] = true
			s.depart(b, r, o, full, &notice{codes: []int{333}}) // XEP-0045 §11.1
		}
	}
}

// writtenBy is how old a message is that the store has, unless it fails.
const writtenBy = 30 * time.Second

// become makes the room what it is in m, which has all that it was. Those who are new to each other are shown to each other, and
// nobody else hears of anything but of what has changed. The caller holds the room's lock.
func (s *Service) become(b *router.Batch, r *room, m *State) error {
	cfg, key, err := decodeSettings(m.Config)
	if err != nil {
		return err
	}
	was, ours := r.cfg, slices.Clone(r.all)
	if *cfg == *was {
		cfg = was
	}
	r.cfg, r.secret, r.subject, r.created, r.affiliates, r.phase = cfg, key, m.Subject, m.Created.Unix(), readAffiliates(m.Affiliations), open
	if m.Locked {
		r.phase = locked
	}
	if m.Expected && !r.expected {
		r.expected = true
		time.AfterFunc(expectation, func() { s.giveUp(r) })
	}
	if p := r.rep; p != nil {
		p.cfg, p.phase, p.configured, p.subject, p.subjectSet, p.stamps = cfg, r.phase, m.Configured, m.Subject, m.SubjectSet, m.Stamps
		s.discard(r) // it is made anew
	}
	r.past = past{}
	for _, h := range m.History {
		kept := remembered(h)
		r.past.add(kept, s.cfg.Load())
		if now().Sub(h.Stored) < writtenBy { // the old home may not have come to write it; what is there is not written again
			s.archive(r, archived{utterance: kept})
		}
	}
	if cfg != was && len(ours) > 0 {
		s.announce(b, r, was)
	}
	return s.reseat(b, r, m, ours)
}

// reseat makes the occupants those of m; ours are those who are here.
func (s *Service) reseat(b *router.Batch, r *room, m *State, ours []*occupant) error {
	before := r.seats
	var all, theirs []*occupant
	for i := range m.Occupants {
		x := &m.Occupants[i]
		o, fresh, err := s.seatAll(b, r, x, m.moved)
		if err != nil {
			return fmt.Errorf("%w: %w", errState, err)
		}
		switch {
		case o == nil:
		case fresh:
			theirs = append(theirs, o)
			all = append(all, o)
		default:
			all = append(all, o)
		}
	}
	rep := r.rep
	r.crowd = crowd{rep: rep}
	for _, o := range all {
		if r.named(o.nick()) == nil {
			r.add(o)
		}
	}
	s.Metrics.occupants.Add(float64(r.seats - before))
	s.meet(b, r, m, ours, theirs)
	return nil
}

// seatAll is an occupant of m: one that is in the room, with sessions that it did not have, or a fresh one. It is nil if no session of it is
// anywhere: then the fresh ones are told that it has left. In a room that its home has given away such a one is awaited.
func (s *Service) seatAll(b *router.Batch, r *room, x *OccupantState, moved bool) (o *occupant, fresh bool, err error) {
	at, err := r.at.WithResource(x.Nick)
	role, ok := ParseRole(x.Role)
	if err != nil || !ok || at.IsBare() || len(x.Sessions) == 0 {
		return nil, false, errState
	}
	var seats []seat
	for _, session := range x.Sessions {
		full := stanza.Restore(session.JID)
		if has := r.of(full); has != nil {
			seats = append(seats, *has.seat(full))
			if o == nil {
				o = has
			}
		} else if sess := s.findSession(full, session.Node); sess != nil {
			seats = append(seats, seat{full, sess, unique.Make(session.Presence)})
		} else if moved && session.Node != "" && session.Node != s.Place.Node() {
			seats = append(seats, seat{full, s.node(session.Node), unique.Make(session.Presence)})
			s.await(r, full, session.Node).recalled = true
		}
	}
	if len(seats) == 0 {
		return nil, false, nil
	}
	user := seats[0].jid
	if o == nil {
		fresh = true
		o = &occupant{since: x.Since}
	}
	o.at, o.seats, o.role, o.affiliation, o.id = at, seats, role, r.affiliation(user), r.secret.identify(user)
	return o, fresh, nil
}

// findSession is a session that was on a node.
func (s *Service) findSession(full stanza.JID, on string) router.Session {
	if row, ok := s.r.Table.Row(full); ok {
		return s.sessionOf(row)
	}
	if s.Place != nil && slices.Contains(s.Place.Nodes(), on) { // whose rows are yet to come
		return s.node(on)
	}
	return nil
}

// meet shows those who were here and those who have come to each other. Who came with whom they know already.
func (s *Service) meet(b *router.Batch, r *room, m *State, ours, theirs []*occupant) {
	for i := range m.Occupants {
		x := &m.Occupants[i]
		o := r.named(x.Nick)
		switch {
		case o == nil || x.Former == "":
		case slices.Contains(theirs, o):
			s.showRenamed(b, r, theirs, o, x.Former)
		default:
			s.showRenamed(b, r, ours, o, x.Former)
		}
	}
	for _, o := range ours {
		if len(theirs) > 0 && r.of(o.seats[0].jid) == o && r.shown(o.role) {
			s.showTo(b, r, theirs, o, &notice{})
		}
	}
	for i := range m.Occupants {
		x := &m.Occupants[i]
		if o := r.named(x.Nick); o == nil { // its session is gone with its node
			s.showGone(b, r, r.all, x)
		} else if slices.Contains(theirs, o) && r.shown(o.role) {
			s.showTo(b, r, ours, o, &notice{})
		}
	}
}

// showRenamed tells those who knew an occupant by another nick of its new one (XEP-0045 §7.6).
func (s *Service) showRenamed(b *router.Batch, r *room, to []*occupant, o *occupant, former string) {
	at, err := r.at.WithResource(former)
	if err != nil {
		return
	}
	old := *o
	old.at = at
	n := notice{gone: true, nick: o.nick(), codes: []int{303}}
	s.showSelf(b, r, &old, &n)
	if r.shown(o.role) {
		s.showTo(b, r, without(to, o), &old, &n)
	}
	s.showSelf(b, r, o, &notice{own: []int{210}})
	if r.shown(o.role) {
		s.showTo(b, r, without(to, o), o, &notice{})
	}
}

// showGone tells occupants that one has left which never was in the room as it is here.
func (s *Service) showGone(b *router.Batch, r *room, to []*occupant, x *OccupantState) {
	nick := x.Nick
	if x.Former != "" {
		nick = x.Former
	}
	at, err := r.at.WithResource(nick)
	role, ok := ParseRole(x.Role)
	if err != nil || !ok || !r.shown(role) {
		return
	}
	s.reconciling(r)[nick] = true
	full := stanza.Restore(x.Sessions[0].JID)
	if s.Watcher != nil {
		s.Watcher.RoomLeft(r.at, full.Bare(), nick, Unreachable)
	}
	o := &occupant{at: at, seats: []seat{{jid: full}}, id: r.secret.identify(full), role: role, affiliation: r.affiliation(full)}
	s.showTo(b, r, to, o, &notice{gone: true, codes: []int{333}})
}

func without(all []*occupant, o *occupant) (rest []*occupant) {
	for _, other := range all {
		if other != o {
			rest = append(rest, other)
		}
	}
	return rest
}
