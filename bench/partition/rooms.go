package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const roomHost = "conference." + domain

// A room is one of Multi-User Chat (XEP-0045) that a group of friends is in, each by their name for a nick.
type room struct {
	name    string
	home    int // the node that it was made on
	members []*client
}

func (r *room) bare() string { return r.name + "@" + roomHost }

// triesPerHome bounds how many rooms are made for each home that is wanted: where one is depends on its name.
const triesPerHome = 12

// makeRooms makes rooms, for the groups in turn, until every node is the home of so many. Every other one is kept in the store.
func (w *world) makeRooms(each int) error {
	homes := make([]int, len(w.nodes))
	for i := 0; each > 0; i++ {
		enough := i >= len(w.groups)
		for _, n := range homes {
			enough = enough && n >= each
		}
		if enough {
			break
		}
		if i == triesPerHome*each*len(homes) {
			return fmt.Errorf("homes of rooms: %v", homes)
		}
		r := &room{name: fmt.Sprint("lobby", i+1), members: w.groups[i%len(w.groups)]}
		before, err := w.roomsAt()
		if err != nil {
			return err
		}
		if err := w.makeRoom(r, i%2 == 0); err != nil {
			return err
		}
		after, err := w.roomsAt()
		if err != nil {
			return err
		}
		for n := range after {
			if after[n] > before[n] {
				r.home = n
			}
		}
		homes[r.home]++
		w.rooms = append(w.rooms, r)
	}
	if _, err := w.await(time.Minute, func() bool { return w.seated(everybody) }); err != nil {
		return fmt.Errorf("not all get into the rooms: %w", err)
	}
	return nil
}

// makeRoom has the first member make the room (XEP-0045 §10.1), and the others enter it.
func (w *world) makeRoom(r *room, persistent bool) error {
	first := r.members[0]
	first.enterFirst(r)
	if _, err := w.await(time.Minute, func() bool { return first.inside(r) }); err != nil {
		return fmt.Errorf("%s is not made: %w", r.name, err)
	}
	kept := 0
	if persistent {
		kept = 1
	}
	first.say("<iq type='set' id='own' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"+
		"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"+
		"<field var='muc#roomconfig_persistentroom'><value>%d</value></field></x></query></iq>", r.bare(), kept)
	if _, err := w.await(time.Minute, first.idle); err != nil {
		return err
	}
	for _, c := range r.members[1:] {
		c.enterFirst(r)
	}
	return nil
}

// roomsAt is how many rooms each node is the home of.
func (w *world) roomsAt() ([]int, error) {
	counts := make([]int, len(w.nodes))
	for i, n := range w.nodes {
		v, err := n.metric(w.ctx, "chatd_muc_rooms")
		if err != nil {
			return nil, err
		}
		counts[i] = int(v)
	}
	return counts, nil
}

// enterFirst makes the client a member, who enters the room now and after each login.
func (c *client) enterFirst(r *room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rooms = append(c.rooms, r)
	if c.conn != nil {
		c.enterLocked(r)
	}
}

// enterLocked is XEP-0045 §7.2, without history: who is there hears what is said.
func (c *client) enterLocked(r *room) {
	_ = c.writeLocked("", fmt.Sprintf("<presence to='%s/%s'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>", r.bare(), c.name)) // what is lost is sent again
}

// roomLocked takes presence from a room.
func (c *client) roomLocked(e *element) {
	bare, nick, _ := strings.Cut(e.attr("from"), "/")
	var r *room
	for _, has := range c.rooms {
		if has.bare() == bare {
			r = has
		}
	}
	if r == nil {
		return
	}
	own := e.hasStatus(110)
	switch e.attr("type") {
	case "":
		if c.seen[r] == nil {
			c.seen[r] = make(map[string]bool)
		}
		c.seen[r][nick] = true
		if own {
			c.entered[r] = true
		}
	case "unavailable":
		delete(c.seen[r], nick)
		if own {
			c.outLocked(r)
		} else {
			c.w.left.Add(1)
		}
	case "error":
		c.w.ledger.roomTrouble(fmt.Sprintf("%s does not get into %s: %v", c.name, r.name, e.child("error").condition()))
		time.AfterFunc(retryAfter, func() { c.enterAgain(r) })
	}
}

