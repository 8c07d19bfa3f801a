package muc

import (
	"slices"
	"unique"

	"chatd/router"
	"chatd/stanza"
)

// A seat is one session that is in a room.
type seat struct {
	jid      stanza.JID // full
	session  router.Session
	bound    int64                 // when it was, nanoseconds since 1970: tells it from another with its address; 0: not known
	presence unique.Handle[string] // children of its last presence but for what only a room may say; most clients' are alike
	since    int64                 // when it entered, milliseconds since 1970
}

// An occupant is a user in a room under one nick, with one session or several (XEP-0045 §7.2.8). The first is the one
// whose presence is shown.
type occupant struct {
	at          stanza.JID // in the room, with the nick
	seats       []seat
	only        [1]seat // what seats is of most: one allocation instead of two
	id          occupantID
	role        Role
	affiliation Affiliation
	messages    bucket
	nicks       *bucket // nil until the first change
	since       int64   // when it entered, nanoseconds since 1970
}

func (o *occupant) nick() string { return o.at.Resource() }

// sit has an occupant have these sessions, which are not the ones that it has now.
func (o *occupant) sit(seats []seat) {
	o.only[0] = seat{}
	o.seats = append(o.only[:0], seats...)
}

// user is the bare JID.
func (o *occupant) user() stanza.JID { return o.seats[0].jid.Bare() }

func (o *occupant) seat(full stanza.JID) *seat {
	for i := range o.seats {
		if o.seats[i].jid == full {
			return &o.seats[i]
		}
	}
	return nil
}

// few is how many occupants are looked through one by one: it takes less memory than an index, and no longer.
const few = 32

// A crowd is the occupants of one room.
type crowd struct {
	all   []*occupant // in the order in which they entered
	seats int
	dir   *directory   // nil while there are few
	rep   *replication // of a cluster: is told of each change
}

// named is the occupant with a nick, nil if there is none.
func (c *crowd) named(nick string) *occupant {
	if c.dir != nil {
		return c.dir.nicks.find(nick, func(o *occupant) bool { return o.nick() == nick })
	}
	for _, o := range c.all {
		if o.nick() == nick {
			return o
		}
	}
	return nil
}

// of is the occupant that a session is, nil if it is none.
func (c *crowd) of(full stanza.JID) *occupant {
	if c.dir != nil {
		return c.dir.jids.find(full.String(), func(o *occupant) bool { return o.seat(full) != nil })
	}
	for _, o := range c.all {
		if o.seat(full) != nil {
			return o
		}
	}
	return nil
}

// ofUser yields the occupants that are a user's, or of a domain.
func (c *crowd) ofUser(jid stanza.JID) (found []*occupant) {
	for _, o := range c.all {
		if u := o.user(); u == jid || jid.Local() == "" && u.Domain() == jid.Domain() {
			found = append(found, o)
		}
	}
	return found
}

// add enters an occupant, whose nick is free.
func (c *crowd) add(o *occupant) {
	c.all = append(c.all, o)
	c.seats += len(o.seats)
	c.rep.touchAll(o)
	if c.dir == nil && len(c.all) <= few {
		return
	}
	if c.dir == nil || !c.dir.add(o) {
		c.reindex()
	}
}

// reindex makes the directory anew, with room for more.
func (c *crowd) reindex() {
	c.dir = &directory{nicks: newIndex(len(c.all)), jids: newIndex(c.seats)}
	for _, o := range c.all {
		c.dir.add(o)
	}
}

// join adds a session to an occupant.
func (c *crowd) join(o *occupant, s seat) {
	o.seats = append(o.seats, s)
	o.only[0] = seat{} // they are elsewhere now
	c.seats++
	c.rep.touch(s.jid, s.session)
	if c.dir != nil && !c.dir.addSeat(o, &s) {
		c.reindex()
	}
}

// part removes a session and reports whether it was its occupant's last: then the occupant is removed as well, but for the seat, which stays in it.
func (c *crowd) part(o *occupant, full stanza.JID) (last bool) {
	i := slices.IndexFunc(o.seats, func(s seat) bool { return s.jid == full })
	if i < 0 {
		return false
	}
	c.rep.touch(full, o.seats[i].session)
	if len(o.seats) == 1 {
		c.remove(o)
		return true
	}
	o.seats = slices.Delete(o.seats, i, i+1)
	c.seats--
	if c.dir != nil {
		c.dir.jids.remove(full.String(), o)
	}
	return false
}

// remove takes an occupant out with all its sessions, which stay in it.
func (c *crowd) remove(o *occupant) {
	i := slices.Index(c.all, o)
	if i < 0 {
		return
	}
	c.all = slices.Delete(c.all, i, i+1)
	c.seats -= len(o.seats)
	c.rep.touchAll(o)
	if c.dir != nil {
		c.dir.remove(o)
	}
}

// rename gives an occupant another nick.
func (c *crowd) rename(o *occupant, at stanza.JID) {
	if c.dir != nil {
		c.dir.nicks.remove(o.nick(), o)
	}
	c.rep.touchAll(o)
	o.at = at
	if c.dir != nil && c.dir.nicks.isFull() {
		c.reindex()
	} else if c.dir != nil {
		c.dir.nicks.put(o.nick(), o)
	}
}

// clear takes all occupants out.
func (c *crowd) clear() {
	for _, o := range c.all {
		c.rep.touchAll(o)
	}
	*c = crowd{rep: c.rep}
}
