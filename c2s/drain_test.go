package c2s

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chatd/stanza"
)

// TestDrain: clients are sent to the other nodes in turn and one after the other, and those
// that are still there chat meanwhile.
func TestDrain(t *testing.T) {
	const n = 12
	s := startServer(t, func(c *Config) {
		c.WebTLS = WebNone
		c.DrainTime = time.Hour // the pace counts
		c.DrainTo = []string{"one.chat.test:5222", "[::1]:5223"}
	})
	web := s.loginBy(t, "ws", "juliet", "web")
	var clients []*testClient
	for i := range n {
		clients = append(clients, s.login(t, "romeo", fmt.Sprint("r", i), i%2 == 0))
	}
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	web.expect("<stream:error", "<system-shutdown ")
	told := make(map[string]int)
	for _, c := range clients {
		got := c.closed("see-other-host")
		_, host, _ := strings.Cut(got, "<see-other-host xmlns='"+stanza.NSStreams+"'>")
		host, _, _ = strings.Cut(host, "<")
		told[host]++
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if one, two := told["one.chat.test:5222"], told["[::1]:5223"]; one+two != n || one < n/2-1 || two < n/2-1 {
		t.Errorf("told %v", told)
	}
	if took := time.Since(start); took < (n-1)*drainPace {
		t.Errorf("all were sent away within %v", took)
	}
}

// TestDrainAcknowledges: a client with stream management learns at the end what was dealt with.
func TestDrainAcknowledges(t *testing.T) {
	s := startServer(t, nil)
	a := s.login(t, "romeo", "orchard", false)
	a.enable()
	b := s.login(t, "juliet", "balcony", false)
	for i := range 3 {
		a.send(fmt.Sprintf("<message to='juliet@chat.test/balcony' id='m%d'/>", i))
		b.expect(fmt.Sprintf("id='m%d'", i))
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	a.expect("<a xmlns='urn:xmpp:sm:3' h='3'/>")
	a.closed("system-shutdown")
	b.closed("system-shutdown")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
