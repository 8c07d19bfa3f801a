package muc

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"chatd/router"
)

// A tap keeps what a node sends.
type tap struct {
	*fakeNode
	mu   *sync.Mutex
	sent map[byte][][]byte
}

func (p tap) Send(to string, kind byte, room string, parts ...[]byte) bool {
	p.mu.Lock()
	if len(p.sent[kind]) < 3 {
		p.sent[kind] = append(p.sent[kind], bytes.Join(parts, nil))
	}
	p.mu.Unlock()
	return p.fakeNode.Send(to, kind, room, parts...)
}

// tapped is frames of each kind that nodes send while rooms are entered, talked in, moved, and lose their home.
func tapped(t testing.TB) map[byte][][]byte {
	var mu sync.Mutex
	sent := make(map[byte][][]byte)
	c := newFakeCluster(t, "a", "b", "c")
	for _, n := range c.nodes {
		n.Place = tap{n, &mu, sent}
	}
	alice, bob := c.node("a").client("alice@chat.test/1"), c.node("b").client("bob@chat.test/1")
	for _, room := range []string{"lobby", "hall", "yard"} {
		alice.makes(room, "Alice")
		bob.enter(room, "Bob")
		c.quiet()
		bob.shout(room, "hello")
	}
	c.quiet()
	c.place([]string{"a", "b", "c"}, []string{"a", "b"})
	c.quiet()
	c.kill("c")
	c.quiet()
	mu.Lock()
	defer mu.Unlock()
	return sent
}

// FuzzFrames gives a node that has a room, and one that has somebody in it, any frame of another one. Nothing more is asked of them than to survive: nodes trust each other.
func FuzzFrames(f *testing.F) {
	kinds := 0
	for kind, payloads := range tapped(f) {
		kinds++
		for _, payload := range payloads {
			f.Add(kind, payload)
		}
	}
	if kinds < 8 {
		f.Fatalf("%d kinds of frames", kinds)
	}
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		c := newFakeCluster(t, "a", "b")
		alice := c.node("a").client("alice@chat.test/1")
		alice.enter("lobby", "Alice")
		c.quiet()
		for i, n := range c.nodes {
			dealt := make(chan struct{})
			n.jobs <- func(b *router.Batch) {
				n.Frame(context.Background(), b, c.nodes[1-i].name, kind, "lobby", payload)
				close(dealt)
			}
			<-dealt
		}
		alice.shout("lobby", "hello")
	})
}
