package muc

import (
	"context"
	"encoding/binary"

	"chatd/router"
	"chatd/stanza"
)

// A turn is what the node of the sender says of the place of a stanza among those of its sessions.
type turn struct {
	of     uint64 // the process
	number uint64
	after  uint64 // the one before it, 0 if all before it have an answer
	bound  uint64 // when its session was, nanoseconds since 1970
	try    uint32
}

// A mark is up to which number a room has dealt with what a node has sent.
type mark struct {
	Of     uint64 `json:"of"`
	Number uint64 `json:"number"`
}

func (t turn) append(b []byte) []byte {
	for _, n := range [...]uint64{t.of, t.number, t.after, t.bound} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return binary.LittleEndian.AppendUint32(b, t.try)
}

const turnBytes = 36

// said takes a stanza that a session of another node has sent to a room.
func (s *Service) said(ctx context.Context, b *router.Batch, node string, payload []byte) bool {
	if len(payload) < turnBytes+len(stanza.ID{}) {
		return false
	}
	number := func(at int) uint64 { return binary.LittleEndian.Uint64(payload[at:]) }
	t := turn{number(0), number(8), number(16), number(24), binary.LittleEndian.Uint32(payload[32:])}
	st, err := stanza.Parse(payload[turnBytes+len(stanza.ID{}):])
	if err != nil || st.To.Domain() != s.host.Domain() || st.To.Local() == "" {
		return false
	}
	st.StanzaID = stanza.ID(payload[turnBytes:])
	s.receive(ctx, b, parked{st: st, node: node, turn: t})
	return true
}

// reject tells the node of a stanza that it has to be sent elsewhere.
func (s *Service) reject(p *parked, to string) {
	s.Place.Send(p.node, frameElsewhere, p.st.To.Local(), binary.LittleEndian.AppendUint32(nil, p.turn.try), []byte(to))
}

// inTurn deals with a stanza here if it is its turn.
func (s *Service) inTurn(ctx context.Context, b *router.Batch, p *parked) {
	name, of := p.st.To.Local(), p.node
	if of == "" {
		of = s.Place.Node()
	}
	var had mark
	if r := s.lock(b, name); r != nil {
		if had = r.rep.dealt[of]; had.Of != p.turn.of {
			had.Number = 0
		}
		if p.turn.number <= had.Number {
			s.sayAgain(b, r, of, p.st)
		}
		s.unlock(b, r)
	}
	switch {
	case p.turn.number <= had.Number: // it was dealt with, and the answer lost
		s.answerFor(p)
	case p.node == "":
		s.toRoom(ctx, b, p.sess, boundOf(p.sess), p.st)
	case p.turn.after != 0 && p.turn.after != had.Number:
		s.reject(p, s.Place.Node())
	default:
		s.toRoom(ctx, b, s.node(p.node), int64(p.turn.bound), p.st)
		if !s.marked(b, p) {
			s.answerFor(p)
		}
	}
}

// marked notes how far a room has come, and reports whether the sender's node has been told that with the message itself.
func (s *Service) marked(b *router.Batch, p *parked) bool {
	r := s.lock(b, p.st.To.Local())
	if r == nil {
		return false
	}
	defer r.mu.Unlock()
	if r.rep.dealt == nil {
		r.rep.dealt = make(map[string]mark)
	}
	r.rep.dealt[p.node] = mark{p.turn.of, p.turn.number}
	o := r.of(p.st.From)
	return p.st.StanzaID != stanza.ID{} && r.rep.spoken == p.st.StanzaID && o != nil && o.seat(p.st.From).session == s.node(p.node)
}

func (s *Service) answerFor(p *parked) {
	if p.node != "" {
		s.Place.Send(p.node, frameDealt, p.st.To.Local(), binary.LittleEndian.AppendUint64(nil, p.turn.number))
	}
}

// mergeMarks is how far a room has come of which there were two.
func mergeMarks(a, b map[string]mark) map[string]mark {
	if len(a)+len(b) == 0 {
		return nil
	}
	all := make(map[string]mark, len(a)+len(b))
	for _, marks := range []map[string]mark{a, b} {
		for node, m := range marks {
			if has, ok := all[node]; !ok || m.Of > has.Of || m.Of == has.Of && m.Number > has.Number {
				all[node] = m
			}
		}
	}
	return all
}
