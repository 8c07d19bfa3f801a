package muc

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"chatd/router"
)

// A Place is the cluster that rooms live in. Each room has one home, by a placement that all nodes compute alike. None of
// its methods blocks.
type Place interface {
	// Node is the name of this node.
	Node() string
	// Home is the node where a room should be now, and Second where it would be without this node; "" if that is nowhere.
	Home(room string) string
	Second(room string) string
	// Token says under which placement that is.
	Token() Token
	// Nodes is the other nodes that are up.
	Nodes() []string
	// Split reports whether a node is missing that has not said that it leaves: others may reach it.
	Split() bool
	// Send has a frame dealt with by Service.Frame of another node, or of this one: behind all that was sent for the same room before,
	// on a goroutine that may block. False: the node is gone, or has too much to do; this one takes all until it stops.
	Send(node string, kind byte, room string, parts ...[]byte) bool
}

// A Token orders placements.
type Token struct{ Epoch, Nodes uint64 }

const tokenBytes = 16

func (t Token) append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, t.Epoch), t.Nodes)
}

// cutToken reads what append wrote.
func cutToken(b []byte) (t Token, rest []byte, ok bool) {
	if len(b) < tokenBytes {
		return t, nil, false
	}
	return Token{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}, b[tokenBytes:], true
}

// fences reports whether t is newer than old.
func (t Token) fences(old Token) bool {
	return cmp.Or(cmp.Compare(t.Epoch, old.Epoch), cmp.Compare(t.Nodes, old.Nodes)) > 0
}

// Kinds of frames about a room.
const (
	frameStanza    byte = iota // for the room, of a session of the node's: turn, id that it has as a message, stanza
	frameCast                  // from the room: token, number of recipients, each recipient, stanza without 'to'
	frameMissed                // to the room: a recipient who was not there, stanza
	frameSeats                 // to a node: token, what sessions there are in the room; with Asked that it hears again, if it was behind
	frameCopy                  // to the standby: token, the room, or its next part
	frameChange                // token, what has changed in it
	frameHistory               // time, id, message
	frameForget                // the copy is of no use any more
	frameFlush                 // to who has sessions in a room that leaves this node: where to
	frameFlushed               // the answer, behind all that was sent before; not empty: the new home is out of reach
	frameState                 // to the new home: token, the room, or its next part
	frameArrived               // all of the room has been sent; not empty: its home was lost, or has lost some of its nodes
	frameClaim                 // to all: token; who has the room is to hand it over
	frameNone                  // the answer of who has not
	frameMine                  // the answer of the node that is the home, as it knows better
	frameRejoin                // to a room that has lost its home, or of a node that is behind: token, all sessions of the node that are in it
	frameWho                   // asks for that: when, nanoseconds since 1970
	frameNotLent               // to the home of a room that had been borrowed: it is not there any more
	frameDealt                 // to the sender's node: number up to which the room has dealt with what it has sent
	frameElsewhere             // to the sender's node: try, where it has to be sent from the first on
	frameFollow                // from the room: as frameCast, for a session that has been missed on another node

	// To the node itself.
	frameCheck    // is the room where it should be
	frameDown     // a node is gone: which; not empty behind that: it has left
	frameFrozen   // nobody is busy with the room any more
	frameOverdue  // it waits for others no longer
	frameAgain    // what has no answer is to be sent again; not empty: what there was no room for since then has to be told again
	frameAbsent   // a session was missed, and may be elsewhere by now: which
	frameReturned // a frameCast that a node which is gone has not confirmed: which

	// Of no room.
	frameList   // to a node: the number of a question, a part of the list of rooms
	frameListed // the answer
)

// Frame deals with a frame of another node about a room, or of this one: see Place.Send. The payload is a view.
func (s *Service) Frame(ctx context.Context, b *router.Batch, node string, kind byte, room string, payload []byte) {
	if !s.frame(ctx, b, node, kind, room, payload) {
		s.log.Warn("malformed frame about a room", "node", node, "kind", kind, "room", room)
	}
}

func (s *Service) frame(ctx context.Context, b *router.Batch, node string, kind byte, room string, payload []byte) bool {
	switch kind {
	case frameStanza:
		return s.said(ctx, b, node, payload)
	case frameDealt:
		return s.dealtWith(room, payload)
	case frameElsewhere:
		return s.elsewhere(node, room, payload)
	case frameAgain:
		switch len(payload) {
		case 0:
			s.again(b, room)
		case 8:
			s.tellBehind(room, int64(binary.LittleEndian.Uint64(payload)))
		default:
			return false
		}
	case frameCast:
		return s.castTo(b, node, room, payload, false)
	case frameFollow:
		return s.castTo(b, node, room, payload, true)
	case frameMissed:
		return s.missed(b, node, room, payload)
	case frameAbsent:
		s.lookFor(b, room, string(payload))
	case frameReturned:
		return s.castReturned(b, room, payload)
	case frameSeats:
		return s.seated(node, room, payload)
	case frameCopy, frameChange, frameHistory, frameForget:
		return s.copied(node, room, kind, payload)
	case frameRejoin:
		return s.rejoined(ctx, b, node, room, payload)
	case frameList:
		return s.listFor(node, payload)
	case frameListed:
		return s.listedBy(payload)
	case frameWho:
		return s.asked(room, node, payload)
	case frameNotLent:
		s.notLent(room, node)
	case frameDown:
		gone, left, ok := cutText(payload)
		if !ok {
			return false
		}
		s.lostNode(ctx, b, room, string(gone), len(left) > 0)
	case frameCheck:
		s.check(ctx, b, room)
	default:
		return s.move(ctx, b, node, kind, room, payload)
	}
	return true
}

// reaches reports whether a node is up.
func (s *Service) reaches(node string) bool {
	return node == s.Place.Node() || slices.Contains(s.Place.Nodes(), node)
}

// appendText writes a text behind its length.
func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// cutText reads what appendText wrote, as a view.
func cutText(b []byte) (text, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}
