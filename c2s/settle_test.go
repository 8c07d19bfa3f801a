package c2s

import (
	"testing"

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
	certain.Certain(true)
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
