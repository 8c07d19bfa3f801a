package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	// maxAsked is how many requests of one peer are answered at the same time; more are
	// answered with ErrBusy at once.
	maxAsked = 256
	// askedFor is how long a request without a deadline may take.
	askedFor = 30 * time.Second
)

// ErrBusy is the answer of a peer that answers too many requests already.
var ErrBusy = errors.New("cluster: peer is busy")

// A RemoteError is what a peer's Handler answered.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return "cluster: peer: " + e.Text }

// An answer is what came of a request.
type answer struct {
	payload []byte
	err     error
}

// Outcomes in an answer.
const (
	outcomeDone byte = iota
	outcomeFailed
	outcomeBusy
)

const requestHead = 8 + 4 + 1 // id, milliseconds left, kind

// Request asks the peer's Handler and waits for its answer. It may have been carried
// out even if an error is returned, unless that is a *RemoteError or ErrBusy.
func (p *Peer) Request(ctx context.Context, kind byte, payload []byte) ([]byte, error) {
	left := askedFor
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	w := make(chan answer, 1)
	id, ok := p.wait(w)
	if !ok {
		return nil, ErrGone
	}
	defer p.unwait(id)
	var head [requestHead]byte
	binary.BigEndian.PutUint64(head[:], id)
	binary.BigEndian.PutUint32(head[8:], uint32(max(left.Milliseconds(), 1)))
	head[12] = kind
	if _, ok := p.send(kindRequest, head[:], payload); !ok {
		return nil, fmt.Errorf("%w, or its queue is full", ErrGone)
	}
	select {
	case a := <-w:
		return a.payload, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Peer) wait(w chan answer) (id uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return 0, false
	}
	p.lastID++
	p.waiting[p.lastID] = w
	return p.lastID, true
}

func (p *Peer) unwait(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, id)
}

// asks takes a request, on the reading goroutine.
func (p *Peer) asks(b []byte) {
	if len(b) < requestHead {
		p.Unknown(kindRequest)
		return
	}
	id := append([]byte(nil), b[:8]...)
	left := time.Duration(binary.BigEndian.Uint32(b[8:])) * time.Millisecond
	kind, payload := b[12], append([]byte(nil), b[requestHead:]...)
	select {
	case p.asked <- struct{}{}:
	default:
		p.send(kindAnswer, id, []byte{outcomeBusy})
		return
	}
	p.node.work.Go(func() {
		defer func() { <-p.asked }()
		ctx, cancel := context.WithTimeout(p.done, min(left, askedFor))
		defer cancel()
		got, err := p.node.handler.Request(ctx, p, kind, payload)
		switch {
		case err != nil:
			p.send(kindAnswer, id, []byte{outcomeFailed}, []byte(err.Error()))
		case len(got) > MaxPayload-16:
			p.send(kindAnswer, id, []byte{outcomeFailed}, []byte("the answer is too long"))
		default:
			p.send(kindAnswer, id, []byte{outcomeDone}, got)
		}
	})
}

// answers takes an answer, on the reading goroutine.
func (p *Peer) answers(b []byte) {
	c := cursor{b, true}
	id, outcome := c.uint64(), c.byte()
	p.mu.Lock()
	w := p.waiting[id]
	delete(p.waiting, id)
	p.mu.Unlock()
	if w == nil || !c.ok {
		return // nobody waits any more
	}
	switch outcome {
	case outcomeDone:
		w <- answer{payload: append([]byte(nil), c.b...)}
	case outcomeBusy:
		w <- answer{err: ErrBusy}
	default:
		w <- answer{err: &RemoteError{string(c.b)}}
	}
}
