package cluster

import (
	"bytes"
	"testing"
)

// FuzzRecord reads any bytes as a record. What is taken has to be what writing the same row gives.
func FuzzRecord(f *testing.F) {
	row := simRow(1)
	f.Add(row.append(nil))
	f.Add(appendGone(nil, row.JID))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, rest, err := readRecord(b)
		if err != nil {
			return
		}
		again := rec.Row.append(nil)
		if rec.gone {
			again = appendGone(nil, rec.JID)
		}
		if !bytes.Equal(again, rec.enc) || !bytes.Equal(append(bytes.Clone(rec.enc), rest...), b) || recordSize(b) != len(rec.enc) {
			t.Errorf("%x is read as %+v, which is %x", b, rec.Row, again)
		}
	})
}

// FuzzFrames gives a replica any frames of a peer in a row: one byte of kind, two of length, the payload. It must survive, stay
// consistent, and still take a good snapshot afterwards.
func FuzzFrames(f *testing.F) {
	row := simRow(1)
	k := segmentOf(newHashKey("").text(row.JID.Bare().String()))
	frame := func(kind byte, parts ...[]byte) []byte {
		payload := bytes.Join(parts, nil)
		return append([]byte{kind, byte(len(payload) >> 8), byte(len(payload))}, payload...)
	}
	good := bytes.Join([][]byte{
		frame(kindSnapshot, numbers(1, 0)),
		frame(kindSegment, part{number: 1, segment: k, marks: markFirst | markLast, last: 1}.head(), row.append(nil)),
		frame(kindDeltas, numbers(1, 1), appendGone(nil, row.JID)),
		frame(kindComplete, numbers(1, 1)),
		frame(kindSegment, part{number: 1, segment: k, marks: markFirst | markLast | markRepair, last: 2}.head(), row.append(nil)),
		frame(kindDigest, numbers(1, 1), make([]byte, shardCount*16)),
		frame(kindGot, numbers(1, 1)), frame(kindAsk), frame(kindAsk, []byte{1, 2, 3}), frame(kindPlacement, numbers(9, 9)),
	}, nil)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReplica(ReplicaConfig{Node: "a", Log: silent(), logBytes: 1 << 10, buckets: func(int) int { return 8 }})
		link := &pipe{more: make(chan struct{}, 1)}
		r.PeerUp(link, "b", 1)
		for len(b) >= 3 {
			n := min(int(b[1])<<8|int(b[2]), len(b)-3)
			r.Frame(link, b[0], b[3:3+n])
			r.send()
			b = b[3+n:]
		}
		if err := r.Rows.ConsistencyCheck(); err != nil {
			t.Error(err)
		}
		r.PeerDown(link)
		fresh := &pipe{more: make(chan struct{}, 1)}
		r.PeerUp(fresh, "b", 2)
		r.Frame(fresh, kindSnapshot, numbers(1, 0))
		r.Frame(fresh, kindSegment, append(part{number: 1, segment: k, marks: markFirst | markLast, last: 1}.head(), row.append(nil)...))
		r.Frame(fresh, kindComplete, numbers(1, 0))
		if got, ok := r.Rows.Row(row.JID); !ok || got.Row != row || r.Rows.Len() != 1 {
			t.Errorf("%d rows, %+v", r.Rows.Len(), got)
		}
	})
}
