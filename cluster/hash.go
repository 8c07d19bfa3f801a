package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"unsafe"

	"github.com/dchest/siphash"
)

// A hashKey keys the hash that all nodes of a cluster share (SipHash-2-4), so that their digests can be compared, and
// nobody else can find names that meet in one place of the table.
type hashKey struct{ k0, k1 uint64 }

func newHashKey(secret string) hashKey {
	sum := sha256.Sum256([]byte("chatd cluster rows\x00" + secret))
	return hashKey{binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:])}
}

func (k hashKey) bytes(b []byte) uint64 { return siphash.Hash(k.k0, k.k1, b) }

func (k hashKey) text(s string) uint64 {
	return k.bytes(unsafe.Slice(unsafe.StringData(s), len(s)))
}
