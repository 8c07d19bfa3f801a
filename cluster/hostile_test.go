package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"chatd/cluster/simnet"
)

func refusals(n *Node, reason string) int {
	return int(testutil.ToFloat64(n.metrics.refused.WithLabelValues(reason)))
}

// dialTLS connects to a node's link port as somebody who knows nothing.
func dialTLS(t *testing.T, n *Node) net.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", n.Status().Link, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestWrongSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simnet.New(1)
		ra, rb := newRecorder(t), newRecorder(t)
		a, err := Start(t.Context(), simConfig(s, 1), ra)
		if err != nil {
			t.Fatal(err)
		}
		cfg := simConfig(s, 2, 1)
		cfg.Secret = "another secret, just as long as that"
		b, err := Start(t.Context(), cfg, rb)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { a.Close(); b.Close(); time.Sleep(5 * time.Second) }()
		time.Sleep(time.Minute)
		if len(b.Status().Members) != 0 || ra.ups()+rb.ups() != 0 {
			t.Error("gossip is understood without the secret")
		}
		if s := b.Status(); !s.Island || !slices.Equal(s.Silent, []string{simIP(1) + ":7946"}) || a.Status().Island {
			t.Errorf("%+v, %+v: who finds nobody should say so, and who looks for nobody not", s, a.Status())
		}
		// The secret is asked for on the link port too.
		said := b.greeting("n01")
		said.to = "n01"
		a.cfg.Node, said.name = "n01", "n00"
		for range 100 {
			_, _, _, err = b.dial(t.Context(), a.Status().Link, said)
		}
		if reasonOf(err) != refusedSecret || refusals(a, refusedSecret) != 100 {
			t.Errorf("%v, %d refusals", err, refusals(a, refusedSecret))
		}
	})
}

