package cluster

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// The protocol versions that this build speaks. Two nodes speak the highest that
// both know. Version 1 was that of builds before the first release: a stanza to a room did not
// say when its session was bound, and nobody answered a node that had no room for what a room told.
const (
	versionMin = 2
	versionMax = 2
)

const (
	helloMagic = "chatd-link"
	// maxHello bounds what an unauthenticated connection can make a node read, in bytes.
	maxHello   = 1024
	maxAddress = 255
	// maxNodeName keeps hello and gossip's metadata short.
	maxNodeName = 64
	proofBytes  = sha256.Size
)

// A hello is the first frame in each direction. What it begins with, up to the
// proof, stays as it is in all versions; later ones append.
type hello struct {
	versionMin, versionMax byte
	name                   string // of who says it
	to                     string // of who is to hear it
	incarnation            uint64
	// known is the incarnation of the other that received belongs to, 0: none.
	known    uint64
	received uint64
	// session is the one that is to be resumed, or, in an answer, the one that
	// begins or goes on; 0: none.
	session uint64
	about   about
	domain  string // that it serves; empty: not told
}

// about is what a node tells of itself, by gossip and in its hello.
type about struct {
	versionMin, versionMax byte
	leaving                bool
	weight                 uint16
	incarnation            uint64
	link                   string // host:port where it takes links
	gossip                 string // host:port, in hellos only
}

var errGarbled = errors.New("garbled")

func appendString(b []byte, s string) []byte {
	return append(append(b, byte(len(s))), s...)
}

// A cursor reads fields until there are none; then ok is false for good.
type cursor struct {
	b  []byte
	ok bool
}

func (c *cursor) bytes(n int) []byte {
	if !c.ok || len(c.b) < n {
		c.ok = false
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) byte() byte {
	if b := c.bytes(1); c.ok {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.bytes(2); c.ok {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	if b := c.bytes(8); c.ok {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) string() string { return string(c.bytes(int(c.byte()))) }

func (a about) append(b []byte) []byte {
	var leaving byte
	if a.leaving {
		leaving = 1
	}
	b = append(b, a.versionMin, a.versionMax, leaving)
	b = binary.BigEndian.AppendUint16(b, a.weight)
	b = binary.BigEndian.AppendUint64(b, a.incarnation)
	b = appendString(b, a.link)
	return appendString(b, a.gossip)
}

func (a *about) read(c *cursor) {
	a.versionMin, a.versionMax, a.leaving = c.byte(), c.byte(), c.byte() == 1
	a.weight, a.incarnation = c.uint16(), c.uint64()
	a.link, a.gossip = c.string(), c.string()
}

func (h *hello) encode(proof func(said []byte) []byte) []byte {
	b := append([]byte(helloMagic), h.versionMin, h.versionMax)
	b = appendString(b, h.name)
	b = appendString(b, h.to)
	for _, n := range []uint64{h.incarnation, h.known, h.received, h.session} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = h.about.append(b)
	b = appendString(b, h.domain)
	return append(b, proof(b)...)
}

// decodeHello takes the proof, which is at the end, before it looks at anything else.
func decodeHello(b []byte, proof func(said []byte) []byte) (*hello, error) {
	if len(b) < len(helloMagic)+proofBytes || string(b[:len(helloMagic)]) != helloMagic {
		return nil, errGarbled
	}
	said, proven := b[:len(b)-proofBytes], b[len(b)-proofBytes:]
	if !hmac.Equal(proof(said), proven) {
		return nil, refusal{reason: refusedSecret}
	}
	c := cursor{said[len(helloMagic):], true}
	h := &hello{versionMin: c.byte(), versionMax: c.byte(), name: c.string(), to: c.string(),
		incarnation: c.uint64(), known: c.uint64(), received: c.uint64(), session: c.uint64()}
	h.about.read(&c)
	if len(c.b) > 0 { // builds of before do not tell it
		h.domain = c.string()
	}
	if !c.ok || !GoodName(h.name) || h.incarnation == 0 {
		return nil, errGarbled
	}
	return h, nil
}

// GoodName reports whether a node may be called so: 1 to 64 lower-case letters, digits, "-", "_" and ".",
// which can be written in a log, a label and a stream-management id as they are.
func GoodName(s string) bool {
	return len(s) > 0 && len(s) <= maxNodeName && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// suits is the highest version that both sides speak, or a refusal.
func (h *hello) suits(own *hello) (version int, err error) {
	v := min(h.versionMax, own.versionMax)
	switch {
	case v < max(h.versionMin, own.versionMin):
		return 0, refusal{refusedVersion, fmt.Sprintf("%s speaks versions %d to %d, %s speaks %d to %d",
			h.name, h.versionMin, h.versionMax, h.to, own.versionMin, own.versionMax)}
	case h.domain != own.domain && h.domain != "" && own.domain != "":
		return 0, refusal{refusedDomain, fmt.Sprintf("%s serves %s, %s serves %s", h.name, h.domain, h.to, own.domain)}
	}
	return int(v), nil
}

// Why a node will not be linked to another. Each word is the metric's label and
// the log's.
const (
	refusedSecret  = "wrong-secret"
	refusedVersion = "incompatible-version"
	refusedDomain  = "other-domain"
	refusedName    = "name-in-use"
	refusedTarget  = "not-me" // meant for a node of another name
	refusedLeaving = "leaving"
	refusedGarbled = "garbled"
	refusedCrowd   = "too-many" // unproven connections
	refusedTime    = "timeout"
	refusedTLS     = "tls-failed"
)

// A refusal is the end of a handshake for a reason that the other side is told.
type refusal struct{ reason, detail string }

func (r refusal) Error() string {
	if r.detail == "" {
		return r.reason
	}
	return r.reason + ": " + r.detail
}

func decodeRefusal(b []byte) error {
	c := cursor{b, true}
	r := refusal{c.string(), c.string()}
	switch r.reason {
	case refusedSecret, refusedVersion, refusedDomain, refusedName, refusedTarget, refusedLeaving, refusedGarbled:
		return fmt.Errorf("refused by the other side: %w", r)
	}
	return fmt.Errorf("refused by the other side: %w", errGarbled)
}

// reasonOf is the word for why a handshake failed.
func reasonOf(err error) string {
	var r refusal
	switch {
	case errors.As(err, &r):
		return r.reason
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return refusedTime
	case errors.Is(err, errTLS):
		return refusedTLS
	}
	return refusedGarbled
}

// refuse tells the other side why, as far as it listens.
func refuse(conn net.Conn, err error) {
	r := refusal{reason: refusedGarbled}
	errors.As(err, &r)
	b := appendString(appendString(nil, r.reason), r.detail)
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	conn.Write(appendFrame(nil, kindRefused, b))
}

// prover makes the function that proves knowledge of the secret for one side of one TLS
// connection. What is said has both names in it.
func prover(key, binding []byte, side string) func([]byte) []byte {
	return func(said []byte) []byte {
		m := hmac.New(sha256.New, key)
		m.Write(appendString(nil, side))
		m.Write(binding)
		m.Write(said)
		return m.Sum(nil)
	}
}

// readShort reads one frame of a handshake, which may not be long.
func readShort(r io.Reader) (kind byte, payload []byte, err error) {
	var head [headerBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxHello {
		return 0, nil, errGarbled
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[4], payload, err
}