// outLocked is for a client that a room says is not in it any more: it enters again, as people do.
func (c *client) outLocked(r *room) {
	delete(c.seen, r)
	delete(c.entered, r)
	c.w.ledger.roomTrouble(c.name + " is put out of " + r.name)
	c.w.out.Add(1)
	c.enterLocked(r)
}

func (c *client) enterAgain(r *room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && !c.entered[r] && !c.stopping {
		c.enterLocked(r)
	}
}

// inside reports whether the client is in the room, as it was told.
func (c *client) inside(r *room) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entered[r]
}

// meets reports whether the client sees another one in the room.
func (c *client) meets(r *room, other *client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entered[r] && c.seen[r][other.name]
}

// seated reports whether every member of each room sees exactly those of the others there that it should.
func (w *world) seated(should func(a, b *client) bool) bool {
	for _, r := range w.rooms {
		for _, a := range r.members {
			for _, b := range r.members {
				if a.meets(r, b) != should(a, b) {
					return false
				}
			}
		}
	}
	return true
}

// unseated says who sees, or does not see, whom in which room against what should be.
func (w *world) unseated(should func(a, b *client) bool) (all []string) {
	for _, r := range w.rooms {
		for _, a := range r.members {
			for _, b := range r.members {
				if sees := a.meets(r, b); sees != should(a, b) {
					all = append(all, fmt.Sprintf("%s (n%d) sees %s (n%d) in %s (n%d): %t", a.name, a.online()+1, b.name, b.online()+1, r.name, r.home+1, sees))
				}
			}
		}
	}
	return all
}

// utter says something in a room, if the client is in it.
func (c *client) utter(r *room) {
	hearers := c.hearers(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || !c.entered[r] {
		return
	}
	id := c.w.ledger.said(c, r, hearers)
	_ = c.writeLocked(id, fmt.Sprintf("<message to='%s' type='groupchat' id='%s'><body>%[2]s</body></message>", r.bare(), id))
}

// hearers is who is in the room on the client's side, and by which node: those who see it there, and whom it sees.
func (c *client) hearers(r *room) map[*client]hearing {
	all := make(map[*client]hearing)
	for _, m := range r.members {
		if at := m.online(); at >= 0 && c.meets(r, m) && m.meets(r, c) && !c.w.apart(c, m) {
			all[m] = hearing{at: at}
		}
	}
	return all
}

// checkRooms demands of the rooms, when all is well again: each has one home, everybody is in it once, and who enters it by
// whichever node finds them all, and all that was said, once and by time.
func (w *world) checkRooms() error {
	sessions := 0
	for _, r := range w.rooms {
		sessions += len(r.members)
	}
	var rooms, occupants int
	_, err := w.await(bound, func() bool {
		rooms, occupants = 0, 0
		for _, n := range w.nodes {
			a, err1 := n.metric(w.ctx, "chatd_muc_rooms")
			b, err2 := n.metric(w.ctx, "chatd_muc_occupants")
			if err1 != nil || err2 != nil {
				return false
			}
			rooms, occupants = rooms+int(a), occupants+int(b)
		}
		return rooms == len(w.rooms) && occupants == sessions
	})
	if err != nil {
		return fmt.Errorf("%d rooms with %d occupants are %d with %d: %w", len(w.rooms), sessions, rooms, occupants, err)
	}
	for i := range w.nodes {
		err = errors.Join(err, w.visit(i))
	}
	return err
}

// hasStatus reports whether a room's presence has a status code.
func (e *element) hasStatus(code int) bool {
	for i := range e.Children {
		for k := range e.Children[i].Children {
			if c := &e.Children[i].Children[k]; c.XMLName.Local == "status" && c.attr("code") == strconv.Itoa(code) {
				return true
			}
		}
	}
	return false
}

// condition is that of an <error/>.
func (e *element) condition() string {
	if e == nil || len(e.Children) == 0 {
		return "unknown"
	}
	return e.Children[0].XMLName.Local
}
