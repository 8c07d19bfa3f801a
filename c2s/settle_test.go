package c2s

import (
	"context"
	"testing"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// TestFlushIsCertain: what a session with stream management has sent has left the process when it is acknowledged, also where
// another one's batch was to write it.
func TestFlushIsCertain(t *testing.T) {
	srv := startServer(t, nil)
	b := srv.login(t, "juliet", "b", false)
	row, ok := srv.router.Table.Row(stanza.MustJID("juliet@" + testDomain + "/b"))
	if !ok {
		t.Fatal("no session")
	}
	message := func(id string) *stanza.Stanza {
		return &stanza.Stanza{Kind: stanza.Message, From: srv.router.Domain, To: row.Session.JID(), ID: []byte(id)}
	}
	var preempted, certain router.Batch
	certain.Certain(new(router.Owed))
	row.Session.Send(&preempted, message("first"))
	row.Session.Send(&certain, message("second"))
	certain.Flush()
	b.expect("id='first'")
	b.expect("id='second'")
	preempted.Flush()

	s := row.Session.(*Session)
	s.out.mu.Lock()
	if err := s.out.acquireLocked(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.out.slow = false // somebody is in the middle of a write
	s.out.mu.Unlock()
	row.Session.Send(&certain, message("third"))
	flushed := make(chan struct{})
	go func() {
		certain.Flush()
		close(flushed)
	}()
	s.out.mu.Lock()
	s.writeLocked()
	b.expect("id='third'")
	<-flushed
}

// otherNode is an Elsewhere with one session, whose node confirms when it is told to.
type otherNode struct {
	router.Elsewhere
	router.Session
	jid   stanza.JID
	state router.State
	asked chan chan bool
}

func (n *otherNode) Rows(rows []router.Row, user stanza.JID) []router.Row {
	if user.Bare() == n.jid.Bare() {
		rows = append(rows, router.Row{Session: n, Available: true, Remote: true})
	}
	return rows
}

func (n *otherNode) JID() stanza.JID      { return n.jid }
func (n *otherNode) State() *router.State { return &n.state }

func (n *otherNode) Send(b *router.Batch, _ *stanza.Stanza) bool {
	b.Owe(n)
	return true
}

func (n *otherNode) Confirm(ctx context.Context) bool {
	answer := make(chan bool)
	select {
	case n.asked <- answer:
		return <-answer
	case <-ctx.Done():
		return false
	}
}

// TestAcknowledgedWhenConfirmed: a client that asks for an acknowledgement long after it has sent to another node gets it when that
// node has confirmed, and so does one that resumes.
func TestAcknowledgedWhenConfirmed(t *testing.T) {
	srv := startServer(t, nil)
	there := &otherNode{Elsewhere: srv.router.Table.Elsewhere, jid: stanza.MustJID("romeo@" + testDomain + "/far"), asked: make(chan chan bool)}
	srv.router.Table.Elsewhere = there
	a := srv.login(t, "juliet", "a", false)
	id := a.enable()
	confirm := func(with bool) {
		t.Helper()
		select {
		case answer := <-there.asked:
			answer <- with
		case <-time.After(testTimeout):
			t.Fatal("nobody waits for the other node")
		}
	}
	say := func() {
		a.send("<message to='romeo@" + testDomain + "/far' type='chat'><body>hello</body></message>")
		a.ping("1")
		a.ping("2") // by now the first has been worked off
	}
	say()
	a.send("<r xmlns='urn:xmpp:sm:3'/>")
	confirm(false)
	a.expect("<a ", "h='0'")
	a.send("<r xmlns='urn:xmpp:sm:3'/>")
	confirm(true)
	a.expect("<a ", "h='3'")

	say()
	a.breakOff()
	confirm(true)
	srv.resuming(t, "juliet", id, 0).expect("<resumed ", "h='6'")
}
