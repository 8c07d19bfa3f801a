package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatd/xmlstream"
)

// TestNodesRestartDuringCut restarts each of three nodes while two of them do not reach each other. Clients go on with their sessions wherever
// they get in, and in the end everybody sees everybody.
func TestNodesRestartDuringCut(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSimSchedule(t, seed)
				s.nodes = nil
				for i := range 3 {
					s.nodes = append(s.nodes, &simNode{s: s, name: fmt.Sprintf("n%02d", i+1), ip: simNodeIP(i + 1)})
				}
				s.restartDuringCut()
			})
		})
	}
}

func (s *simSchedule) restartDuringCut() {
	for _, n := range s.nodes {
		if err := n.start(); err != nil {
			s.t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second)
	for i, d := range s.devices {
		s.login(d, s.nodes[i%len(s.nodes)], false)
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(time.Second)
	s.trouble(s.nodes[1:]...)
	s.net.Cut(s.nodes[1].ip, s.nodes[2].ip)
	s.net.Cut(s.nodes[2].ip, s.nodes[1].ip)
	for _, n := range s.nodes {
		s.note("%s stops", n.name)
		s.ends(n, (*simProcess).stop)
		for n.isBusy() {
			s.carryOn()
		}
		s.boot(n)
		for range 1000 / 20 {
			s.carryOn()
		}
	}
	s.peace()
	wrong := s.settle()
	if len(s.trace) > 5000 {
		wrong = append(wrong, "nodes do not cease to tell each other of who is there")
	}
	s.end()
	if len(wrong) > 0 {
		s.t.Fatal(strings.Join(append(s.trace, wrong...), "\n"))
	}
}

// carryOn is 20 ms of clients that talk, and go on elsewhere when they have to.
func (s *simSchedule) carryOn() {
	for _, d := range s.devices {
		online, resumable, busy := d.state()
		n := s.nodes[s.rng.IntN(len(s.nodes))]
		switch {
		case online && s.rng.IntN(10) == 0:
			s.send(d)
		case !online && !busy && n.process() != nil:
			s.login(d, n, resumable)
		}
	}
	time.Sleep(20 * time.Millisecond)
}

func (n *simNode) isBusy() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.busy
}

// TestNodeStopsBeforeItHears: a node stores a message that another one has not confirmed, since the way back is cut, and ends before it can hear that it
// arrived. It does not come again when the recipient logs in anew.
func TestNodeStopsBeforeItHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimSchedule(t, 1)
		s.nodes = s.nodes[:2]
		for _, n := range s.nodes {
			if err := n.start(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		one, other := s.nodes[0], s.nodes[1]
		from, to := s.devices[0], s.devices[len(s.devices)-1]
		s.login(from, one, false)
		s.login(to, other, false)
		time.Sleep(time.Second)
		s.net.Cut(other.ip, one.ip)
		s.say(from, "m", to.jid())
		time.Sleep(100 * time.Millisecond)
		one.retire().stop()
		if page, err := s.store.OfflinePage(t.Context(), to.user, 0, 10); len(page) != 1 || err != nil {
			t.Fatalf("%d are stored, %v", len(page), err)
		}
		s.net.Heal()
		if err := one.start(); err != nil {
			t.Fatal(err)
		}
		to.leave(true)
		s.login(to, other, false)
		time.Sleep(20 * time.Second)
		s.once()
		if page, err := s.store.OfflinePage(t.Context(), to.user, 0, 10); len(page) > 0 || err != nil {
			t.Errorf("%d wait, %v", len(page), err)
		}
		s.end()
	})
}

// TestNodeWakes: a node hears the others and is not heard. What they send there they store when they miss it, and hand over to the recipient's next
// session elsewhere; and so does that node with what its own session has not got rid of, at once or when it hears of the next one. The next one
// gets each message once.
func TestNodeWakes(t *testing.T) {
	for _, left := range []bool{true, false} {
		t.Run(fmt.Sprintf("left=%t", left), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newSimSchedule(t, 1).wakes(left) })
		})
	}
}

