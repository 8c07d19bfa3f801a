package cluster

import (
	"context"
	"sync"

	"chatd/stanza"
)

// returnedMax bounds the stored messages of which it is remembered that a node which is gone may have had them. What is
// over it may come twice, with the same stanza-id (XEP-0359).
const returnedMax = 1 << 17

// Returned is what links gave back and the store has, until the node is back and says what it had, or is started anew.
type returned struct {
	mu    sync.Mutex
	nodes map[string]*returnedTo
	count int
}

// returnedTo is what was on its way to one incarnation of a node.
type returnedTo struct {
	incarnation uint64
	frames      []returnedFrame // in order
	ready       chan struct{}   // closed when all frames are in
}

type returnedFrame struct {
	seq    uint64 // of the frame
	user   string // localpart
	stored int64
}

// begin makes the place for what comes back of an incarnation. What there was of an earlier one is of no use any more.
func (t *returned) begin(node string, incarnation uint64) *returnedTo {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.nodes == nil {
		t.nodes = make(map[string]*returnedTo)
	}
	if old := t.nodes[node]; old != nil {
		t.count -= len(old.frames)
	}
	r := &returnedTo{incarnation: incarnation, ready: make(chan struct{})}
	t.nodes[node] = r
	return r
}

func (t *returned) add(r *returnedTo, f returnedFrame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count < returnedMax {
		r.frames = append(r.frames, f)
		t.count++
	}
}

// take is what is known of an incarnation, which is then forgotten; nil if that is nothing.
func (t *returned) take(node string, incarnation uint64) *returnedTo {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.nodes[node]
	if r == nil || r.incarnation != incarnation {
		return nil
	}
	delete(t.nodes, node)
	t.count -= len(r.frames)
	return r
}

// takeBack finds other ways for the stanzas that a peer did not confirm.
func (s *Service) takeBack(ctx context.Context, p *Peer, unacked []Frame, r *returnedTo) {
	defer close(r.ready)
	for _, f := range unacked {
		if f.Kind != kindStanza {
			continue
		}
		_, raw, ok := cutTo(f.Payload)
		if !ok {
			continue
		}
		st, err := stanza.Parse(raw)
		if err != nil {
			continue
		}
		if seq := s.r.Returned(ctx, st); seq != 0 {
			s.returned.add(r, returnedFrame{f.Seq, st.To.Local(), seq})
		}
	}
}

// PeerReceived implements Handler: what the node had is taken out of the store again.
func (s *Service) PeerReceived(name string, incarnation, upTo uint64) {
	r := s.returned.take(name, incarnation)
	if r == nil {
		return
	}
	s.background(func(ctx context.Context) {
		select {
		case <-r.ready:
		case <-ctx.Done():
			return
		}
		for _, f := range r.frames {
			if f.seq > upTo {
				return
			}
			if err := s.r.Spool.Forget(ctx, f.user, []int64{f.stored}); err != nil {
				s.log.Error("message that was delivered stays in the store", "user", f.user, "err", err)
			}
		}
	})
}
