package muc

import (
	"slices"
	"time"
)

// A comeback is a user whose node is gone, and who logs in at another with the same address when that has noticed.
type comeback struct {
	old *simClient
	to  *simNode
	at  time.Time // not before
}

// logIn has those log in anew who can, and enter the rooms again that they were in.
func (x *schedule) logIn() {
	x.back = slices.DeleteFunc(x.back, func(r *comeback) bool {
		x.mu.Lock()
		waits := time.Now().Before(r.at) || r.to.peers[r.old.n.name] != nil && r.to.peers[r.old.n.name].to == r.old.n
		x.mu.Unlock()
		if waits {
			return false
		}
		if r.to.isDead() || r.to.paused || r.old.gone() && !r.old.n.isDead() {
			return true
		}
		x.clients = slices.DeleteFunc(x.clients, func(c *simClient) bool { return c == r.old })
		x.left = append(x.left, r.old)
		c := r.to.client(r.old.jid.String())
		c.tag = r.old.tag + "b"
		x.clients = append(x.clients, c)
		x.note("%s is back at %s", c.jid, r.to.name)
		r.old.mu.Lock()
		defer r.old.mu.Unlock()
		for _, room := range x.rooms {
			if v := r.old.views[room]; v != nil && v.wants {
				x.enter(c, room)
			}
		}
		return true
	})
}

// lostNode has half of the users of a node come back elsewhere that is killed, or does not answer.
func (x *schedule) lostNode(i int) {
	for _, c := range x.clients {
		if c.n.i != i || x.within(2, "back", c.jid.String()) == 1 {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(x.nodes), func(n *simNode) bool { return n.i == i })
		to := others[int(x.within(time.Duration(len(others)), "to", c.jid.String()))-1]
		x.back = append(x.back, &comeback{c, to, time.Now().Add(x.within(2*time.Second, "at", c.jid.String()))})
	}
}
