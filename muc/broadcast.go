package muc

import (
	"strconv"
	"sync"

	"chatd/router"
	"chatd/stanza"
)

// A notice is what a presence of an occupant's tells besides who the occupant is.
type notice struct {
	gone   bool   // unavailable
	id     []byte // of the stanza that it answers, for the occupant itself
	status []byte // children of an unavailable presence, by the occupant
	nick   string // the new one (XEP-0045 §7.6)
	actor  string // nick of who did it
	reason string
	codes  []int // for all
	own    []int // for the occupant itself, besides 110

	destroyed bool // the room ends
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// keptBuffer is the largest buffer that goes back to a pool.
const keptBuffer = 64 << 10

func putBuffer(b *[]byte) {
	if cap(*b) <= keptBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// Forms in which a presence is told.
const (
	plain    = iota // without the real address
	revealed        // with it
	forms
)

// reveals reports whether an occupant sees real addresses (XEP-0045 §7.2.3, §7.2.4).
func (r *room) reveals(o *occupant) bool { return r.cfg.NonAnonymous || o.role == Moderator }

// appendPresence writes the children of a presence of o's: its own, and what the room says of it (XEP-0045 §7.2.2, §17.3).
func (r *room) appendPresence(b []byte, o *occupant, reveal, own bool, n *notice) []byte {
	role := o.role
	switch {
	case !n.gone:
		b = append(b, o.seats[0].presence.Value()...)
	case n.nick == "":
		role = NoRole
		fallthrough
	default:
		b = append(b, n.status...)
	}
	b = append(b, "<x xmlns='"+nsUser+"'><item affiliation='"...)
	b = append(b, o.affiliation.String()...)
	b = append(b, "' role='"...)
	b = append(b, role.String()...)
	if reveal {
		b = append(b, "' jid='"...)
		b = stanza.AppendEscaped(b, o.seats[0].jid.String())
	}
	if n.nick != "" {
		b = append(b, "' nick='"...)
		b = stanza.AppendEscaped(b, n.nick)
	}
	if n.actor == "" && n.reason == "" {
		b = append(b, "'/>"...)
	} else {
		b = append(b, "'>"...)
		b = appendActor(b, n.actor, n.reason)
		b = append(b, "</item>"...)
	}
	if n.destroyed {
		b = (&destroyed{}).append(b)
	}
	for _, c := range n.codes {
		b = appendStatus(b, c)
	}
	if own {
		b = appendStatus(b, 110)
		for _, c := range n.own {
			b = appendStatus(b, c)
		}
	}
	b = append(b, "</x>"...)
	if !n.gone {
		b = r.cfg.Hats.append(b, o.seats[0].jid)
	}
	return o.id.append(b)
}

func appendActor(b []byte, actor, reason string) []byte {
	if actor != "" {
		b = append(b, "<actor nick='"...)
		b = stanza.AppendEscaped(b, actor)
		b = append(b, "'/>"...)
	}
	if reason != "" {
		b = append(b, "<reason>"...)
		b = stanza.AppendEscaped(b, reason)
		b = append(b, "</reason>"...)
	}
	return b
}

func appendStatus(b []byte, code int) []byte {
	b = append(b, "<status code='"...)
	b = strconv.AppendInt(b, int64(code), 10)
	return append(b, "'/>"...)
}

// presenceOf is a presence of o's with these children.
func presenceOf(o *occupant, n *notice, inner []byte) stanza.Stanza {
	st := stanza.Stanza{Kind: stanza.Presence, From: o.at, Inner: inner}
	if n.gone {
		st.Type = stanza.Unavailable
	}
	return st
}

// shown reports whether others see an occupant's presence (XEP-0045 §5.1).
func (r *room) shown(role Role) bool { return r.cfg.Broadcast.has(role) }

// show tells everybody a presence of o's: each form is encoded once. Occupants whose presence is not broadcast are shown to themselves only.
func (s *Service) show(b *router.Batch, r *room, o *occupant, n *notice) {
	s.showSelf(b, r, o, n)
	if r.shown(o.role) {
		s.showOthers(b, r, o, n)
	}
}

// showSelf tells an occupant's own sessions.
func (s *Service) showSelf(b *router.Batch, r *room, o *occupant, n *notice) {
	for i := range o.seats {
		s.showSeat(b, r, o, &o.seats[i], n)
	}
}

func (s *Service) showSeat(b *router.Batch, r *room, o *occupant, to *seat, n *notice) {
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	*buf = r.appendPresence((*buf)[:0], o, true, true, n) // its own address: Converse.js knows itself by it
	st := presenceOf(o, n, *buf)
	st.ID = n.id
	s.send(b, r, to, &st)
}

// showOthers tells all other occupants.
func (s *Service) showOthers(b *router.Batch, r *room, o *occupant, n *notice) {
	s.showTo(b, r, r.all, o, n)
}

// A showing is a presence in the forms in which it is told: what showTo needs, and nobody after it.
type showing struct {
	told  [forms]bool // the rest of it is for those
	inner [forms][]byte
	wire  [forms][]byte
	st    [forms]stanza.Stanza
}

var showings = sync.Pool{New: func() any { return new(showing) }}

func (as *showing) free() {
	for f := range as.told {
		if max(cap(as.inner[f]), cap(as.wire[f])) > keptBuffer {
			return
		}
	}
	as.told = [forms]bool{}
	showings.Put(as)
}

// showTo tells some of the others.
func (s *Service) showTo(b *router.Batch, r *room, them []*occupant, o *occupant, n *notice) {
	as := showings.Get().(*showing)
	defer as.free()
	s.gather(r)
	for _, to := range them {
		if to == o {
			continue
		}
		f := plain
		if r.reveals(to) {
			f = revealed
		}
		if !as.told[f] {
			as.told[f] = true
			as.inner[f] = r.appendPresence(as.inner[f][:0], o, f == revealed, false, n)
			as.st[f] = presenceOf(o, n, as.inner[f])
			as.wire[f] = as.st[f].Append(as.wire[f][:0])
			as.st[f].Wire = as.wire[f]
		}
		for i := range to.seats {
			if n, ok := to.seats[i].session.(*node); !ok || !r.rep.awaits[n.name] || !r.rep.doubted[to.seats[i].jid.String()] {
				s.send(b, r, &to.seats[i], &as.st[f])
			}
		}
	}
	s.scatter(r)
}

// introduce shows a session all others in the room (XEP-0045 §7.2.2).
func (s *Service) introduce(b *router.Batch, r *room, o *occupant, to *seat) {
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	none, reveal := &notice{}, r.reveals(o)
	var st stanza.Stanza
	for _, other := range r.all {
		if other == o || !r.shown(other.role) {
			continue
		}
		*buf = r.appendPresence((*buf)[:0], other, reveal, false, none)
		st = presenceOf(other, none, *buf)
		s.send(b, r, to, &st)
	}
}

// send gives one session st, of which To is set.
func (s *Service) send(b *router.Batch, r *room, to *seat, st *stanza.Stanza) bool {
	st.To = to.jid
	if n, ok := to.session.(*node); ok {
		return s.sendNode(b, r, n, st)
	}
	if r.rep != nil && r.rep.gone == r.rep.self && r.rep.nodeOf(to.session) == r.rep.self {
		return false
	}
	if state := to.session.State(); state != nil && state.Blocked.Load().Matches(st.From) && st.Type != stanza.Unavailable {
		return false // XEP-0191 §3.3
	}
	if to.session.Send(b, st) {
		return true
	}
	row, ok := s.rowOf(to.jid, to.bound)
	_, away := to.session.(*absent)
	switch {
	case away || !ok && s.Place == nil:
		r.lose(to.jid, to.session)
		return false
	case ok && row.Session != to.session: // which has taken over
	case s.Place == nil:
		return false // ending: it says so itself
	default: // ending, or on its way to another node (XEP-0198 §5)
		return s.miss(r, to, st, true)
	}
	s.follow(r, to, row)
	if n, ok := to.session.(*node); ok {
		return s.sendNode(b, r, n, st)
	}
	return to.session.Send(b, st)
}

// sendNode gives st to one of a node's sessions: with others there, if what is sent is gathered.
func (s *Service) sendNode(b *router.Batch, r *room, n *node, st *stanza.Stanza) bool {
	if n.name == r.rep.gone {
		return false
	}
	r.rep.sent++
	if r.gathering != nil {
		r.gathering.add(n, st)
		return true
	}
	if !n.Send(b, st) {
		s.unsent(r, n, st, []stanza.JID{st.To})
		return false
	}
	return true
}

// cast sends a message of the room's or of an occupant's to all, encoded once.
func (s *Service) cast(b *router.Batch, r *room, st *stanza.Stanza) (wire []byte) {
	wire = st.Append(make([]byte, 0, st.Size()))
	st.Wire = wire
	s.Metrics.deliveries.Add(float64(s.sendAll(b, r, st, nil)))
	return wire
}

// sendAll sends what is encoded already to the sessions that are to have it, nil for all, and returns how many have taken it.
func (s *Service) sendAll(b *router.Batch, r *room, st *stanza.Stanza, to func(*occupant, *seat) bool) (n int) {
	s.gather(r)
	for _, o := range r.all {
		for i := range o.seats {
			if (to == nil || to(o, &o.seats[i])) && s.send(b, r, &o.seats[i], st) {
				n++
			}
		}
	}
	s.scatter(r)
	return n
}