func (s *simSchedule) wakes(left bool) {
	s.three()
	from, to := s.devices[0], s.devices[len(s.devices)-1]
	const slow = "10.2.0.1"
	to.host = s.net.Host(slow)
	s.login(to, s.nodes[0], false)
	s.login(from, s.nodes[1], false)
	time.Sleep(time.Second)
	s.net.Cut(s.nodes[0].ip, s.nodes[1].ip)
	s.net.Cut(s.nodes[0].ip, s.nodes[2].ip)
	if left {
		to.leave(false)
	} else { // nobody hears of that
		s.net.Freeze(slow)
	}
	for i := range 8 {
		s.say(from, fmt.Sprintf("m%d", i), to.jid())
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(3 * time.Second)
	to.abandon()
	to.host = s.net.Host("10.2.0.2")
	s.login(to, s.nodes[2], false)
	time.Sleep(3 * time.Second)
	s.net.Heal()
	time.Sleep(30 * time.Second)
	s.once()
	for _, wrong := range s.checkStore() {
		s.t.Error(wrong)
	}
	s.net.Thaw(slow)
	s.end()
}

// TestNodeMovesAndBack: a session has a message that its client has not got, as its node knows and the sender's does not. It goes on elsewhere, where
// the message is stored, and comes back: then the client gets it.
func TestNodeMovesAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimSchedule(t, 1)
		s.three()
		from, to := s.devices[0], s.devices[len(s.devices)-1]
		const first, then = "10.2.0.1", "10.2.0.2"
		to.host = s.net.Host(first)
		s.login(from, s.nodes[0], false)
		s.login(to, s.nodes[2], false)
		time.Sleep(time.Second)
		s.net.Freeze(first)
		s.say(from, "m", to.jid())
		time.Sleep(100 * time.Millisecond)
		s.net.Cut(s.nodes[0].ip, s.nodes[2].ip)
		s.net.Cut(s.nodes[2].ip, s.nodes[0].ip)
		time.Sleep(3 * time.Second)
		to.host = s.net.Host(then)
		s.net.Shape(s.nodes[1].ip, then, 500*time.Millisecond, 0, 0)
		s.login(to, s.nodes[1], true)
		time.Sleep(1750 * time.Millisecond)
		s.net.Cut(s.nodes[1].ip, then) // it does not hear that its session goes on
		time.Sleep(15 * time.Second)
		s.net.Unshape(s.nodes[1].ip, then)
		s.net.Heal()
		s.login(to, s.nodes[2], true)
		time.Sleep(15 * time.Second)
		s.once()
		s.net.Thaw(first)
		s.end()
	})
}

// TestNodeUnmet: a node starts during a split, stores a message for somebody on the other side, and stops before the split ends. The process after it
// knows nothing of that.
func TestNodeUnmet(t *testing.T) {
	for _, end := range []func(*simProcess){(*simProcess).stop, (*simProcess).kill} {
		synctest.Test(t, func(t *testing.T) {
			s := newSimSchedule(t, 1)
			s.three()
			one, other := s.nodes[0], s.nodes[2]
			from, to := s.devices[0], s.devices[len(s.devices)-1]
			s.login(to, one, false)
			time.Sleep(time.Second)
			other.retire().stop()
			for _, n := range s.nodes[:2] {
				s.net.Cut(n.ip, other.ip)
				s.net.Cut(other.ip, n.ip)
			}
			if err := other.start(); err != nil {
				t.Fatal(err)
			}
			s.login(from, other, false)
			time.Sleep(5 * time.Second)
			s.say(from, "m", to.jid())
			time.Sleep(time.Second)
			end(other.retire())
			if page, err := s.store.OfflinePage(t.Context(), to.user, 0, 10); len(page) != 1 || err != nil {
				t.Fatalf("%d are stored, %v", len(page), err)
			}
			s.net.Heal()
			if err := other.start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			s.once()
			s.end()
		})
	}
}

