package xmlstream

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// content consumes character data up to the next markup.
func (s *Scanner) content(b []byte, i int) (int, error) {
	for i = text(b, i); i < len(b); i = text(b, i) {
		switch b[i] {
		case '<':
			s.lt, s.state = i, inMarkup
			return i + 1, nil
		case '&':
			s.amp, s.back, s.state = i, inContent, inReference
			return i + 1, nil
		case '>': // XML 1.0 §2.4: no "]]>" in character data
			if endsCDATA(b, s.chunk, i) {
				return i, ErrNotWellFormed
			}
			i++
		default:
			_, size, err := char(b, i)
			if err != nil {
				return i, err
			}
			i += size
		}
	}
	return i, nil
}

// endsCDATA reports whether b[i], a '>', ends a "]]>" that lies after from.
func endsCDATA(b []byte, from, i int) bool {
	return i-2 >= from && b[i-1] == ']' && b[i-2] == ']'
}

const cdataOpen = "<![CDATA["

// bang consumes what follows "<!". Only a CDATA section may: RFC 6120 §11.1
// forbids comments and declarations.
func (s *Scanner) bang(b []byte, i int) (int, error) {
	for i < len(b) {
		at := i - s.lt
		if b[i] != cdataOpen[at] {
			if at == 2 {
				return i, ErrRestricted
			}
			return i, ErrNotWellFormed
		}
		if len(s.stack) == 0 { // character data beside the elements of the stream
			return i, ErrNotWellFormed
		}
		i++
		if at == len(cdataOpen)-1 {
			s.state, s.chunk = inCDATA, i
			return i, nil
		}
	}
	return i, nil
}

// cdata consumes a CDATA section and its "]]>".
func (s *Scanner) cdata(b []byte, i int) (int, error) {
	for i = text(b, i); i < len(b); i = text(b, i) {
		switch b[i] {
		case '>':
			i++
			if endsCDATA(b, s.chunk, i-1) {
				s.state, s.chunk = inContent, i
				return i, nil
			}
		case '<', '&':
			i++
		default:
			_, size, err := char(b, i)
			if err != nil {
				return i, err
			}
			i += size
		}
	}
	return i, nil
}

// reference consumes the rest of a reference, whose '&' is at s.amp.
func (s *Scanner) reference(b []byte, i int) (int, error) {
	for i < len(b) && (class[b[i]]&className != 0 || b[i] == '#') {
		i++
	}
	if i == len(b) {
		return i, nil
	}
	if b[i] != ';' {
		return i, ErrNotWellFormed
	}
	if _, err := expand(b[s.amp+1 : i]); err != nil {
		return i, err
	}
	i++
	s.state = s.back
	s.chunk = i
	return i, nil
}

// expand is the character that the reference &ref; stands for.
func expand(ref []byte) (rune, error) {
	switch string(ref) {
	case "lt":
		return '<', nil
	case "gt":
		return '>', nil
	case "amp":
		return '&', nil
	case "apos":
		return '\'', nil
	case "quot":
		return '"', nil
	}
	if len(ref) > 0 && class[ref[0]]&classStart != 0 {
		return 0, ErrRestricted
	}
	digits, ok := bytes.CutPrefix(ref, []byte("#"))
	if !ok || len(digits) == 0 {
		return 0, ErrNotWellFormed
	}
	return charRef(digits)
}

// charRef is the character of a reference's digits: decimal, or hexadecimal after an x.
func charRef(digits []byte) (rune, error) {
	base := 10
	if digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	if significant := bytes.TrimLeft(digits, "0"); len(digits) == 0 || len(significant) > 7 {
		return 0, ErrNotWellFormed
	} else if len(significant) > 0 {
		digits = significant
	}
	n, err := strconv.ParseUint(string(digits), base, 32)
	if err != nil || !isChar(rune(n)) {
		return 0, ErrNotWellFormed
	}
	return rune(n), nil
}

// Unescape appends raw to dst with its predefined entities and character
// references replaced, and returns the longer slice. raw has passed a Scanner.
func Unescape(dst, raw []byte) []byte {
	for {
		amp := bytes.IndexByte(raw, '&')
		if amp < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:amp]...)
		raw = raw[amp+1:]
		end := bytes.IndexByte(raw, ';')
		if end < 0 {
			return dst
		}
		if r, err := expand(raw[:end]); err == nil {
			dst = utf8.AppendRune(dst, r)
		}
		raw = raw[end+1:]
	}
}

// Text appends the character data of an element without child elements, whose
// Token.Inner is inner, with references and CDATA sections replaced and line ends normalized
// (XML 1.0 §2.11), and returns the longer slice. Child elements end the text.
func Text(dst, inner []byte) []byte {
	for len(inner) > 0 {
		lt := bytes.IndexByte(inner, '<')
		if lt < 0 {
			lt = len(inner)
		}
		dst = Unescape(dst, lineEnds(inner[:lt]))
		section, ok := bytes.CutPrefix(inner[lt:], []byte(cdataOpen))
		if !ok {
			break
		}
		var data []byte
		data, inner, _ = bytes.Cut(section, []byte("]]>"))
		dst = append(dst, lineEnds(data)...)
	}
	return dst
}

// lineEnds is b with its line ends as single line feeds. It copies only if it must.
func lineEnds(b []byte) []byte {
	if bytes.IndexByte(b, '\r') < 0 {
		return b
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\r"), []byte("\n"))
}
