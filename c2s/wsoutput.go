package c2s

import (
	"bytes"
	"errors"
	"sync"

	"github.com/gobwas/ws"

	"chatd/stanza"
	"chatd/xmlstream"
)

// A wsOutput cuts what we write into messages. Its memory is pooled.
type wsOutput struct {
	scanner *xmlstream.Scanner
	frames  []byte
	message []byte
	header  [ws.MaxHeaderSize]byte
	buffer  bytes.Buffer
}

var wsOutputs = sync.Pool{New: func() any {
	return &wsOutput{scanner: xmlstream.NewScanner(xmlstream.Limits{})}
}}

// drop gives the memory back, unless there is a lot of it.
func (o *wsOutput) drop() {
	if cap(o.frames) <= keptBuffer && cap(o.message) <= keptBuffer {
		wsOutputs.Put(o)
	}
}

var errNotWhole = errors.New("c2s: not a whole element to send")

// encode makes frames of whole elements at the front of p, at least of one, and says how
// many bytes those are. code is what a stream error among them means as the reason for which
// the connection is closed, else 0.
func (o *wsOutput) encode(p []byte) (n int, code ws.StatusCode, err error) {
	o.frames = o.frames[:0]
	for n < len(p) && len(o.frames) < pieceBytes {
		used, why, err := o.encodeOne(p[n:])
		if err != nil {
			return 0, 0, err
		}
		n += used
		code = max(code, why)
	}
	return n, code, nil
}

func (o *wsOutput) encodeOne(p []byte) (n int, code ws.StatusCode, err error) {
	const end = "</stream:stream>"
	if bytes.HasPrefix(p, []byte(end)) {
		o.message = append(o.message[:0], "<close xmlns='"+nsFraming+"'/>"...) // RFC 7395 §3.6
		return len(end), 0, o.appendMessage()
	}
	o.scanner.SetLimits(stanza.RescanLimits(len(p)))
	if bytes.HasPrefix(p, []byte("<?xml ")) {
		o.scanner.Reset()
	} else {
		o.scanner.Resume(xmlstream.ClientScope)
	}
	tok, n, err := o.scanner.Scan(p)
	if err != nil {
		return 0, 0, err
	}
	switch tok.Kind {
	case xmlstream.Open:
		b := append(o.message[:0], "<open xmlns='"+nsFraming+"'"...) // RFC 7395 §3.4
		o.message = append(appendHeaderAttrs(b, tok), "/>"...)
	case xmlstream.Element:
		o.message = appendAlone(o.message[:0], tok)
		code = statusOf(tok)
	default:
		return 0, 0, errNotWhole
	}
	return n, code, o.appendMessage()
}

// appendMessage appends one frame.
func (o *wsOutput) appendMessage() error {
	o.buffer.Reset()
	h := ws.Header{Fin: true, OpCode: ws.OpText, Length: int64(len(o.message))}
	if err := ws.WriteHeaderBuffer(&o.buffer, h, o.header[:]); err != nil {
		return err
	}
	o.frames = append(append(o.frames, o.buffer.Bytes()...), o.message...)
	return nil
}

// appendAlone appends an element with those declarations of the stream header that it
// uses (RFC 7395 §3.3.3).
func appendAlone(b []byte, tok *xmlstream.Token) []byte {
	name := bytes.IndexAny(tok.Raw, " \t\r\n/>")
	b = append(b, tok.Raw[:name]...)
	if !tok.Prefixed && !declaresName(tok, "xmlns") {
		b = append(b, " xmlns='"+stanza.NSClient+"'"...)
	}
	if tok.OuterPrefix && !declaresName(tok, "xmlns:stream") {
		b = append(b, " xmlns:stream='"+stanza.NSStream+"'"...)
	}
	return append(b, tok.Raw[name:]...)
}

func declaresName(tok *xmlstream.Token, name string) bool {
	for _, d := range tok.Decls {
		if string(d.Name) == name {
			return true
		}
	}
	return false
}

// statusOf is the code that says of a stream error what it means for the connection
// (RFC 6455 §7.4.1).
func statusOf(tok *xmlstream.Token) ws.StatusCode {
	if !isStreamError(tok) {
		return 0
	}
	switch string(tok.ChildLocal) {
	case "bad-format", "not-well-formed", "unsupported-encoding", "restricted-xml":
		return ws.StatusInvalidFramePayloadData
	case "policy-violation", "not-authorized":
		return ws.StatusPolicyViolation
	case "internal-server-error":
		return ws.StatusInternalServerError
	case "system-shutdown":
		return ws.StatusGoingAway
	}
	return ws.StatusNormalClosure
}
