package c2s

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/gobwas/ws"

	"chatd/stanza"
	"chatd/xmlstream"
)

// nsFraming is the namespace of a framed stream's header and end (RFC 7395 §3.3.2).
const nsFraming = "urn:ietf:params:xml:ns:xmpp-framing"

// maxElementName bounds how much of a message is kept to see what element it is.
const maxElementName = 64

// A wsInput turns a client's frames into the bytes of a stream. Between two reads it
// keeps no more than the beginning of a header, of a message or of a control frame.
// It belongs to the reading goroutine.
type wsInput struct {
	buf   *wsBuffer // pooled; nil when in is empty
	in    []byte    // what is left of it
	out   []byte    // stream bytes to give before all else
	ends  bool      // with them a message ends
	begun bool      // the first message is through
	err   error     // why there is no more

	head   [ws.MaxHeaderSize]byte
	heads  uint8     // bytes of a frame's header in head
	frame  ws.Header // the frame under way; Length is what is missing of it
	inside bool      // there is one
	masked int       // how many of its bytes are unmasked
	state  ws.State  // whether a message is under way in fragments
	part   wsPart
	held   []byte // the beginning of a message
	ctl    []byte // the beginning of a control frame's payload
}

// A wsPart says how the next bytes of a message are to be taken.
type wsPart uint8

const (
	wsName wsPart = iota // the name of its element is not complete
	wsHeld               // it is kept until it is complete
	wsRest               // it goes through
)

// A wsBuffer is what frames are read into.
type wsBuffer struct {
	bytes  [cipherBytes]byte
	header [ws.MaxHeaderSize]byte
	reader bytes.Reader
}

var wsBuffers = sync.Pool{New: func() any { return new(wsBuffer) }}

// A frameError is why a WebSocket connection fails (RFC 6455 §7.1.7).
type frameError struct {
	code ws.StatusCode
	err  error
}

func (e *frameError) Error() string { return fmt.Sprintf("c2s: WebSocket: %v", e.err) }
func (e *frameError) Unwrap() error { return e.err }

// decode moves stream bytes to p until it has no more, p is full, or a message ends, which
// err tells by being errUnit. control gets each control frame. Other errors are final.
func (i *wsInput) decode(p []byte, control func(op ws.OpCode, payload []byte) error) (n int, err error) {
	if i.err != nil {
		return 0, i.err
	}
	n, err = i.decodeSome(p, control)
	if err != nil && err != errUnit {
		i.err = err
	}
	if i.buf != nil && len(i.in) == 0 {
		wsBuffers.Put(i.buf)
		i.buf, i.in = nil, nil
	}
	return n, err
}

func (i *wsInput) decodeSome(p []byte, control func(op ws.OpCode, payload []byte) error) (n int, err error) {
	for {
		m := copy(p[n:], i.out)
		n += m
		if i.out = i.out[m:]; len(i.out) == 0 && i.ends {
			i.ends, i.out = false, nil
			return n, errUnit
		}
		if n == len(p) || len(i.in) == 0 {
			return n, nil
		}
		if !i.inside {
			if ok, err := i.readHeader(); !ok {
				return n, err
			}
		}
		if i.frame.OpCode.IsControl() {
			err = i.readControl(control)
		} else {
			m, err = i.readData(p[n:])
			n += m
		}
		if err != nil {
			return n, err
		}
	}
}

// readHeader reads a frame's header. Neither ok nor an error means that it is not complete.
func (i *wsInput) readHeader() (ok bool, err error) {
	for i.heads < ws.MinHeaderSize || int(i.heads) < headerSize(i.head[1]) {
		if len(i.in) == 0 {
			return false, nil
		}
		i.head[i.heads] = i.in[0]
		i.heads++
		i.in = i.in[1:]
	}
	i.buf.reader.Reset(i.head[:i.heads])
	i.frame, err = ws.ReadHeaderBuffer(&i.buf.reader, i.buf.header[:])
	i.heads = 0
	if err == nil {
		err = ws.CheckHeader(i.frame, i.state.Set(ws.StateServerSide))
	}
	if err != nil {
		return false, &frameError{ws.StatusProtocolError, err}
	}
	if i.frame.OpCode == ws.OpBinary {
		return false, &frameError{ws.StatusUnsupportedData, errors.New("binary data")} // RFC 7395 §3.2
	}
	i.inside, i.masked = true, 0
	return true, nil
}

// headerSize is how long the header is whose second byte is b (RFC 6455 §5.2).
func headerSize(b byte) int {
	n := ws.MinHeaderSize
	switch b & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if b&0x80 != 0 {
		n += 4
	}
	return n
}

// payload is what there is of the frame under way, at most limit bytes of it, unmasked.
func (i *wsInput) payload(limit int) []byte {
	m := int(min(i.frame.Length, int64(len(i.in)), int64(limit)))
	b := i.in[:m]
	ws.Cipher(b, i.frame.Mask, i.masked)
	i.in = i.in[m:]
	i.masked = (i.masked + m) % 4
	i.frame.Length -= int64(m)
	i.inside = i.frame.Length > 0
	return b
}

