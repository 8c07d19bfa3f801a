package c2s

import (
	"fmt"
	"io"
	"net"
	"net/http"
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

// TestDrainServesHTTP: a client of BOSH that waits for its turn to leave needs connections until then.
func TestDrainServesHTTP(t *testing.T) {
	s, url := startBOSH(t, func(c *Config) { c.DrainTime = time.Hour })
	for i := range 50 { // half a second
		s.login(t, "romeo", fmt.Sprint("r", i), false)
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	<-s.open.Done()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testTimeout}
	post := func(attrs string) string {
		r, err := client.Post(url, "text/xml", strings.NewReader("<body xmlns='"+nsBOSH+"' rid='1' ver='1.6' "+attrs+"/>"))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		got, _ := io.ReadAll(r.Body)
		return string(got)
	}
	if got := post("sid='x'"); !strings.Contains(got, "item-not-found") {
		t.Errorf("got %s", got)
	}
	if got := post("to='chat.test'"); !strings.Contains(got, "system-shutdown") {
		t.Errorf("a new client got %s", got)
	}
	if r, err := client.Get("http://" + s.web + WebSocketPath); err != nil || r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new WebSocket: %v, %v", r, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", s.web); err == nil {
		conn.Close()
		t.Error("HTTP is still served")
	}
}
