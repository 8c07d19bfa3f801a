package muc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
	"unique"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// adopt makes a room of another node's part of what is here: the room as it comes, if there is none here, or else what
// both are together. lost: its home was, and it may be behind; merged: it is that of two already. It returns the nodes that have been asked who of theirs is in it.
func (s *Service) adopt(ctx context.Context, b *router.Batch, x *State, lost, merged bool) (asked []string) {
	was := s.find(x.Name) != nil
	r, err := s.guestOf(ctx, b, x)
	if err != nil {
		s.log.Error("room of another node not taken", "room", x.Name, "err", err)
		return nil
	}
	if lost || x.Config == nil && !was {
		r.rep.lost = time.Now()
	}
	mine := r.sessionsOn(r.rep.self)
	if x.Whole != r.rep.self { // what this node knows of its own sessions it knows best now
		s.join(b, r, x)
	}
	s.joinOwn(b, r, mine)
	switch {
	case lost || merged || was && x.Config != nil:
		asked = s.who(r)
	case x.Config != nil: // all that were in it have been told the same; but not everybody may be reached from here
		told := r.told(x)
		for _, n := range r.nodes() {
			s.correct(b, r, n, told)
		}
	}
	s.unlock(b, r)
	s.settle(r)
	return asked
}

// joinOwn has the sessions of this node in a room of which more has come here: those that were in what was here, and as they know it. Others have left.
func (s *Service) joinOwn(b *router.Batch, r *room, were map[string]bool) {
	own, ok := s.takeAway(r.at.Local())
	in := own.sessions()
	s.departAll(b, r, func(who *seat) bool {
		full := who.jid.String()
		return r.rep.nodeOf(who.session) == own.Whole && !in[full] && !were[full]
	})
	if ok {
		s.join(b, r, own)
	}
}

// told is whom those have been shown who were in a room as it comes: ids by nick.
func (r *room) told(x *State) map[string]string {
	all := make(map[string]string, len(x.Occupants))
	for i := range x.Occupants {
		o := &x.Occupants[i]
		if role, ok := ParseRole(o.Role); ok && r.shown(role) && len(o.Sessions) > 0 {
			id := r.secret.identify(stanza.Restore(o.Sessions[0].JID))
			all[o.Nick] = string(id[:])
		}
	}
	return all
}

// join makes x a part of the room.
func (s *Service) join(b *router.Batch, r *room, x *State) {
	before, nodes, heard := r.sees(), r.nodes(), slices.Clone(r.past.messages)
	seen := x.Sees
	if x.Whole != "" {
		s.prune(b, r, x)
		if x.Asked != 0 && x.Asked == r.rep.asked {
			delete(r.rep.awaits, x.Whole)
			r.rep.known[x.Whole] = true
		} else if r.rep.known[x.Whole] && slices.Contains(nodes, x.Whole) { // what it has been shown since may be behind its word on the way
			seen = before
		}
	}
	mine, err := r.state()
	if err == nil {
		err = s.become(b, r, merge(mine, x.filled(mine)))
	}
	if err != nil {
		s.log.Error("room of another node not taken", "room", x.Name, "err", err)
		return
	}
	for _, n := range nodes {
		if n != x.Whole && !r.rep.awaits[n] {
			s.correct(b, r, n, before)
		}
	}
	if x.Whole != "" && time.Since(r.rep.lost) < recently {
		s.catchUp(b, r, heard, x)
	}
	if x.Whole != "" && !r.rep.awaits[x.Whole] {
		s.correct(b, r, x.Whole, seen)
	}
}

// sessionsOn are those of one node that are in the room.
func (r *room) sessionsOn(node string) map[string]bool {
	on := make(map[string]bool)
	for _, o := range r.all {
		for i := range o.seats {
			if r.rep.nodeOf(o.seats[i].session) == node {
				on[o.seats[i].jid.String()] = true
			}
		}
	}
	return on
}

