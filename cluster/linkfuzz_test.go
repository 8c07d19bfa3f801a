package cluster

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

func FuzzHello(f *testing.F) {
	prove := prover(make([]byte, 32), make([]byte, 32), sideDialer)
	h := hello{versionMin: 1, versionMax: 2, name: "a", to: "b", incarnation: 3, known: 4, received: 5, session: 6, domain: "chat.test",
		about: about{versionMin: 1, versionMax: 2, weight: 7, incarnation: 3, link: "127.0.0.1:1", gossip: "127.0.0.1:2"}}
	whole := h.encode(prove)
	f.Add(whole[:len(whole)-proofBytes], true)
	f.Add(whole, false)
	f.Add([]byte(helloMagic), true)
	f.Fuzz(func(t *testing.T, b []byte, proven bool) {
		if proven {
			b = append(bytes.Clone(b), prove(b)...)
		}
		got, err := decodeHello(b, prove)
		if err != nil {
			return
		}
		if !GoodName(got.name) || got.incarnation == 0 {
			t.Fatalf("accepted: %+v", got)
		}
		again, err := decodeHello(got.encode(prove), prove)
		if err != nil || *again != *got {
			t.Fatalf("%+v became %+v, %v", got, again, err)
		}
		decodeRefusal(b)
	})
}

// FuzzLinkFrames has the reader take arbitrary bytes in arbitrary portions. What it hands over has to be what a
// straightforward parser finds.
func FuzzLinkFrames(f *testing.F) {
	begin := appendFrame(nil, kindBegin, binary.BigEndian.AppendUint64(nil, 1))
	f.Add(begin, byte(3))
	f.Add(appendFrame(appendFrame(bytes.Clone(begin), 1, []byte("one")), 2, bytes.Repeat([]byte("long "), 20)), byte(255))
	f.Add(appendFrame(appendFrame(bytes.Clone(begin), kindAck, make([]byte, 8)), 230, []byte("x")), byte(1))
	h := &collector{}
	n := bareNode(f, h)
	f.Fuzz(func(t *testing.T, b []byte, step byte) {
		h.got = nil
		err := feed(bareConn(n), b, int(step)+1)
		want := parse(b)
		if len(h.got) > len(want) || err == nil && len(h.got) != len(want) {
			t.Fatalf("%d frames of %d, %v", len(h.got), len(want), err)
		}
		if !slices.EqualFunc(h.got, want[:len(h.got)], func(a, b Frame) bool { return a.Kind == b.Kind && bytes.Equal(a.Payload, b.Payload) }) {
			t.Fatalf("%v is not %v", h.got, want)
		}
	})
}

// feed is read without a connection: b in portions.
func feed(c *conn, b []byte, step int) error {
	buf := make([]byte, readBytes)
	start, end, begun := 0, 0, false
	for len(b) > 0 {
		n := copy(buf[end:min(len(buf), end+step)], b)
		b = b[n:]
		used, err := c.frames(buf[start:end+n], &begun)
		if err != nil {
			return err
		}
		buf, start, end = makeRoom(buf, start+used, end+n)
	}
	return nil
}

func TestLongFrames(t *testing.T) {
	h := &collector{}
	n := bareNode(t, h)
	b := appendFrame(nil, kindBegin, binary.BigEndian.AppendUint64(nil, 1))
	sizes := []int{0, 1, readBytes - headerBytes, readBytes - 1, readBytes, readBytes + 1, 3, MaxPayload, 5}
	for _, size := range sizes {
		b = appendFrame(b, 1, bytes.Repeat([]byte("x"), size))
	}
	for _, step := range []int{1000, 16 << 10, MaxPayload} {
		h.got = nil
		if err := feed(bareConn(n), b, step); err != nil {
			t.Fatal(err)
		}
		if len(h.got) != len(sizes) {
			t.Fatalf("%d frames", len(h.got))
		}
		for i, f := range h.got {
			if len(f.Payload) != sizes[i] || f.Seq != uint64(i+1) {
				t.Errorf("frame %d: %d bytes", f.Seq, len(f.Payload))
			}
		}
	}
}

// parse is the oracle: the frames that are for the Handler.
func parse(b []byte) (frames []Frame) {
	for len(b) >= headerBytes {
		n := uint64(binary.BigEndian.Uint32(b))
		if n > MaxPayload || uint64(len(b)) < headerBytes+n {
			break
		}
		if b[4] < kindRequest {
			frames = append(frames, Frame{Kind: b[4], Payload: b[headerBytes : headerBytes+n]})
		}
		b = b[headerBytes+n:]
	}
	return frames
}

// A collector keeps frames.
type collector struct {
	counting
	got []Frame
}

func (c *collector) Frame(_ *Peer, kind byte, seq uint64, payload []byte) {
	c.got = append(c.got, Frame{kind, seq, bytes.Clone(payload)})
}

func bareNode(t testing.TB, h Handler) *Node {
	n, err := newNode(Config{Node: "b", Secret: testSecret, Log: quiet("b")}, h)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// bareConn is a connection of a peer, without the goroutines that belong to it.
func bareConn(n *Node) *conn {
	return newConn(secured{}, newLink(n, "a"), newPeer(n, &hello{name: "a", incarnation: 1}, 1, 1, 1), false)
}
