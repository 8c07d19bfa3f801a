package main

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"chatd/stanza"
)

// A simMessage is one message, and what became of it.
type simMessage struct {
	id      string
	order   int // among those of its device
	session int // of the sender
	from    string
	to      string
	user    string // the recipient's
	at      time.Time
	node    *simNode // the sender's

	mu       sync.Mutex
	accepted bool // the server has acknowledged it
	refused  int  // errors that came back
	receipts []simReceipt
}

// A simReceipt is one arrival of a message.
type simReceipt struct {
	link *simLink
	at   time.Time
	raw  string
}

func (m *simMessage) accept() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accepted = true
}

// received notes the arrival of a message, or of the error that it came back as.
func (s *simSchedule) received(l *simLink, id string, refused bool, raw string) {
	s.note("%s (session %d on %s) got %s%s", l.d.jid(), l.session.number, l.node.name, id, map[bool]string{true: ", refused"}[refused])
	s.mu.Lock()
	m := s.messages[id]
	s.mu.Unlock()
	if m == nil {
		s.complain("%s got %s, which nobody has sent", l.d.jid(), raw)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if refused {
		m.refused++
		return
	}
	m.receipts = append(m.receipts, simReceipt{l, time.Now(), raw})
}

const (
	settleLeast = 12 * time.Second
	settleMost  = 90 * time.Second
)

// settle waits until all is as it has to be, and returns what is not.
func (s *simSchedule) settle() (wrong []string) {
	time.Sleep(settleLeast)
	for end := time.Now().Add(settleMost); ; time.Sleep(5 * time.Second) {
		s.peace() // some may have heard only now that their node has stopped
		wrong = slices.Concat(s.checkTables(), s.checkGhosts(), s.checkSeen(), s.checkStore(), s.checkLost())
		if len(wrong) == 0 || time.Now().After(end) {
			break
		}
	}
	wrong = append(wrong, s.checkMessages()...)
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(wrong, s.complaints...)
}

// live is on which node each full JID has its session.
func (s *simSchedule) live() map[string]string {
	all := make(map[string]string)
	for _, d := range s.devices {
		d.mu.Lock()
		if d.link != nil {
			all[d.jid()] = d.link.node.name
		}
		d.mu.Unlock()
	}
	return all
}

// checkTables: all nodes see one another, the same sessions, which are those that there are, and the same homes of rooms.
func (s *simSchedule) checkTables() (wrong []string) {
	live := s.live()
	first := s.nodes[0].process().others.Overview()
	for _, n := range s.nodes {
		p := n.process()
		o := p.others.Overview()
		got := make(map[string]string)
		for _, d := range s.devices {
			for _, row := range p.router.Table.Rows(stanza.MustJID(d.user + "@" + simDomain)) {
				full := row.Session.JID().String()
				if full != d.jid() {
					continue
				}
				if got[full] != "" {
					wrong = append(wrong, fmt.Sprintf("%s has two rows of %s", n.name, full))
				}
				if got[full] = row.Node(); !row.Remote {
					got[full] = n.name
				}
			}
		}
		if !maps.Equal(got, live) {
			wrong = append(wrong, fmt.Sprintf("%s sees %v, but there are %v", n.name, got, live))
		}
		if o.Epoch != first.Epoch || !maps.Equal(o.Buckets, first.Buckets) || len(o.Buckets) != len(s.nodes) {
			wrong = append(wrong, fmt.Sprintf("%s has buckets %v at %d, %s has %v at %d", n.name, o.Buckets, o.Epoch, first.Node, first.Buckets, first.Epoch))
		}
		if o.Island || len(o.Replicas) != len(s.nodes)-1 {
			wrong = append(wrong, fmt.Sprintf("%s is an island: %+v", n.name, o))
		}
		for _, r := range o.Replicas {
			if !r.Agrees || !r.Sent || r.Behind > 0 {
				wrong = append(wrong, fmt.Sprintf("%s and %s do not agree: %+v", n.name, r.Node, r))
			}
		}
		if err := p.router.Table.ConsistencyCheck(); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	return append(wrong, s.checkLinks()...)
}

// checkLinks: of the connections of one device only the last is open.
func (s *simSchedule) checkLinks() (wrong []string) {
	s.mu.Lock()
	links := slices.Clone(s.links)
	s.mu.Unlock()
	for _, l := range links {
		l.d.mu.Lock()
		if l.closed.IsZero() && l.d.link != l {
			wrong = append(wrong, fmt.Sprintf("%s has its session %d on %s open, besides a newer one", l.d.jid(), l.session.number, l.node.name))
		}
		l.d.mu.Unlock()
	}
	return wrong
}

// checkGhosts: nobody sees whom there is not.
func (s *simSchedule) checkGhosts() (wrong []string) {
	live := s.live()
	for _, d := range s.devices {
		d.mu.Lock()
		if d.session != nil {
			for full := range d.session.sees {
				if live[full] == "" {
					wrong = append(wrong, fmt.Sprintf("%s (session %d) sees the ghost %s", d.jid(), d.session.number, full))
				}
			}
		}
		d.mu.Unlock()
	}
	return wrong
}

// checkSeen: everybody sees all who are there.
func (s *simSchedule) checkSeen() (wrong []string) {
	live := s.live()
	for _, d := range s.devices {
		d.mu.Lock()
		for full := range live {
			if d.session != nil && d.session.sees[full] == 0 {
				wrong = append(wrong, fmt.Sprintf("%s (session %d) does not see %s", d.jid(), d.session.number, full))
			}
		}
		d.mu.Unlock()
	}
	return wrong
}

// checkStore: nothing waits for who is there.
func (s *simSchedule) checkStore() (wrong []string) {
	for _, d := range s.devices {
		page, err := s.store.OfflinePage(context.Background(), d.user, 0, 1000)
		if err != nil || len(page) > 0 {
			wrong = append(wrong, fmt.Sprintf("%d messages wait for %s, who is there: the first is %s, %v", len(page), d.user, page[0].Stanza, err))
		}
	}
	return wrong
}

// checkLost: each message that was accepted has arrived or come back. One may wait with a session that was given to a node which did not get it, for
// half a minute.
func (s *simSchedule) checkLost() (wrong []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.messages {
		m.mu.Lock()
		if m.accepted && len(m.receipts) == 0 && m.refused == 0 && !s.inVain(m) && !s.diedWith(m) {
			wrong = append(wrong, fmt.Sprintf("%s is lost", m.id))
		}
		m.mu.Unlock()
	}
	return wrong
}

// checkMessages: no message has arrived more than once at a device, or at two that have not the same priority, or come back besides, and those of one session
// are in order.
func (s *simSchedule) checkMessages() (wrong []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type arrived struct {
		m *simMessage
		r simReceipt
	}
	last := make(map[string]arrived) // by session of the sender, address, and full JID of the recipient
	all := slices.SortedFunc(maps.Values(s.messages), func(a, b *simMessage) int { return a.order - b.order })
	for _, m := range all {
		m.mu.Lock()
		if len(m.receipts) == 0 && m.refused > 1 {
			wrong = append(wrong, fmt.Sprintf("%s came back %d times", m.id, m.refused))
		}
		if d := s.leftOut(m); d != nil {
			wrong = append(wrong, fmt.Sprintf("%s did not come to %s, which was there all the time: %s", m.id, d.jid(), m.story()))
		}
		for _, receipts := range s.arrivals(m) {
			if len(receipts)+m.refused > 1 && !s.excusedTwice(m, receipts) {
				wrong = append(wrong, fmt.Sprintf("%s arrived %d times and came back %d times: %s", m.id, len(m.receipts), m.refused, m.story()))
			}
			r := receipts[0]
			if m.to != r.link.d.jid() && strings.Contains(m.to, "/") {
				continue
			}
			key := fmt.Sprint(m.session, " ", m.to, " ", r.link.d.jid())
			if before, ok := last[key]; ok && before.r.at.After(r.at) && !s.excusedOvertaking(before.m, r, before.r) {
				wrong = append(wrong, fmt.Sprintf("%s overtook %s", m.id, before.m.id))
			}
			last[key] = arrived{m, r}
		}
		m.mu.Unlock()
	}
	return wrong
}

// leftOut is a device that was there before a message and long after it, on a node that had no trouble, as its sender's had none, and did not get it although it was for all of its
// user's; nil: there is none.
func (s *simSchedule) leftOut(m *simMessage) *simDevice {
	if !s.equal || !m.accepted || m.refused > 0 || strings.Contains(m.to, "/") {
		return nil
	}
	after := m.at.Add(simNotice)
	for _, l := range s.links {
		if l.d.user == m.user && l.opened.Before(m.at.Add(-time.Second)) && (l.closed.IsZero() || l.closed.After(after)) && !s.troubled(m.at, after, l.node, m.node) &&
			!slices.ContainsFunc(m.receipts, func(r simReceipt) bool { return r.link.d == l.d }) {
			return l.d
		}
	}
	return nil
}

// arrivals is the receipts of a message, those of each device for which it was by themselves.
func (s *simSchedule) arrivals(m *simMessage) (all [][]simReceipt) {
	for _, r := range m.receipts {
		i := slices.IndexFunc(all, func(of []simReceipt) bool {
			return !s.equal || strings.Contains(m.to, "/") || of[0].link.d == r.link.d
		})
		if i < 0 {
			all = append(all, nil)
			i = len(all) - 1
		}
		all[i] = append(all[i], r)
	}
	return all
}

func (m *simMessage) story() (text string) {
	for _, r := range m.receipts {
		text += fmt.Sprintf("session %d on %s; ", r.link.session.number, r.link.node.name)
	}
	return text
}

// excusedTwice reports whether nobody could have prevented that a message came more than once: the connection over which it came first
// broke before its node can have known that it had arrived, two devices of the user came at the same moment, or one of the nodes
// on its way was cut off or killed. It has the same id then (XEP-0359), and did not come to the same session.
func (s *simSchedule) excusedTwice(m *simMessage, receipts []simReceipt) bool {
	if m.refused > 0 {
		return false
	}
	for i, r := range receipts[:len(receipts)-1] {
		next := receipts[i+1]
		both := next.link.d != r.link.d && next.at.Sub(r.at) < simNotice && (r.at.Sub(r.link.opened) < simNotice || next.at.Sub(next.link.opened) < simNotice)
		broke := !r.link.closed.IsZero() && r.link.closed.Sub(r.at) < simNotice
		if r.stanzaID() != next.stanzaID() || r.link.session == next.link.session || !both && !broke && !s.troubled(m.at, next.at, m.node, r.link.node, next.link.node) {
			return false
		}
	}
	return true
}

// troubled reports whether one of the nodes was killed or cut off from others at some time.
func (s *simSchedule) troubled(from, to time.Time, nodes ...*simNode) bool {
	return slices.ContainsFunc(s.troubles, func(tr simTrouble) bool {
		return tr.from.Before(to) && (tr.to.IsZero() || tr.to.After(from.Add(-simNotice))) &&
			slices.ContainsFunc(nodes, func(n *simNode) bool { return slices.Contains(tr.nodes, n) })
	})
}

var stanzaIDs = regexp.MustCompile(`<stanza-id [^>]*>`)

func (r simReceipt) stanzaID() string { return stanzaIDs.FindString(r.raw) }

// diedWith reports whether a message may have been on its way to a client that left without a word, on a node that was killed before it
// knew: it had left the node's process.
func (s *simSchedule) diedWith(m *simMessage) bool {
	for _, l := range s.links {
		if l.d.user != m.user || l.closed.IsZero() {
			continue
		}
		for _, tr := range s.troubles {
			since := tr.from.Sub(l.closed).Abs()
			if tr.kill && tr.nodes[0] == l.node && since < simNotice && (l.left || l.closed.Before(tr.from)) && m.at.Before(tr.from) {
				return true
			}
		}
	}
	return false
}

// excusedOvertaking reports whether a message went past one in the store for a reason: while nodes were cut off from one another or from the
// store, or since the other one had waited for another of the user's devices (XEP-0198 §5), which did not come back for it, or was on its way to one
// that could not be reached.
func (s *simSchedule) excusedOvertaking(before *simMessage, r, late simReceipt) bool {
	if late.link.opened.Before(r.link.opened) {
		return true // of two connections, the order is the network's
	}
	return s.awaited(before, late) || s.detoured(before, late) || strings.Contains(late.raw, "urn:xmpp:delay") && s.troubled(before.at, r.at, before.node, late.link.node)
}

// awaited reports whether a message may have waited for another device of its recipient than the one that it has come to in the end.
func (s *simSchedule) awaited(m *simMessage, to simReceipt) bool {
	return slices.ContainsFunc(s.links, func(l *simLink) bool {
		return l.d.user == m.user && l.d != to.link.d && l.opened.Before(m.at) && !l.closed.IsZero() && l.closed.Before(to.at) && !l.closed.Before(m.at.Add(-simNotice))
	})
}

// detoured reports whether a message may have come to a session that was not there yet when it was sent (RFC 6121 §8.5.3.2.1) by way of a node which
// had another one of the recipient's, maybe of the same device, and was cut off. What that one was given and did not get rid of, only that node knows.
func (s *simSchedule) detoured(m *simMessage, to simReceipt) bool {
	return to.link.opened.After(m.at) && slices.ContainsFunc(s.links, func(l *simLink) bool {
		from, until := m.at, to.at
		if l.d == to.link.d { // in trouble when it ended
			from, until = l.closed.Add(-simNotice), l.closed.Add(simNotice)
		}
		return l.d.user == m.user && l.session != to.link.session && l.opened.Before(m.at) && (l.closed.IsZero() || l.closed.After(m.at.Add(-simNotice))) &&
			s.troubled(from, until, l.node)
	})
}

// inVain reports whether a message may have gone to a session that its client does not know of.
func (s *simSchedule) inVain(m *simMessage) bool {
	for _, d := range s.devices {
		if d.jid() == m.to && slices.ContainsFunc(d.vain, func(v simVain) bool { return m.at.After(v.from) && m.at.Before(v.to.Add(simNotice)) }) {
			return true
		}
	}
	return false
}

// simNotice is longer than it takes a node to hear that a client has got something, or to find another one gone.
const simNotice = 3 * time.Second
