package cluster

import (
	"context"
	"errors"
	"testing"
	"time"
)

const testSecret = "a secret of the tests, long enough"

func loopbackConfig(name string, join ...string) Config {
	return Config{Node: name, Gossip: "127.0.0.1:0", Link: "127.0.0.1:0", Join: join, Secret: testSecret, Log: quiet(name)}
}

// startLoopback starts a node on loopback with any ports.
func startLoopback(t testing.TB, name string, h Handler, join ...string) *Node {
	t.Helper()
	n, err := Start(t.Context(), loopbackConfig(name, join...), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func TestLoopback(t *testing.T) {
	ra, rb := newRecorder(t), newRecorder(t)
	rb.answer = func(_ context.Context, kind byte, payload []byte) ([]byte, error) {
		if kind == 21 {
			return nil, errors.New("no")
		}
		return append([]byte("answer to "), payload...), nil
	}
	a := startLoopback(t, "a", ra)
	b := startLoopback(t, "b", rb, a.Status().Gossip)
	eventually(t, "both are up", 5*time.Second, func() bool { return ra.ups() == 1 && rb.ups() == 1 })

	seq, ok := ra.peer("b").Send(1, []byte("one"), []byte(" frame"))
	if !ok || seq != 1 {
		t.Fatalf("sent: %d, %v", seq, ok)
	}
	eventually(t, "the frame", time.Second, func() bool { return rb.count() == 1 })
	if got := rb.of("a", "frame")[0]; got.payload != "one frame" || got.kind != 1 || got.seq != 1 || got.incarnation != a.Incarnation {
		t.Errorf("got %+v", got)
	}
	eventually(t, "the acknowledgement", time.Second, func() bool { f, _ := ra.peer("b").Queued(); return f == 0 })

	got, err := ra.peer("b").Request(t.Context(), 20, []byte("this"))
	if err != nil || string(got) != "answer to this" {
		t.Errorf("request: %q, %v", got, err)
	}
	var remote *RemoteError
	if _, err := ra.peer("b").Request(t.Context(), 21, nil); !errors.As(err, &remote) || remote.Text != "no" {
		t.Errorf("request that fails: %v", err)
	}

	eventually(t, "a heartbeat went round", 2*time.Second, func() bool { return a.Status().Members[0].RoundTrip > 0 })
	if m := a.Status().Members[0]; m.State != StateAlive || m.Name != "b" || !m.Connected || m.Version != versionMax || !m.Gossiped {
		t.Errorf("a's view of b: %+v", m)
	}

	if err := b.Leave(t.Context()); err != nil {
		t.Errorf("leave: %v", err)
	}
	eventually(t, "a knows that b left", time.Second, func() bool { return len(ra.of("b", "left")) == 1 })
	if m := a.Status().Members[0]; m.State != StateLeft || a.Status().Island {
		t.Errorf("a's view of b: %+v", m)
	}
	if len(rb.of("a", "down")) != 1 || len(a.Peers())+len(b.Peers()) != 0 {
		t.Errorf("b has peers: %v", b.Peers())
	}
}