func TestNoSecret(t *testing.T) {
	for _, c := range []struct {
		cfg Config
		bad string
	}{
		{Config{Node: "a", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0"}, ""},
		{Config{Node: "a", Gossip: "[::1]:0", Link: "localhost:0", Join: []string{"127.0.0.1:7946"}}, ""},
		{Config{Node: "a", Gossip: "0.0.0.0:0", Link: "127.0.0.1:0"}, "0.0.0.0:0"},
		{Config{Node: "a", Gossip: ":7946", Link: "127.0.0.1:0"}, ":7946"},
		{Config{Node: "a", Gossip: "127.0.0.1:0", Link: "10.0.0.1:0"}, "10.0.0.1:0"},
		{Config{Node: "a", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0", AdvertiseLink: "chat.example:7947"}, "chat.example"},
		{Config{Node: "a", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0", Join: []string{"chat.example"}}, "chat.example"},
		{Config{Node: "a", Secret: "short"}, "16"},
		{Config{Node: "a", Gossip: "10.0.0.1:0", Secret: testSecret}, ""},
		{Config{Node: "A b"}, "node name"},
		{Config{Node: ""}, "node name"},
	} {
		_, err := newNode(c.cfg, newRecorder(t))
		if (err != nil) != (c.bad != "") || err != nil && !strings.Contains(err.Error(), c.bad) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

func TestGarbageOnTheLinkPort(t *testing.T) {
	n := startLoopback(t, "b", newRecorder(t))
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 20 {
		junk := make([]byte, rng.IntN(5000)+5)
		for j := range junk {
			junk[j] = byte(rng.Uint32())
		}
		var c net.Conn
		if i%2 == 0 {
			plain, err := net.Dial("tcp", n.Status().Link)
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			c = plain
		} else {
			c = dialTLS(t, n)
			binary.BigEndian.PutUint32(junk, uint32(len(junk)-headerBytes))
		}
		c.Write(junk)
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("garbage is listened to")
		}
	}
	eventually(t, "all are counted", 5*time.Second, func() bool {
		return refusals(n, refusedGarbled)+refusals(n, refusedSecret)+refusals(n, refusedTLS)+refusals(n, refusedTime) == 20
	})
}

// TestSlowStranger has connections that say nothing, or say it slowly.
func TestSlowStranger(t *testing.T) {
	n := startLoopback(t, "b", newRecorder(t))
	began := time.Now()
	var conns []net.Conn
	for range maxUnprovenAddress + 20 {
		c, err := net.Dial("tcp", n.Status().Link)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	eventually(t, "more than may wait are closed", 2*time.Second, func() bool { return refusals(n, refusedCrowd) == 20 })
	for _, c := range conns {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadAll(c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatal("a silent one may stay")
		}
	}
	if time.Since(began) < handshakeFor {
		t.Error("they had no time")
	}
	eventually(t, "those are counted too", 2*time.Second, func() bool {
		return refusals(n, refusedTime)+refusals(n, refusedTLS) == maxUnprovenAddress
	})
}

// TestStreamsOfOneAddress: who holds streams of gossip open keeps others from having some only of the own address.
func TestStreamsOfOneAddress(t *testing.T) {
	g, err := openGossip("127.0.0.1", 0, quiet("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Shutdown()
	var held []net.Conn
	dial := func(from string) (taken bool) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", g.tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		closed := make(chan struct{})
		go func() {
			c.Read(make([]byte, 1))
			close(closed)
		}()
		select {
		case s := <-g.StreamCh():
			held = append(held, s)
			return true
		case <-closed:
			return false
		}
	}
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for i := range maxStreamsAddress + 3 {
		if dial("127.0.0.1") != (i < maxStreamsAddress) {
			t.Errorf("stream %d", i+1)
		}
	}
	for i := range maxStreams - maxStreamsAddress {
		if !dial("127.0.0.2") {
			t.Errorf("stream %d of another address is not taken", i+1)
		}
	}
	if dial("127.0.0.3") {
		t.Error("there is room for more than there should be")
	}
	held[1].Close() // the first one taken
	if !dial("127.0.0.1") {
		t.Error("its place is not given back")
	}
}

// rogue is a peer by the book up to its hello, and then what the test makes of it.
func rogue(t *testing.T, n *Node, name string) secured {
	t.Helper()
	fake, err := newNode(Config{Node: name, Secret: testSecret, Log: quiet(name)}, newRecorder(t))
	if err != nil {
		t.Fatal(err)
	}
	fake.about = about{versionMin: versionMin, versionMax: versionMax, incarnation: fake.Incarnation, link: "127.0.0.1:1", gossip: "127.0.0.1:1"}
	s, _, _, err := fake.dial(t.Context(), n.Status().Link, fake.greeting(n.Name()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.raw.Close() })
	return s
}

func TestProtocolViolations(t *testing.T) {
	begin := appendFrame(nil, kindBegin, binary.BigEndian.AppendUint64(nil, 1))
	for name, said := range map[string][]byte{
		"no-begin":      appendFrame(nil, 1, []byte("x")),
		"begin-twice":   append(bytes.Clone(begin), begin...),
		"begin-zero":    appendFrame(nil, kindBegin, make([]byte, 8)),
		"begin-short":   appendFrame(nil, kindBegin, make([]byte, 7)),
		"too-long":      append(bytes.Clone(begin), 0xff, 0xff, 0xff, 0xff, 1),
		"ack-of-future": append(bytes.Clone(begin), appendFrame(nil, kindAck, binary.BigEndian.AppendUint64(nil, 99))...),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t)
			n := startLoopback(t, "z", r)
			s := rogue(t, n, name)
			s.Write(said)
			s.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.Copy(io.Discard, s); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection goes on")
			}
			eventually(t, "it is down", 5*time.Second, func() bool { return len(r.of(name, "down")) == 1 })
		})
	}
}

func TestUnknownKindsAreSkipped(t *testing.T) {
	r := newRecorder(t)
	n := startLoopback(t, "z", r)
	s := rogue(t, n, "a")
	b := appendFrame(nil, kindBegin, binary.BigEndian.AppendUint64(nil, 1))
	b = appendFrame(b, 239, []byte("numbered, of a later version"))
	b = appendFrame(b, 254, []byte("not numbered, of a later version"))
	b = appendFrame(b, kindRequest, []byte("short"))
	b = appendFrame(b, kindAnswer, []byte("short"))
	b = appendFrame(b, kindHeartbeat, []byte("short"))
	b = appendFrame(b, 7, []byte("known"))
	s.Write(b)
	eventually(t, "the known one", 2*time.Second, func() bool { return r.count() == 1 })
	if got := r.of("a", "frame")[0]; got.seq != 4 || got.payload != "known" {
		t.Errorf("%+v", got)
	}
	if got := testutil.ToFloat64(n.metrics.unknown); got != 4 {
		t.Errorf("%v counted", got)
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		a, b [2]byte
		want int // 0: refused
	}{
		{[2]byte{1, 1}, [2]byte{1, 2}, 1},
		{[2]byte{1, 3}, [2]byte{2, 2}, 2},
		{[2]byte{1, 1}, [2]byte{2, 3}, 0},
		{[2]byte{4, 5}, [2]byte{2, 3}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := simnet.New(1)
			ca, cb := simConfig(s, 1), simConfig(s, 2, 1)
			ca.speaks, cb.speaks = c.a, c.b
			ra, rb := newRecorder(t), newRecorder(t)
			a, err := Start(t.Context(), ca, ra)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Start(t.Context(), cb, rb)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { a.Close(); b.Close(); time.Sleep(5 * time.Second) }()
			time.Sleep(10 * time.Second)
			ma, mb := a.Status().Members[0], b.Status().Members[0]
			if c.want > 0 {
				if ma.Version != c.want || mb.Version != c.want || ra.peer("n02").Version != c.want {
					t.Errorf("%v and %v speak %d and %d", c.a, c.b, ma.Version, mb.Version)
				}
				return
			}
			for _, m := range []Member{ma, mb} {
				if m.State != StateRefused || !strings.Contains(m.Error, refusedVersion) || !strings.Contains(m.Error, "speaks versions") {
					t.Errorf("%v and %v: %+v", c.a, c.b, m)
				}
			}
			if !a.Status().Island || !b.Status().Island {
				t.Error("they are no islands")
			}
		})
	}
}

// TestOtherDomain: a node of another domain is not linked to, and both say so. Who does not tell its domain is taken.
func TestOtherDomain(t *testing.T) {
	for _, c := range []struct {
		a, b  string
		state string
	}{
		{"chat.test", "chat.test", StateAlive},
		{"chat.test", "", StateAlive},
		{"chat.test", "other.test", StateRefused},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := simnet.New(1)
			ca, cb := simConfig(s, 1), simConfig(s, 2, 1)
			ca.Domain, cb.Domain = c.a, c.b
			a, err := Start(t.Context(), ca, newRecorder(t))
			if err != nil {
				t.Fatal(err)
			}
			b, err := Start(t.Context(), cb, newRecorder(t))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { a.Close(); b.Close(); time.Sleep(5 * time.Second) }()
			time.Sleep(10 * time.Second)
			for _, m := range []Member{a.Status().Members[0], b.Status().Members[0]} {
				if m.State != c.state || c.state == StateRefused && !strings.Contains(m.Error, "other-domain: n0") {
					t.Errorf("%q and %q: %+v", c.a, c.b, m)
				}
			}
		})
	}
}

func TestRequestsAreBounded(t *testing.T) {
	simulate(t, 2, func(t *testing.T, c *simCluster) {
		release := make(chan struct{})
		c.hears[1].answer = func(ctx context.Context, _ byte, _ []byte) ([]byte, error) {
			select {
			case <-release:
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		p := c.hears[0].peer(simName(2))
		outcomes := make(chan error, 2*maxAsked)
		for range maxAsked + 10 {
			go func() {
				_, err := p.Request(t.Context(), 20, nil)
				outcomes <- err
			}()
		}
		time.Sleep(time.Second)
		for range 10 {
			if err := <-outcomes; !errors.Is(err, ErrBusy) {
				t.Errorf("one too many: %v", err)
			}
		}
		close(release)
		for range maxAsked {
			if err := <-outcomes; err != nil {
				t.Error(err)
			}
		}
		// A request across a cut waits, and fails when the peer is down.
		c.Split([]string{simIP(1)}, []string{simIP(2)})
		if _, err := p.Request(t.Context(), 20, nil); !errors.Is(err, ErrGone) {
			t.Errorf("a request to a peer that goes down: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Request(ctx, 20, nil); !errors.Is(err, ErrGone) {
			t.Errorf("a request to a peer that is down: %v", err)
		}
	})
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 3 {
		ra, rb := newRecorder(t), newRecorder(t)
		a := startLoopback(t, "a", ra)
		b := startLoopback(t, "b", rb, a.Status().Gossip)
		eventually(t, "up", 5*time.Second, func() bool { return ra.ups()+rb.ups() == 2 })
		a.Close()
		b.Close()
		if ra.ups()+rb.ups() != 0 {
			t.Error("peers are up after Close")
		}
	}
	eventually(t, "all goroutines have ended", 5*time.Second, func() bool { return runtime.NumGoroutine() <= before })
}
