package cluster

import (
	"bytes"
	"context"
	"testing"

	"chatd/router"
	"chatd/stanza"
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

// FuzzArrivals deals with any frame about stanzas and sessions. It must survive, and a good one must get through afterwards.
func FuzzArrivals(f *testing.F) {
	cfg := Config{Node: "a", Log: silent()}
	r := router.New(stanza.MustJID("chat.test"), cfg.Log)
	s := &site{Router: r, Service: New(r, cfg), of: new(sites)}
	r.Spool, r.Presence, r.Copies, r.Users = s, noPresence{}, wrapped{}, anybody{}
	s.Sessions = Sessions{
		Look:  func(context.Context, stanza.JID) {},
		Stale: func(context.Context, stanza.JID, router.Kept) {},
	}
	bob := stanza.MustJID("bob@chat.test/game")
	good := append(appendTo(nil, bob), "<message from='alice@chat.test/x' to='bob@chat.test' type='chat'><body>hello</body></message>"...)
	f.Add(kindStanza, good)
	f.Add(kindStanza, append(appendTo(nil, bob), "<iq from='alice@chat.test/x' to='bob@chat.test/game' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"...))
	f.Add(kindStanza, append(appendTo(nil, bob), "<presence from='alice@chat.test/x' type='unavailable'/>"...))
	f.Add(kindEnd, append(appendTo(nil, bob), "conflict\x00elsewhere"...))
	f.Add(kindStale, append(appendTo(nil, bob), 0xff))
	f.Add(kindLook, appendTo(nil, bob))
	f.Add(kindHeld, appendTo(nil, bob.Bare()))
	f.Add(firstRoomKind, []byte{1, 'r', 1, 'n', 0})
	a := newArrival(s.Service)
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		s.of.t = t
		session := s.bind(bob.String(), 0, 0)
		deal := func(kind byte, payload []byte) {
			if wait, _ := a.deal(job{kind: kind}, payload); wait != nil {
				wait()
			}
			if wait := a.flush(); wait != nil {
				wait()
			}
		}
		if _, _, ok := cutTo(payload); ok { // else it does not get this far
			deal(kind, payload)
		}
		s.of.store = sharedStore{}
		if session.closed() != "" {
			<-session.Done()
			session = s.bind(bob.String(), 0, 0)
		}
		session.took()
		deal(kindStanza, good)
		if got := session.bodies(); len(got) != 1 || got[0] != "hello" {
			t.Errorf("bob got %q", got)
		}
		s.Table.Unbind(session)
	})
}
