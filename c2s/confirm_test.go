package c2s

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"chatd/router"
	"chatd/stanza"
)

// A debtor is a service on another node, which has yet to confirm what it was sent.
type debtor struct {
	confirm func(ctx context.Context) bool
}

func (d *debtor) Handle(_ context.Context, b *router.Batch, _ router.Session, _ *stanza.Stanza) {
	b.Owe(d)
}
func (d *debtor) Confirm(ctx context.Context) bool { return d.confirm(ctx) }

// TestAckWaitsForEarlierInput: what another node has not confirmed is not acknowledged, whatever was read with which buffer.
func TestAckWaitsForEarlierInput(t *testing.T) {
	s := startServer(t, nil)
	var confirmed atomic.Bool
	s.router.Serve("other.test", &debtor{func(context.Context) bool { return confirmed.Load() }})
	c := s.login(t, "romeo", "orchard", false)
	c.enable()
	c.send("<message to='x@other.test'/>")
	c.ping("dealt with")
	for range 4 { // the next input gets another one
		scratches.Get()
	}
	c.send("<r xmlns='urn:xmpp:sm:3'/>")
	c.expect("<a ", "h='0'")
	confirmed.Store(true)
	c.send("<r xmlns='urn:xmpp:sm:3'/>")
	c.expect("<a ", "h='2'")
}

// TestEndDoesNotWaitForConfirmation: a session that has to stop does not go on waiting for other nodes.
func TestEndDoesNotWaitForConfirmation(t *testing.T) {
	s := startServer(t, nil)
	asked, ended := make(chan struct{}), make(chan error, 1)
	s.router.Serve("other.test", &debtor{func(ctx context.Context) bool {
		close(asked)
		<-ctx.Done()
		ended <- ctx.Err()
		return false
	}})
	c := s.login(t, "romeo", "orchard", false)
	c.enable()
	sess := s.session(t, c)
	c.send("<message to='x@other.test'/><r xmlns='urn:xmpp:sm:3'/>")
	<-asked
	sess.Close(stanza.StreamConflict)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	<-sess.Done()
}
