package c2s

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/gobwas/ws"
)

// subprotocol names XMPP in the WebSocket handshake (RFC 7395 §3.1).
const subprotocol = "xmpp"

// A wsSide is the WebSocket framing of a wire: above it there are the bytes of a stream
// as over TCP, below it the frames of RFC 6455, with or without TLS.
type wsSide struct {
	w      *wire
	input  wsInput
	reply  func(ws.OpCode, []byte) error // control, bound once so that read does not allocate
	code   atomic.Uint32                 // of our close frame, if a stream error was sent
	closed atomic.Bool                   // our close frame is out: nothing follows it
}

// read is transport.read.
func (s *wsSide) read(p []byte) (n int, err error) {
	for {
		n, err = s.input.decode(p, s.reply)
		if err != nil && err != errUnit {
			s.failed(err)
		}
		if n > 0 || err != nil {
			return n, err
		}
		buf := wsBuffers.Get().(*wsBuffer)
		n, err = s.w.readBelow(buf.bytes[:])
		if n <= 0 {
			wsBuffers.Put(buf)
			return n, err
		}
		s.input.buf, s.input.in = buf, buf.bytes[:n]
	}
}

// failed tells the client when its frames are not as they have to be.
func (s *wsSide) failed(err error) {
	var fe *frameError
	if errors.As(err, &fe) {
		_ = s.close(fe.code)
	}
}

// control takes a control frame.
func (s *wsSide) control(op ws.OpCode, payload []byte) error {
	switch op {
	case ws.OpPing:
		if s.closed.Load() {
			return nil
		}
		return s.send(ws.NewPongFrame(payload)) // RFC 6455 §5.5.3
	case ws.OpClose:
		code := ws.StatusNormalClosure
		if len(payload) > 0 {
			var reason string
			code, reason = ws.ParseCloseFrameData(payload)
			if err := ws.CheckCloseFrameData(code, reason); err != nil {
				return &frameError{ws.StatusProtocolError, err}
			}
		}
		if err := s.close(code); err != nil { // RFC 6455 §5.5.1
			return err
		}
		return io.EOF
	}
	return nil // a pong that nobody asked for (RFC 6455 §5.5.3)
}

// close sends our close frame, once.
func (s *wsSide) close(code ws.StatusCode) error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.send(ws.NewCloseFrame(ws.NewCloseFrameBody(code, "")))
}

// send writes one frame between others.
func (s *wsSide) send(f ws.Frame) error {
	b, err := ws.CompileFrame(f)
	if err == nil {
		_, err = s.w.writeBelow(b)
	}
	return err
}

// write is transport.write.
func (s *wsSide) write(p []byte) (n, pending int, err error) {
	if s.closed.Load() {
		return 0, 0, net.ErrClosed
	}
	o := wsOutputs.Get().(*wsOutput)
	defer o.drop()
	n, code, err := o.encode(p)
	if err != nil {
		return 0, 0, err
	}
	if code != 0 {
		s.code.Store(uint32(code))
	}
	pending, err = s.w.writeBelow(o.frames)
	return n, pending, err
}

// finish ends the connection from our side (RFC 7395 §3.6).
func (s *wsSide) finish() { _ = s.close(max(ws.StatusCode(s.code.Load()), ws.StatusNormalClosure)) }

// upgrade makes a WebSocket connection of a request (RFC 7395 §3.1). Any origin may: who
// asks has yet to log in, and browsers send no credentials by themselves.
func (h *web) upgrade(rw http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(webConnKey{}).(*webConn)
	switch {
	case !ok:
		http.Error(rw, "not a connection of ours", http.StatusInternalServerError)
		return
	case h.srv.isClosing():
		http.Error(rw, "this node is being stopped", http.StatusServiceUnavailable)
		return
	case !speaksXMPP(r):
		http.Error(rw, "this is a WebSocket for the subprotocol xmpp", http.StatusBadRequest)
		return
	}
	u := ws.HTTPUpgrader{Timeout: headerTimeout, Protocol: func(p string) bool { return p == subprotocol }}
	_, buffered, _, err := u.Upgrade(r, rw)
	if err != nil {
		h.srv.log.Debug("no WebSocket", "addr", c.RemoteAddr(), "err", err)
		if buffered != nil {
			_ = c.Close() // it is ours since it was hijacked
		}
		return
	}
	s := &wsSide{w: c.wire}
	s.reply = s.control
	if n := buffered.Reader.Buffered(); n > 0 { // frames that came with the request
		buf := wsBuffers.Get().(*wsBuffer)
		n, _ = buffered.Reader.Read(buf.bytes[:min(n, len(buf.bytes))])
		s.input.buf, s.input.in = buf, buf.bytes[:n]
	}
	c.wire.ws = s
	if !h.srv.adopt(c.wire) {
		_ = c.Close()
		return
	}
	c.taken.Store(true)
	h.srv.take(arrival{transport: c.wire, channel: h.srv.channelOf(c)})
}

// speaksXMPP reports whether a request offers the subprotocol.
func speaksXMPP(r *http.Request) bool {
	for _, list := range r.Header["Sec-Websocket-Protocol"] {
		for p := range strings.SplitSeq(list, ",") {
			if strings.TrimSpace(p) == subprotocol {
				return true
			}
		}
	}
	return false
}