// readControl keeps a control frame, of 125 bytes at most, until it is complete.
func (i *wsInput) readControl(control func(ws.OpCode, []byte) error) error {
	i.ctl = append(i.ctl, i.payload(ws.MaxControlFramePayloadSize)...)
	if i.inside {
		return nil
	}
	payload := i.ctl
	i.ctl = nil
	return control(i.frame.OpCode, payload)
}

// readData moves data of a message to p, or keeps it, and notes the message's end.
func (i *wsInput) readData(p []byte) (n int, err error) {
	b := i.payload(len(p))
	ended := !i.inside && i.frame.Fin
	i.state = i.state.Clear(ws.StateFragmented)
	if !ended {
		i.state = i.state.Set(ws.StateFragmented)
	}
	if i.part == wsName && len(i.held) == 0 {
		i.part, err = i.kind(b, ended)
	} else if i.part != wsRest {
		i.held = append(i.held, b...)
		b = nil
		if i.part == wsName {
			i.part, err = i.kind(i.held, ended)
		}
	}
	if err != nil {
		return 0, err
	}
	if i.part == wsRest {
		i.out, i.held = append(i.out, i.held...), nil
		if len(i.out) == 0 {
			n = copy(p, b)
		}
		i.out = append(i.out, b[n:]...)
	} else {
		i.held = append(i.held, b...)
	}
	if len(i.held) > loginStanzaBytes {
		return 0, stanza.StreamPolicyViolation.WithText("element too large") // RFC 6120 §4.9.3.14
	}
	if !ended {
		return n, nil
	}
	i.ends, i.begun = true, true
	if i.part == wsHeld {
		i.out, err = framing(i.held)
		i.held = nil
	}
	i.part = wsName
	return n, err
}

// kind says how to take a message that begins with b: the stream's header and its end are
// kept until they are complete. The first message must be a header (RFC 7395 §3.4).
func (i *wsInput) kind(b []byte, ended bool) (wsPart, error) {
	switch {
	case len(b) == 0 && !ended:
		return wsName, nil
	case len(b) > 0 && b[0] != '<':
		return 0, stanza.StreamBadFormat.WithText("a message must begin with '<'") // RFC 7395 §3.3.3
	case !i.begun:
		return wsHeld, nil
	}
	end := bytes.IndexAny(b, " \t\r\n/>")
	if end < 0 {
		if ended || len(b) > maxElementName {
			return wsRest, nil
		}
		return wsName, nil
	}
	switch name := b[1:end]; string(name[bytes.IndexByte(name, ':')+1:]) {
	case "open", "close", "?xml":
		return wsHeld, nil
	}
	return wsRest, nil
}

// framing turns a whole message into what it stands for in a stream: <open/> and <close/>
// into the header's start and end tag, anything else into itself.
func framing(message []byte) ([]byte, error) {
	b := message
	if bytes.HasPrefix(b, []byte("<?xml ")) { // RFC 7395 §3.3.3: not recommended
		if end := bytes.Index(b, []byte("?>")); end >= 0 {
			b = bytes.TrimLeft(b[end+2:], " \t\r\n")
		}
	}
	sc := xmlstream.NewScanner(xmlstream.Limits{Bytes: loginStanzaBytes, Depth: loginDepth})
	sc.Resume(new(xmlstream.Scope))
	tok, n, err := sc.Scan(b)
	if err != nil {
		return nil, streamError(err)
	}
	if tok.Kind != xmlstream.Element || n != len(b) {
		return nil, stanza.StreamBadFormat.WithText("a message must be one whole element")
	}
	switch {
	case string(tok.Local) != "open" && string(tok.Local) != "close":
		return b, nil
	case string(tok.Space) != nsFraming:
		return nil, stanza.StreamInvalidNamespace // RFC 7395 §3.3.2
	case string(tok.Local) == "close":
		return []byte("</stream:stream>"), nil
	}
	return streamHeader(tok), nil
}

// streamHeader is the header that an <open/> stands for, which has the same attributes
// (RFC 7395 §3.3.1).
func streamHeader(open *xmlstream.Token) []byte {
	b := []byte("<?xml version='1.0'?><stream:stream xmlns='" + stanza.NSClient + "' xmlns:stream='" + stanza.NSStream + "'")
	return append(appendHeaderAttrs(b, open), '>')
}

// appendHeaderAttrs copies the attributes of a stream header from one form to the other.
func appendHeaderAttrs(b []byte, header *xmlstream.Token) []byte {
	for _, a := range header.Attrs {
		switch string(a.Name) {
		case "to", "from", "id", "version", "xml:lang":
			quote := byte('\'')
			if bytes.IndexByte(a.Value, quote) >= 0 {
				quote = '"'
			}
			b = append(append(append(b, ' '), a.Name...), '=', quote)
			b = append(append(b, a.Value...), quote)
		}
	}
	return b
}
