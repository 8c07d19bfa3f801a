package muc

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

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
		s.log.Log(ctx, stanza.FaultLevel(err), "room of another node not taken", "room", x.Name, "err", err)
		return nil
	}
	if lost || x.Config == nil && !was {
		r.rep.lost = time.Now()
	}
	mine := r.sessionsOn(r.rep.self)
	own, inIt := s.takeAway(x.Name)
	r.rep.own = own.sessions()
	r.rep.asks = lost || merged || was && x.Config != nil
	if was {
		s.dropLeft(x, mine)
	}
	if x.Whole != r.rep.self { // what this node knows of its own sessions it knows best now
		s.join(b, r, x)
	}
	moved := s.keepMoved(r, x, mine)
	s.joinOwn(b, r, mine, own, inIt)
	r.rep.own = nil
	switch {
	case r.rep.asks:
		asked = s.who(r, moved)
	case x.Config != nil: // all that were in it have been told the same; but not everybody may be reached from here
		told := r.told(x)
		for _, n := range r.nodes() {
			s.correct(b, r, n, told)
		}
	}
	retold := r.rep.retold
	r.rep.retold = nil
	s.unlock(b, r)
	s.heardHere(x.Name, retold)
	s.settle(r)
	return asked
}

// dropLeft takes those sessions of this node out of another half of a room that are in neither this one nor elsewhere: they have left, and see nothing of it any more.
func (s *Service) dropLeft(x *State, mine map[string]bool) {
	self := s.Place.Node()
	for _, was := range sittings(x) {
		if was.Node != self || mine[was.JID] {
			continue
		}
		if row, ok := s.rowOf(stanza.Restore(was.JID), was.Bound); !ok || !row.Remote {
			x.unseat(was.JID)
		}
	}
}

// keepMoved notes which sessions have come to other nodes from where they are by x (XEP-0198 §5), of which those have not been told: they are in the
// room. Those that have come here are added to in; the others are returned.
func (s *Service) keepMoved(r *room, x *State, in map[string]bool) (moved map[string]bool) {
	moved = make(map[string]bool)
	for _, was := range sittings(x) {
		full := stanza.Restore(was.JID)
		o := r.of(full)
		if o == nil {
			continue
		}
		to := o.seat(full)
		switch r.rep.nodeOf(to.session) {
		case was.Node:
			continue
		case r.rep.self:
			in[was.JID] = true
		default:
			moved[was.JID] = true
		}
		r.rep.touch(full, to.session)
	}
	return moved
}

// joinOwn has the sessions of this node in a room of which more has come here: those that were in what was here, and own as they know it. Others have left. inIt: own is something.
func (s *Service) joinOwn(b *router.Batch, r *room, were map[string]bool, own *State, inIt bool) {
	if len(were) == 0 {
		r.rep.gone = own.Whole // what those see who are in is corrected below, by what they have been shown
	}
	s.departAll(b, r, func(who *seat) bool {
		full := who.jid.String()
		_, away := who.session.(*absent)
		return r.rep.nodeOf(who.session) == own.Whole && !away && !r.rep.own[full] && !were[full]
	})
	r.rep.gone = ""
	if inIt {
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
	seen, news := x.Sees, x
	if x.Whole != "" {
		r.rep.gone = x.Whole // what its sessions see is corrected below, by what it says of that
		s.prune(b, r, x)
		r.rep.gone = ""
		switch {
		case x.Asked != 0 && x.Asked == r.rep.asked:
			delete(r.rep.awaits, x.Whole)
		case x.Behind: // who is in the room it knows best
			y := *x
			y.Occupants = nil
			news = &y
		case r.rep.known[x.Whole] && slices.Contains(nodes, x.Whole): // what it has been shown since may be behind its word on the way, and what its sessions have done has been dealt with
			seen, news = before, r.news(x)
		}
		if !r.rep.awaits[x.Whole] {
			r.rep.knows(x.Whole)
		}
	}
	mine, err := r.state()
	if err == nil {
		err = s.become(b, r, mine.with(news))
	}
	if err != nil {
		s.log.Error("room of another node not taken", "room", x.Name, "err", err)
		return
	}
	for _, session := range sittings(x) { // those that are elsewhere, or nowhere, it is told as well
		if x.Whole != "" && x.Whole != r.rep.self {
			r.rep.touched = append(r.rep.touched, touch{stanza.Restore(session.JID), x.Whole})
		}
	}
	for _, n := range nodes {
		if n != x.Whole && !r.rep.tells(n) {
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

// news is x without those sessions of its node of which the room knows.
func (r *room) news(x *State) *State {
	y := *x
	y.Occupants = nil
	for _, o := range x.Occupants {
		o.Sessions = slices.DeleteFunc(slices.Clone(o.Sessions), func(was SessionState) bool {
			full := stanza.Restore(was.JID)
			has := r.of(full)
			return has != nil && has.seat(full).bound == was.Bound && r.rep.nodeOf(has.seat(full).session) == x.Whole
		})
		if len(o.Sessions) > 0 {
			y.Occupants = append(y.Occupants, o)
		}
	}
	return &y
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
func (s *Service) correct(b *router.Batch, r *room, node string, sees map[string]string) {
	seen := make(map[string]string, len(sees))
	for nick, id := range sees {
		seen[nick] = strings.TrimPrefix(id, unlike)
	}
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
		return ok && o != nil && id == sees[nick] && (string(o.id[:]) == id || !there[id]) // ids of a room that was made anew are others
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
	if x.Config != nil {
		return s.insertBlank(b, x.Name, x.Unread)
	}
	if r := s.lock(b, x.Name); r != nil {
		return r, nil
	}
	return s.revive(ctx, b, x.Name)
}

// filled is x with what it leaves out as the other has it.
func (x *State) filled(other *State) *State {
	if x.Config != nil {
		return x
	}
	y := *x
	y.Config, y.Configured, y.Locked, y.Created, y.Unread = other.Config, other.Configured, other.Locked, other.Created, other.Unread
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
		_, away := who.session.(*absent)
		return !away && !in[full]
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
