package main

import "bytes"

// A marker is what a body carries of its message, in digits of fixed width:
//
//	chatload.RRRRRRRR.SSSSSSSS.NNNNNNNN.TTTTTTTTTTTTTTTT.
//
// run, stream, number, and the time that latency counts from. What other runs
// left on a server is known by its run.
type marker struct {
	run, stream, number uint32
	at                  int64 // ns on the clock of the sending process
}

const (
	markerPrefix = "chatload."
	markerBytes  = len(markerPrefix) + 3*9 + 17
)

const hexDigits = "0123456789abcdef"

func appendHex(b []byte, v uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		b = append(b, hexDigits[v>>(4*i)&15])
	}
	return append(b, '.')
}

func appendMarker(b []byte, m marker) []byte {
	b = append(b, markerPrefix...)
	b = appendHex(b, uint64(m.run), 8)
	b = appendHex(b, uint64(m.stream), 8)
	b = appendHex(b, uint64(m.number), 8)
	return appendHex(b, uint64(m.at), 16)
}

func takeHex(b []byte, digits int) (v uint64, rest []byte, ok bool) {
	for _, c := range b[:digits] {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0, nil, false
		}
	}
	return v, b[digits+1:], b[digits] == '.'
}

var markerBytesPrefix = []byte(markerPrefix)

// findMarker finds the first marker in an element.
func findMarker(elem []byte) (m marker, ok bool) {
	at := bytes.Index(elem, markerBytesPrefix)
	if at < 0 || len(elem)-at < markerBytes {
		return m, false
	}
	b := elem[at+len(markerPrefix):]
	var v [4]uint64
	for i, digits := range [...]int{8, 8, 8, 16} {
		if v[i], b, ok = takeHex(b, digits); !ok {
			return m, false
		}
	}
	return marker{uint32(v[0]), uint32(v[1]), uint32(v[2]), int64(v[3])}, true
}
