package xmlstream

import "bytes"

// startTag consumes as much as there is of a start or empty-element tag. Each
// case falls into the next, which the input usually goes on with; after a
// cut the switch enters where the last Scan stopped.
func (s *Scanner) startTag(b []byte, i int) (_ int, err error) {
	for i < len(b) {
		switch s.state {
		case inTagName:
			if i, err = s.name(b, i); err != nil || i == len(b) {
				return i, err
			}
			s.elem = s.qname(i)
			s.state, s.gap = inTag, false
			fallthrough
		case inTag:
			from := i
			i = skipSpace(b, i)
			s.gap = s.gap || i > from
			if i == len(b) {
				return i, nil
			}
			switch b[i] {
			case '>':
				return i + 1, s.open(b, i+1, false)
			case '/':
				s.state = inEmptyTag
				i++
				continue
			}
			if !s.gap {
				return i, ErrNotWellFormed
			}
			s.mark, s.colon = i, 0
			s.state = inAttrName
			fallthrough
		case inAttrName:
			if i, err = s.name(b, i); err != nil || i == len(b) {
				return i, err
			}
			if len(s.attrs)-s.keep == s.limits.Attrs {
				return i, ErrTooDeep
			}
			s.attrs = append(s.attrs, attr{name: s.qname(i)})
			s.state = inEquals
			fallthrough
		case inEquals:
			if i = skipSpace(b, i); i == len(b) {
				return i, nil
			}
			if b[i] != '=' {
				return i, ErrNotWellFormed
			}
			i++
			s.state = inQuote
			fallthrough
		case inQuote:
			if i = skipSpace(b, i); i == len(b) {
				return i, nil
			}
			if s.quote = b[i]; s.quote != '"' && s.quote != '\'' {
				return i, ErrNotWellFormed
			}
			i++
			s.mark = i
			s.state = inValue
			fallthrough
		case inValue:
			if i, err = s.value(b, i); err != nil || s.state != inTag {
				return i, err
			}
		case inEmptyTag:
			if b[i] != '>' {
				return i, ErrNotWellFormed
			}
			return i + 1, s.open(b, i+1, true)
		}
	}
	return i, nil
}

// qname is the name from s.mark to end.
func (s *Scanner) qname(end int) qname {
	return qname{span{int32(s.mark), int32(end)}, int32(s.colon)}
}

// value consumes an attribute value and its closing quote.
func (s *Scanner) value(b []byte, i int) (int, error) {
	for i = value(b, i); i < len(b); i = value(b, i) {
		switch c := b[i]; {
		case c == s.quote:
			s.attrs[len(s.attrs)-1].value = span{int32(s.mark), int32(i)}
			s.state, s.gap = inTag, false
			return i + 1, nil
		case c == '"' || c == '\'':
			i++
		case c == '&':
			s.amp, s.back, s.state = i, inValue, inReference
			return i + 1, nil
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

// open completes a start tag that ends before end.
func (s *Scanner) open(b []byte, end int, empty bool) error {
	if len(s.stack) == s.limits.Depth {
		return ErrTooDeep
	}
	f := frame{name: s.elem.span, bindings: int32(len(s.bindings)), def: s.def}
	space, err := s.resolveTag(b)
	if err != nil {
		return err
	}
	switch len(s.stack) {
	case 0:
		s.top, s.topSpace, s.keep = s.elem, space, len(s.attrs)
		s.inner, s.innerEnd = end, end
		if s.phase == inProlog {
			s.kind, s.state = Open, finished
			s.emptyRoot = empty
			return nil
		}
	case 1:
		if s.children++; s.children == 1 {
			s.child, s.childSpace = s.elem, space
		}
	}
	if !empty {
		s.stack = append(s.stack, f)
		s.state, s.chunk = inContent, end
		return nil
	}
	s.leave(f, end)
	return nil
}

// leave returns to what held before the element f, which ends before end.
func (s *Scanner) leave(f frame, end int) {
	s.bindings, s.def = s.bindings[:f.bindings], f.def
	s.state, s.chunk = inContent, end
	if len(s.stack) == 0 {
		s.kind, s.state = Element, finished
	}
}

// endTag consumes as much as there is of an end tag. Its name is compared with
// the start tag's, which has been validated.
func (s *Scanner) endTag(b []byte, i int) (int, error) {
	if s.state == inEndName {
		want := s.openName(b)[i-s.mark:]
		got := b[i:min(i+len(want), len(b))]
		if !bytes.HasPrefix(want, got) {
			return i, ErrNotWellFormed
		}
		i += len(got)
		if len(got) < len(want) {
			return i, nil
		}
		s.state = inEndSpace
	}
	if i = skipSpace(b, i); i == len(b) {
		return i, nil
	}
	if b[i] != '>' {
		return i, ErrNotWellFormed
	}
	i++
	if len(s.stack) == 0 {
		s.kind, s.state = Close, finished
		return i, nil
	}
	f := s.stack[len(s.stack)-1]
	s.stack = s.stack[:len(s.stack)-1]
	s.innerEnd = s.lt
	s.leave(f, i)
	return i, nil
}

// openName is the name that an end tag must have.
func (s *Scanner) openName(b []byte) []byte {
	if len(s.stack) == 0 {
		return s.scope.root
	}
	return s.stack[len(s.stack)-1].name.of(b)
}
