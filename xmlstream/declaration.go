package xmlstream

import "bytes"

const byteOrderMark = "\uFEFF"

// declaration consumes the byte order mark and XML declaration that a stream may
// begin with, and is their length.
func (s *Scanner) declaration(buf []byte) (int, error) {
	n, err := opening(buf, byteOrderMark)
	if err != nil {
		return 0, err
	}
	k, err := opening(buf[n:], "<?xml")
	if err != nil {
		return 0, err // the mark too is read again
	}
	if k == 0 {
		return n, nil
	}
	decl := buf[n:]
	if len(decl) == k {
		return 0, errMore
	}
	if class[decl[k]]&classSpace == 0 { // another target: a processing instruction
		return n, ErrRestricted
	}
	from := max(s.pos-n, k)
	end := bytes.Index(decl[from:], []byte("?>"))
	if end < 0 {
		if len(buf) > s.limits.Bytes {
			return 0, ErrTooBig
		}
		s.pos = len(buf) - 1
		return 0, errMore
	}
	end += from
	if n+end+2 > s.limits.Bytes {
		return 0, ErrTooBig
	}
	return n + end + 2, checkDeclaration(decl[k:end])
}

// opening is the length of prefix if buf begins with it, 0 if it does not, and
// errMore if that cannot be known yet.
func opening(buf []byte, prefix string) (int, error) {
	if len(buf) < len(prefix) && string(buf) == prefix[:len(buf)] {
		return 0, errMore
	}
	if len(buf) >= len(prefix) && string(buf[:len(prefix)]) == prefix {
		return len(prefix), nil
	}
	return 0, nil
}

// checkDeclaration looks at what stands between "<?xml" and "?>" (XML 1.0
// §2.8): version, then encoding and standalone if present, in that order.
func checkDeclaration(decl []byte) error {
	version, rest, ok := pseudoAttr(decl, "version")
	if !ok || string(version) != "1.0" {
		return ErrNotWellFormed
	}
	encoding, rest, ok := pseudoAttr(rest, "encoding")
	if ok && !bytes.EqualFold(encoding, []byte("utf-8")) {
		return ErrEncoding
	}
	standalone, rest, ok := pseudoAttr(rest, "standalone")
	if ok && string(standalone) != "yes" && string(standalone) != "no" {
		return ErrNotWellFormed
	}
	if skipSpace(rest, 0) != len(rest) {
		return ErrNotWellFormed
	}
	return nil
}

// pseudoAttr cuts white space and name='value' from the front of decl.
func pseudoAttr(decl []byte, name string) (value, rest []byte, ok bool) {
	i := skipSpace(decl, 0)
	after, found := bytes.CutPrefix(decl[i:], []byte(name))
	if i == 0 || !found {
		return nil, decl, false
	}
	after, found = bytes.CutPrefix(after[skipSpace(after, 0):], []byte("="))
	after = after[skipSpace(after, 0):]
	if !found || len(after) == 0 || after[0] != '"' && after[0] != '\'' {
		return nil, decl, false
	}
	value, rest, ok = bytes.Cut(after[1:], after[:1])
	if !ok {
		return nil, decl, false
	}
	return value, rest, true
}
