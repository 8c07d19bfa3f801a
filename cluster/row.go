package cluster

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"chatd/router"
	"chatd/stanza"
)

// A Row is what every node knows of one connected resource: what router.Row says of it, without the session.
type Row struct {
	JID       stanza.JID // full
	Bound     int64      // when the resource was bound, by its node's hybrid clock, in nanoseconds
	Priority  int8
	Flags     router.Flags
	Available bool
	Detached  bool
}

// A RemoteRow is a row of another node. Its JID keeps up to 16 kB of the table's text in memory: what
// keeps it for longer than a stanza's way through the server clones it.
type RemoteRow struct {
	Row
	Owner *Owner
}

// Wins reports whether the session that a was bound for stays when the same full JID is also bound at b: the
// newer does, and of two at the same instant the one on the node with the greater name. Exactly one of two
// rows on different nodes wins, and all nodes say the same one.
func Wins(aBound int64, aNode string, bBound int64, bNode string) bool {
	if aBound != bBound {
		return aBound > bBound
	}
	return aNode > bNode
}

// A row's record is what is sent of it and what its digest is made of: a byte of state, flags, priority, the
// instant of binding, and the full JID behind its length. The record of a row that is gone is
// its state and its JID.
const (
	stateAvailable byte = 1 << iota
	stateDetached
	stateGone byte = 0x80
)

// maxJID is the length of the longest full JID (RFC 7622 §3.1).
const maxJID = 3*1023 + 2

// append adds the row's record to dst.
func (r *Row) append(dst []byte) []byte {
	return appendText(appendHead(dst, r.state(), r.Flags, r.Priority, r.Bound), r.JID.String())
}

func (r *Row) state() (state byte) {
	if r.Available {
		state |= stateAvailable
	}
	if r.Detached {
		state |= stateDetached
	}
	return state
}

func appendHead(dst []byte, state byte, flags router.Flags, priority int8, bound int64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, state, byte(flags), byte(priority)), uint64(bound))
}

// appendGone adds the record of a row that is gone.
func appendGone(dst []byte, full stanza.JID) []byte {
	return appendText(append(dst, stateGone), full.String())
}

func appendText(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

var errRecord = errors.New("cluster: malformed record of a row")

// A record is one that was read, a view of what it was read from.
type record struct {
	Row
	gone bool
	enc  []byte // the whole record
}

// readRecord takes the first record off b. It is checked: its JID is a normal, full one, and it is
// encoded as append would.
func readRecord(b []byte) (rec record, rest []byte, err error) {
	if len(b) == 0 {
		return rec, nil, errRecord
	}
	state, head := b[0], 1
	switch {
	case state == stateGone:
		rec.gone = true
	case state&^(stateAvailable|stateDetached) != 0 || len(b) < 11:
		return rec, nil, errRecord
	default:
		head = 11
		rec.Available, rec.Detached = state&stateAvailable != 0, state&stateDetached != 0
		rec.Flags, rec.Priority = router.Flags(b[1]), int8(b[2])
		rec.Bound = int64(binary.LittleEndian.Uint64(b[3:]))
	}
	size, n := binary.Uvarint(b[head:])
	if n <= 0 || n > 2 || n == 2 && size < 0x80 || size > maxJID || uint64(len(b)-head-n) < size {
		return rec, nil, errRecord
	}
	end := head + n + int(size)
	text := view(b[head+n : end])
	if rec.JID, err = stanza.ParseJID(text); err != nil || rec.JID.IsBare() || rec.JID.String() != text {
		return rec, nil, errRecord
	}
	rec.enc = b[:end]
	return rec, b[end:], nil
}

// recordSize is the length of the first record of b, which is known to be one.
func recordSize(b []byte) int {
	head := 11
	if b[0] == stateGone {
		head = 1
	}
	size, n := binary.Uvarint(b[head:])
	return head + n + int(size)
}

// view is b as a string without a copy, for as long as b is not changed.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
