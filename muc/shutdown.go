package muc

import (
	"chatd/router"
	"chatd/stanza"
)

// Farewell returns what takes a session out of all rooms here before it is told that the server stops (XEP-0045 §11.2). It is for sessions that
// cannot be resumed: the others are in their rooms again with the next process.
func (s *Service) Farewell() func(router.Session) {
	in := make(map[stanza.JID][]string)
	var b router.Batch
	for _, name := range s.names() {
		if r := s.lock(&b, name); r != nil {
			for _, o := range r.all {
				for i := range o.seats {
					in[o.seats[i].jid] = append(in[o.seats[i].jid], name)
				}
			}
			s.unlock(&b, r)
		}
	}
	b.Flush()
	return func(sess router.Session) {
		var b router.Batch
		defer b.Flush()
		for _, name := range in[sess.JID()] {
			s.dismiss(&b, name, sess)
		}
	}
}

func (s *Service) dismiss(b *router.Batch, name string, sess router.Session) {
	r := s.lock(b, name)
	if r == nil {
		return
	}
	if o := r.of(sess.JID()); o != nil {
		s.depart(b, r, o, sess.JID(), &notice{codes: []int{332}})
	}
	empty := len(r.all) == 0
	s.unlock(b, r)
	if empty {
		s.settle(r)
	}
}