// nodes are those with sessions in the room.
func (r *room) nodes() (all []string) {
	for _, o := range r.all {
		for i := range o.seats {
			if n := r.rep.nodeOf(o.seats[i].session); !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all
}

// sees is whom all have been shown whose home the room has been: ids by nick.
func (r *room) sees() map[string]string {
	all := make(map[string]string, len(r.all))
	for _, o := range r.all {
		if r.shown(o.role) {
			all[o.nick()] = string(o.id[:])
		}
	}
	return all
}

// correct shows the sessions of a node who is there and who is not, as far as they think otherwise.
func (s *Service) correct(b *router.Batch, r *room, node string, seen map[string]string) {
	there := make(map[string]bool)      // ids: a user has one under all nicks
	fresh := make(map[string]*occupant) // by id: one under a nick that has not been shown
	for _, o := range r.all {
		id := string(o.id[:])
		there[id] = true
		if seen[o.nick()] != id {
			fresh[id] = o
		}
	}
	knows := func(nick string) bool {
		id, ok := seen[nick]
		o := r.named(nick)
		return ok && o != nil && (string(o.id[:]) == id || !there[id]) // ids of a room that was made anew are others
	}
	for _, nick := range slices.Sorted(maps.Keys(seen)) {
		at, err := r.at.WithResource(nick)
		if err != nil || knows(nick) {
			continue
		}
		if o := fresh[seen[nick]]; o != nil { // XEP-0045 §7.6
			delete(fresh, seen[nick])
			old := *o
			old.at = at
			s.showNode(b, r, node, &old, &notice{gone: true, nick: o.nick(), codes: []int{303}})
		} else if r.named(nick) == nil {
			gone := occupant{at: at, affiliation: None}
			copy(gone.id[:], seen[nick])
			s.showNode(b, r, node, &gone, &notice{gone: true, codes: []int{333}})
		}
	}
	for _, o := range r.all {
		if r.shown(o.role) && !knows(o.nick()) {
			s.showNode(b, r, node, o, &notice{})
		}
	}
}

// showNode shows the sessions of one node a presence of o's.
func (s *Service) showNode(b *router.Batch, r *room, node string, o *occupant, n *notice) {
	var wire [forms]*stanza.Stanza
	var own []*seat
	s.gather(r)
	for _, to := range r.all {
		for i := range to.seats {
			if r.rep.nodeOf(to.seats[i].session) != node {
				continue
			}
			if o.seat(to.seats[i].jid) != nil {
				own = append(own, &to.seats[i])
				continue
			}
			f := plain
			if r.reveals(to) && len(o.seats) > 0 {
				f = revealed
			}
			if wire[f] == nil {
				st := presenceOf(o, n, r.appendPresence(nil, o, f == revealed, false, n))
				st.Wire = st.Append(nil)
				wire[f] = &st
			}
			s.send(b, r, &to.seats[i], wire[f])
		}
	}
	s.scatter(r)
	renamed := *n
	renamed.own = []int{210}
	for _, to := range own {
		s.showSeat(b, r, o, to, &renamed)
	}
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

// sessions are those that are in it.
func (x *State) sessions() map[string]bool {
	in := make(map[string]bool)
	for _, session := range sittings(x) {
		in[session.JID] = true
	}
	return in
}

// prune takes those sessions of a node out of the room of which that node has been asked, and which are not in it as it sees it.
func (s *Service) prune(b *router.Batch, r *room, x *State) {
	in := x.sessions()
	s.departAll(b, r, func(who *seat) bool {
		full := who.jid.String()
		if r.rep.nodeOf(who.session) != x.Whole || x.Asked == 0 || x.Asked != r.rep.asked || !r.rep.doubted[full] {
			return false
		}
		delete(r.rep.doubted, full)
		return !in[full]
	})
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
	was := r.cfg
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
	s.await(r, time.Unix(0, m.Awaited))
	if p := r.rep; p != nil {
		p.cfg, p.phase, p.configured, p.subject, p.subjectSet, p.stamps, p.dealt = cfg, r.phase, m.Configured, m.Subject, m.SubjectSet, m.Stamps, m.Dealt
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
	if cfg != was && len(r.all) > 0 {
		s.announce(b, r, was)
	}
	return s.reseat(r, m)
}

// reseat makes the occupants those of m.
func (s *Service) reseat(r *room, m *State) error {
	before := r.seats
	var all []*occupant
	for i := range m.Occupants {
		x := &m.Occupants[i]
		o, err := s.seatAll(r, x)
		if err != nil {
			return fmt.Errorf("%w: %w", errState, err)
		}
		if o != nil {
			all = append(all, o)
		} else if s.Watcher != nil { // its session is gone with its node
			s.Watcher.RoomLeft(r.at, stanza.Restore(x.user()), x.Nick, Unreachable)
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
	return nil
}

// seatAll is an occupant of m: one that is in the room, with sessions that it did not have, or a new one. It is nil if no session of it is
// anywhere.
func (s *Service) seatAll(r *room, x *OccupantState) (o *occupant, err error) {
	at, err := r.at.WithResource(x.Nick)
	role, ok := ParseRole(x.Role)
	if err != nil || !ok || at.IsBare() || len(x.Sessions) == 0 {
		return nil, errState
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
			seats = append(seats, seat{full, sess, unique.Make(session.Presence), session.Since})
		}
	}
	if len(seats) == 0 {
		return nil, nil
	}
	user := seats[0].jid
	if o == nil {
		o = &occupant{since: x.Since}
	}
	o.at, o.seats, o.role, o.affiliation, o.id = at, seats, role, r.affiliation(user), r.secret.identify(user)
	return o, nil
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
