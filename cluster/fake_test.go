package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// quiet is the log of nodes under test; CHATD_CLUSTER_LOG=1 shows it.
func quiet(name string) *slog.Logger {
	var w io.Writer = io.Discard
	if os.Getenv("CHATD_CLUSTER_LOG") != "" {
		w = os.Stderr
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", name)
}

// An event is a call of a Handler.
type event struct {
	what        string // up, down, left, frame, received
	peer        string
	incarnation uint64
	kind        byte
	seq         uint64
	payload     string
	unacked     []Frame
	at          time.Time
}

// A recorder is a Handler that remembers what it was told, and checks that it is told in order.
type recorder struct {
	t      testing.TB
	answer func(ctx context.Context, kind byte, payload []byte) ([]byte, error)
	onUp   func(p *Peer)
	takes  time.Duration // each frame
	silent bool          // frames are counted only

	mu     sync.Mutex
	events []event
	frames int
	up     map[string]*Peer
	last   map[string]uint64
}

func newRecorder(t testing.TB) *recorder {
	return &recorder{t: t, up: make(map[string]*Peer), last: make(map[string]uint64)}
}

func (r *recorder) note(e event) {
	e.at = time.Now()
	r.events = append(r.events, e)
}

func (r *recorder) PeerUp(p *Peer) {
	r.mu.Lock()
	if r.up[p.Name] != nil {
		r.t.Errorf("%s is up twice", p.Name)
	}
	r.up[p.Name] = p
	r.note(event{what: "up", peer: p.Name, incarnation: p.Incarnation})
	r.mu.Unlock()
	if r.onUp != nil {
		r.onUp(p)
	}
}

func (r *recorder) PeerDown(p *Peer, unacked []Frame, left bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up[p.Name] != p {
		r.t.Errorf("%s is down and was not up", p.Name)
	}
	delete(r.up, p.Name)
	what := "down"
	if left {
		what = "left"
	}
	r.note(event{what: what, peer: p.Name, incarnation: p.Incarnation, unacked: unacked})
}

func (r *recorder) Frame(p *Peer, kind byte, seq uint64, payload []byte) {
	time.Sleep(r.takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up[p.Name] != p {
		r.t.Errorf("a frame of %s, which is not up", p.Name)
	}
	key := fmt.Sprintf("%s %d", p.Name, p.Incarnation)
	if seq <= r.last[key] {
		r.t.Errorf("frame %d of %s behind %d", seq, key, r.last[key])
	}
	r.last[key] = seq
	r.frames++
	if !r.silent {
		r.note(event{what: "frame", peer: p.Name, incarnation: p.Incarnation, kind: kind, seq: seq, payload: string(payload)})
	}
}

func (r *recorder) Request(ctx context.Context, p *Peer, kind byte, payload []byte) ([]byte, error) {
	return r.answer(ctx, kind, payload)
}

func (r *recorder) PeerReceived(name string, incarnation uint64, upTo uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up[name] != nil {
		r.t.Errorf("what %s received comes after PeerUp", name)
	}
	r.note(event{what: "received", peer: name, incarnation: incarnation, seq: upTo})
}

func (r *recorder) PeerForgotten(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up[name] != nil {
		r.t.Errorf("%s is forgotten while it is up", name)
	}
	r.note(event{what: "forgotten", peer: name})
}

func (r *recorder) peer(name string) *Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up[name]
}

func (r *recorder) ups() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.up)
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.frames
}

// of is the events of one kind of one peer.
func (r *recorder) of(peer string, what ...string) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var es []event
	for _, e := range r.events {
		if e.peer == peer && slices.Contains(what, e.what) {
			es = append(es, e)
		}
	}
	return es
}

// payloads is what frames came from a peer, in order.
func (r *recorder) payloads(peer string) []string {
	var ps []string
	for _, e := range r.of(peer, "frame") {
		ps = append(ps, e.payload)
	}
	return ps
}

// eventually polls: in a bubble its time costs nothing.
func eventually(t testing.TB, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func number(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