// three starts three nodes.
func (s *simSchedule) three() {
	s.nodes = nil
	for i := range 3 {
		s.nodes = append(s.nodes, &simNode{s: s, name: fmt.Sprintf("n%02d", i+1), ip: simNodeIP(i + 1)})
		if err := s.nodes[i].start(); err != nil {
			s.t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second)
}

// once checks that each message has come once.
func (s *simSchedule) once() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.messages {
		m.mu.Lock()
		if len(m.receipts) != 1 {
			s.t.Errorf("%s came %d times: %s", m.id, len(m.receipts), m.story())
		}
		m.mu.Unlock()
	}
}

// say has a device send a message of this id.
func (s *simSchedule) say(d *simDevice, id, to string) {
	m := &simMessage{id: id, from: d.jid(), to: to, at: time.Now()}
	s.mu.Lock()
	s.messages[id] = m
	s.mu.Unlock()
	d.say(fmt.Sprintf("<message type='chat' id='%s' to='%s'><body>%[1]s</body></message>", id, to), m)
}

// TestNodeForgetsWhatItRead: a client begins to log in, which has its node read what waits for the user. Another node stores a message during a split, and is
// killed. When the client gets on with its login after that, it is handed the message.
func TestNodeForgetsWhatItRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimSchedule(t, 1)
		s.three()
		one, other := s.nodes[0], s.nodes[2]
		from, to := s.devices[0], s.devices[len(s.devices)-1]
		s.login(from, other, false)
		time.Sleep(time.Second)
		for _, n := range s.nodes[:2] {
			s.net.Cut(n.ip, other.ip)
			s.net.Cut(other.ip, n.ip)
		}
		conn, err := to.host.Dial(t.Context(), one.ip+":5222")
		if err != nil {
			t.Fatal(err)
		}
		l := &simLink{d: to, node: one, conn: conn, scanner: xmlstream.NewScanner(xmlstream.Limits{})}
		if err := l.authenticate(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		s.say(from, "m", to.jid())
		time.Sleep(time.Second)
		other.retire().kill()
		s.net.Heal()
		if err := other.start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		conn.Close()
		s.login(to, one, false)
		time.Sleep(10 * time.Second)
		s.once()
		s.end()
	})
}

// TestNodeGivesBothOnce: a message goes to two devices, one of which has lost its connection and nobody knows. When its session is replaced, or ends, the other
// one does not get the message again: on one node, and on two.
func TestNodeGivesBothOnce(t *testing.T) {
	for where := range 2 {
		for _, resume := range []bool{false, true} {
			t.Run(fmt.Sprintf("n%02d,resume=%t", where+1, resume), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { newSimSchedule(t, 1).givesBothOnce(where, resume) })
			})
		}
	}
}

func (s *simSchedule) givesBothOnce(where int, resume bool) {
	s.three()
	const lost = "10.2.0.1"
	phone, desk, from := s.devices[0], s.devices[1], s.devices[len(s.devices)-1]
	phone.user, phone.resource, phone.priority, phone.host = "user0", "phone", 0, s.net.Host(lost)
	desk.user, desk.resource, desk.priority = "user0", "desk", 0
	from.user, from.resource = "user1", "phone"
	s.login(phone, s.nodes[0], false)
	s.login(desk, s.nodes[where], false)
	s.login(from, s.nodes[2], false)
	time.Sleep(time.Second)
	s.net.Freeze(lost)
	s.say(from, "m", phone.user+"@"+simDomain)
	time.Sleep(time.Second)
	if !resume {
		phone.abandon()
	}
	phone.host = s.net.Host("10.2.0.2")
	s.login(phone, s.nodes[0], resume)
	time.Sleep(15 * time.Second)
	if resume {
		phone.leave(true)
		time.Sleep(5 * time.Second)
	}
	m := s.messages["m"]
	at := map[*simDevice]int{}
	for _, r := range m.receipts {
		at[r.link.d]++
	}
	if at[desk] != 1 || at[phone] > 1 || resume && at[phone] != 1 {
		s.t.Errorf("the message came %d times to the one that is there, %d times to the other: %s", at[desk], at[phone], m.story())
	}
	for _, wrong := range s.checkStore() {
		s.t.Error(wrong)
	}
	s.net.Thaw(lost)
	s.end()
}
