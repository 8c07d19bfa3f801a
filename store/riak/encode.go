package riak

import (
	"encoding/binary"
	"errors"
	"time"
)

// errDamaged: a value in the database is not one that this package has written.
var errDamaged = errors.New("riak: damaged value")

// An encoder writes what a decoder reads in the same order. Texts may be any bytes.
type encoder []byte

func (e *encoder) number(n int64)   { *e = binary.AppendVarint(*e, n) }
func (e *encoder) time(t time.Time) { e.number(t.Unix()) }
func (e *encoder) flag(b bool) {
	if b {
		e.number(1)
	} else {
		e.number(0)
	}
}
func (e *encoder) text(s string) {
	*e = binary.AppendUvarint(*e, uint64(len(s)))
	*e = append(*e, s...)
}
func (e *encoder) bytes(b []byte) {
	*e = binary.AppendUvarint(*e, uint64(len(b)))
	*e = append(*e, b...)
}

// A decoder remembers that something was wrong, and gives zeros from then on.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) err() error {
	if d.bad {
		return errDamaged
	}
	return nil
}

func (d *decoder) number() int64 {
	n, size := binary.Varint(d.rest)
	if size <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) time() time.Time { return time.Unix(d.number(), 0).UTC() }
func (d *decoder) flag() bool      { return d.number() != 0 }
func (d *decoder) text() string    { return string(d.slice()) }

// bytes is a copy; nil for none.
func (d *decoder) bytes() []byte { return append([]byte(nil), d.slice()...) }

// slice is a part of what is decoded; nil for none.
func (d *decoder) slice() []byte {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || n > uint64(len(d.rest)-size) {
		d.bad, d.rest = true, nil
		return nil
	}
	b := d.rest[size : size+int(n)]
	d.rest = d.rest[size+int(n):]
	if len(b) == 0 {
		return nil
	}
	return b
}

// count is how many follow, each of at least one byte.
func (d *decoder) count() int {
	n := d.number()
	if n < 0 || n > int64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return 0
	}
	return int(n)
}
