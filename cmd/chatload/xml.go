package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"strings"
)

// A load tool trusts its server to send well-formed XML. What it needs is where
// an element ends and a few names and attributes, at the cost of a search.

// maxElement bounds what a server can make the tool buffer, in bytes.
const maxElement = 4 << 20

var (
	errElementTooBig = errors.New("the server sent an element of more than 4 MB")
	errNotXML        = errors.New("the server sent what is not XML")
)

// nextElement finds the first token at depth 1 of a stream: a whole element, the
// stream's start tag, or its end tag. n is how much of buf it and what stood
// before it take; elem is nil while it is not complete.
func nextElement(buf []byte) (elem []byte, n int, err error) {
	start, depth := -1, 0
	for i := 0; ; {
		j := bytes.IndexByte(buf[i:], '<')
		if j < 0 {
			return pending(buf, start)
		}
		i += j
		end := tagEnd(buf[i:])
		if end < 0 {
			return nil, 0, errNotXML
		}
		if end == 0 {
			return pending(buf, max(start, 0))
		}
		tag := buf[i : i+end]
		if start < 0 && tag[1] != '?' {
			start = i
		}
		i += end
		switch {
		case tag[1] == '?' || tag[1] == '!':
			continue
		case tag[1] == '/':
			depth--
		case depth == 0 && isHeader(tag):
			return tag, i, nil
		case tag[len(tag)-2] != '/':
			depth++
		}
		if depth <= 0 {
			return buf[start:i], i, nil
		}
	}
}

// pending is nextElement's answer when buf ends within a token.
func pending(buf []byte, start int) ([]byte, int, error) {
	if len(buf) > maxElement {
		return nil, 0, errElementTooBig
	}
	if start < 0 {
		return nil, len(buf), nil // white space between elements
	}
	return nil, 0, nil
}

var (
	cdataStart = []byte("<![CDATA[")
	cdataEnd   = []byte("]]>")
)

// tagEnd is the length of the tag or CDATA section that b begins with, 0 while it
// is not complete, and -1 when it is neither.
func tagEnd(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if b[1] == '!' {
		if n := min(len(b), len(cdataStart)); !bytes.Equal(b[:n], cdataStart[:n]) {
			return -1
		}
		if end := bytes.Index(b, cdataEnd); end >= 0 {
			return end + len(cdataEnd)
		}
		return 0
	}
	if b[1] == '>' {
		return -1
	}
	var quote byte
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '>':
			return i + 1
		case c == '\'' || c == '"':
			quote = c
		}
	}
	return 0
}

func isHeader(tag []byte) bool {
	name := tagName(tag)
	return string(name) == "stream:stream" || bytes.HasSuffix(name, []byte(":stream"))
}

// tagName is the qualified name of the tag that b begins with.
func tagName(b []byte) []byte {
	from := 1
	if len(b) > 1 && b[1] == '/' {
		from = 2
	}
	for i := from; i < len(b); i++ {
		switch b[i] {
		case ' ', '\t', '\r', '\n', '/', '>':
			return b[from:i]
		}
	}
	return nil
}

// attribute is the raw value of an attribute of the start tag that elem begins
// with; nil if it has none of that name.
func attribute(elem []byte, name string) []byte {
	i := 1 + len(tagName(elem))
	for i < len(elem) {
		for i < len(elem) && isSpace(elem[i]) {
			i++
		}
		eq := bytes.IndexAny(elem[i:], "=>")
		if eq < 0 || elem[i+eq] == '>' {
			return nil
		}
		key := bytes.TrimRight(elem[i:i+eq], " \t\r\n")
		i += eq + 1
		for i < len(elem) && isSpace(elem[i]) {
			i++
		}
		if i >= len(elem) {
			return nil
		}
		end := bytes.IndexByte(elem[i+1:], elem[i])
		if end < 0 {
			return nil
		}
		if string(key) == name {
			return elem[i+1 : i+1+end]
		}
		i += end + 2
	}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// text is what stands between the first start tag of that name without attributes
// or namespace and its end tag.
func text(elem []byte, name string) string {
	_, after, _ := bytes.Cut(elem, []byte("<"+name+">"))
	inside, _, ok := bytes.Cut(after, []byte("</"+name+">"))
	if !ok {
		return ""
	}
	return string(inside)
}

// content is the character data of an element without children.
func content(elem []byte) []byte {
	end := tagEnd(elem)
	last := bytes.LastIndexByte(elem, '<')
	if end <= 0 || last < end {
		return nil
	}
	return bytes.TrimSpace(elem[end:last])
}

// contains reports whether elem has these bytes.
func contains(elem []byte, what string) bool { return bytes.Contains(elem, []byte(what)) }

// condition names what an error says: the names of the error's children.
func condition(elem []byte) string {
	var names []string
	inError := false
	d := xml.NewDecoder(bytes.NewReader(elem))
	d.Strict = false
	for len(names) < 3 {
		t, err := d.RawToken()
		if err != nil {
			break
		}
		s, ok := t.(xml.StartElement)
		switch {
		case !ok:
		case s.Name.Local == "error" || s.Name.Local == "failure":
			inError = true
		case inError:
			names = append(names, s.Name.Local)
		}
	}
	if len(names) == 0 {
		return "unknown"
	}
	return strings.Join(names, " ")
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) //nolint:errcheck // a Builder takes all
	return b.String()
}
