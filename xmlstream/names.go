package xmlstream

import (
	"encoding/binary"
	"math/bits"
	"sort"
	"strings"
	"unicode/utf8"
)

// Classes of ASCII bytes. Bytes from 0x80 on have no class: they are decoded.
const (
	classStart uint8 = 1 << iota // NameStartChar but ':'
	className                    // NameChar but ':'
	classSpace                   // white space
	classText                    // stands for itself in character data
	classValue                   // stands for itself in an attribute value, whatever the quotes
	classURI                     // occurs in URIs (RFC 3986 §2)
)

var class = classes()

func classes() (t [256]uint8) {
	for c := 0; c < utf8.RuneSelf; c++ {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		space := c == ' ' || c == '\t' || c == '\n' || c == '\r'
		if letter {
			t[c] |= classStart
		}
		if letter || c >= '0' && c <= '9' || c == '-' || c == '.' {
			t[c] |= className
		}
		if space {
			t[c] |= classSpace
		}
		if t[c]&className != 0 || strings.IndexByte("~:/?#[]@!$&'()*+,;=%", byte(c)) >= 0 {
			t[c] |= classURI
		}
		if (space || c >= ' ') && c != '<' && c != '&' {
			if c != '>' { // may end "]]>"
				t[c] |= classText
			}
			if c != '\'' && c != '"' {
				t[c] |= classValue
			}
		}
	}
	return t
}

// skip is the offset of the first byte from i on that is not of the given class.
func skip(b []byte, i int, of uint8) int {
	for i < len(b) && class[b[i]]&of != 0 {
		i++
	}
	return i
}

// text and value are skip for classText and classValue, where runs are long: they look
// at eight bytes at a time for one that may end the run.
func text(b []byte, i int) int {
	for {
		rest := b[i:]
		for len(rest) >= 8 {
			x := binary.LittleEndian.Uint64(rest)
			stop := x | control(x) | equals(x|each*2, '>') | equals(x, '&') // '<'|2 is '>'
			if stop &= tops; stop != 0 {
				rest = rest[bits.TrailingZeros64(stop)/8:]
				break
			}
			rest = rest[8:]
		}
		i = len(b) - len(rest)
		if len(rest) == 0 || class[rest[0]]&classText == 0 {
			return i
		}
		i++
	}
}

func value(b []byte, i int) int {
	for {
		rest := b[i:]
		for len(rest) >= 8 {
			x := binary.LittleEndian.Uint64(rest)
			stop := x | control(x) | equals(x|each, '\'') | equals(x, '"') | equals(x, '<') // '&'|1 is '\''
			if stop &= tops; stop != 0 {
				rest = rest[bits.TrailingZeros64(stop)/8:]
				break
			}
			rest = rest[8:]
		}
		i = len(b) - len(rest)
		if len(rest) == 0 || class[rest[0]]&classValue == 0 {
			return i
		}
		i++
	}
}

const (
	each = 0x0101010101010101 // one in each byte
	tops = 0x80 * each        // the top bit of each byte
)

// control and equals set the top bits of bytes below ' ' and of those that are c. Above the
// first such byte they may set others as well.
func control(x uint64) uint64        { return (x - each*' ') &^ x }
func equals(x uint64, c byte) uint64 { x ^= each * uint64(c); return (x - each) &^ x }

func skipSpace(b []byte, i int) int { return skip(b, i, classSpace) }

// isChar reports whether XML may contain r (XML 1.0 §2.2, Char).
func isChar(r rune) bool {
	return r >= 0x20 && r <= 0xD7FF || r == '\t' || r == '\n' || r == '\r' ||
		r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

// char is the character of several bytes at b[i] and its length; errMore if
// b ends within it.
func char(b []byte, i int) (rune, int, error) {
	r, size := utf8.DecodeRune(b[i:])
	if size == 1 {
		if !utf8.FullRune(b[i:]) {
			return 0, 0, errMore
		}
		return 0, 0, ErrNotWellFormed
	}
	if !isChar(r) {
		return 0, 0, ErrNotWellFormed
	}
	return r, size, nil
}

// name consumes a qualified name that began at s.mark, and notes its colon.
// It stops before the first byte that does not belong to it, or at the end of b.
func (s *Scanner) name(b []byte, i int) (int, error) {
	for i < len(b) {
		first := i == s.mark || i == s.colon+1
		switch c := b[i]; {
		case class[c]&classStart != 0, !first && class[c]&className != 0:
			i = skip(b, i+1, className)
		case c >= utf8.RuneSelf:
			r, size, err := char(b, i)
			if err != nil {
				return i, err
			}
			if first && !isNameStart(r) || !isNameChar(r) {
				return i, ErrNotWellFormed
			}
			i += size
		case first:
			return i, ErrNotWellFormed
		case c == ':' && s.colon == 0: // Namespaces in XML §4: one colon at most
			s.colon = i
			i++
		default:
			return i, nil
		}
	}
	return i, nil
}

// isNameStart reports whether r, beyond ASCII, may begin a name. The table is that of
// XML 1.0's Fourth Edition. The Fifth, which RFC 6120 refers to, allows more,
// but expat and encoding/xml do not, and a stanza that they reject would end the stream
// of the client that receives it.
func isNameStart(r rune) bool { return inTable(nameStart, r) }

// isNameChar reports whether r, beyond ASCII, may follow in a name.
func isNameChar(r rune) bool { return inTable(nameStart, r) || inTable(nameRest, r) }

func inTable(table []runeRange, r rune) bool {
	k := sort.Search(len(table), func(k int) bool { return rune(table[k].hi) >= r })
	return k < len(table) && rune(table[k].lo) <= r
}
