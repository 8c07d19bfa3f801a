package cluster

import (
	"encoding/binary"
	"errors"
)

// Kinds of the frames of replication.
const (
	// kindSnapshot begins a snapshot of the sender's rows: its number, and the number of the change after which
	// deltas follow.
	kindSnapshot byte = 1 + iota
	// kindSegment is a part of a segment, of the snapshot with its number or of a repair: number, segment, marks, number of
	// the segment's last change, records. The parts of one follow each other with nothing of the rows between them.
	kindSegment
	// kindComplete ends a snapshot: its number, and the number of the change that has to be there by now.
	kindComplete
	// kindDeltas is changes: number of the snapshot that they follow, number of the first, records.
	kindDeltas
	// kindDigest is number of the snapshot, number of the last change sent, and for each segment number of its last
	// change and sum.
	kindDigest
	// kindGot says how many bytes have been applied since a snapshot began: its number, bytes.
	kindGot
	// kindAsk is for a snapshot, or for the segments whose numbers it has.
	kindAsk
	// kindPlacement is the token of the sender's placement: epoch, hash of the nodes' names.
	kindPlacement
	// kindRetire says that the sender is to be the home of nothing any more, since it is about to leave.
	kindRetire
	// kindReach is the names of the nodes that the sender has links with.
	kindReach
)

// Marks of a part of a segment.
const (
	markFirst byte = 1 << iota
	markLast
	markRepair
)

const (
	segmentHead = 8 + 1 + 1 + 8
	digestSize  = 8 + 8 + shardCount*16
	// frameRows is the most bytes of records in one frame: what is applied in about a millisecond.
	frameRows = 32 << 10
	// window is the most bytes of rows on their way to one peer, so that they never fill the link's queue, nor keep a stanza
	// waiting for long.
	window = 1 << 20
)

var errFrame = errors.New("cluster: malformed frame of replication")

func numbers(ns ...uint64) []byte {
	b := make([]byte, 0, 8*len(ns))
	for _, n := range ns {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// pair reads the two numbers with which most frames begin.
func pair(b []byte) (first, second uint64, rest []byte, err error) {
	if len(b) < 16 {
		return 0, 0, nil, errFrame
	}
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), b[16:], nil
}

// A part is a kindSegment that was read.
type part struct {
	number  uint64
	segment int
	marks   byte
	last    uint64
	records []byte
}

func readPart(b []byte) (part, error) {
	if len(b) < segmentHead || b[9]&^(markFirst|markLast|markRepair) != 0 {
		return part{}, errFrame
	}
	return part{binary.LittleEndian.Uint64(b), int(b[8]), b[9], binary.LittleEndian.Uint64(b[10:]), b[segmentHead:]}, nil
}

func (p part) head() []byte {
	b := make([]byte, 0, segmentHead)
	b = binary.LittleEndian.AppendUint64(b, p.number)
	b = append(b, byte(p.segment), p.marks)
	return binary.LittleEndian.AppendUint64(b, p.last)
}

// records calls do for each record of b, with its index, until one is malformed.
func records(b []byte, do func(i int, rec *record) error) error {
	for i := 0; len(b) > 0; i++ {
		rec, rest, err := readRecord(b)
		if err != nil {
			return err
		}
		if err := do(i, &rec); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// A set of segments.
type segments [shardCount / 64]uint64

func (s *segments) add(k int)   { s[k/64] |= 1 << (k % 64) }
func (s *segments) empty() bool { return *s == segments{} }

// take removes the segments from the set, in ascending order, each as one byte.
func (s *segments) take(most int) []byte {
	var list []byte
	for k := range shardCount {
		if s[k/64]&(1<<(k%64)) != 0 && len(list) < most {
			s[k/64] &^= 1 << (k % 64)
			list = append(list, byte(k))
		}
	}
	return list
}
