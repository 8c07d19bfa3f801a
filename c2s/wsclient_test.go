package c2s

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"chatd/xmlstream"
)

func serveWeb(tb testing.TB, s *testServer, wg *sync.WaitGroup) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	wg.Go(func() {
		if err := s.ServeWeb(l); err != nil {
			tb.Error(err)
		}
	})
	return l.Addr().String()
}

// kinds are the ways in which clients connect.
var kinds = []string{"plain", "tls", "ws", "wss"}

// webFor has the server's public HTTP fit a kind.
func webFor(kind string) func(*Config) {
	return func(c *Config) {
		if kind == "ws" {
			c.WebTLS = WebNone
		}
	}
}

func (s *testServer) dialKind(tb testing.TB, kind string) *testClient {
	tb.Helper()
	switch kind {
	case "tls":
		return dial(tb, s.direct, clientTLS())
	case "ws":
		return dialFramed(tb, s.web, nil)
	case "wss":
		return dialFramed(tb, s.web, clientTLS())
	}
	return dial(tb, s.addr, nil)
}

// loginBy is login over a connection of a kind.
func (s *testServer) loginBy(tb testing.TB, kind, user, resource string) *testClient {
	tb.Helper()
	s.account(tb, user)
	return loginOn(tb, s.dialKind(tb, kind), user, resource)
}

// A wsClient is a client's side of a WebSocket.
type wsClient struct {
	net.Conn
	tb testing.TB
	br io.Reader
}

// dialWS opens a WebSocket, over TLS where cfg is given.
func dialWS(tb testing.TB, addr string, cfg *tls.Config) *wsClient {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", addr, testTimeout)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testTimeout))
	if cfg != nil {
		cfg = cfg.Clone()
		cfg.NextProtos = nil
		conn = tls.Client(conn, cfg)
	}
	d := ws.Dialer{Protocols: []string{"xmpp"}, Header: ws.HandshakeHeaderHTTP(http.Header{"Origin": {"https://game.test"}})}
	br, hs, err := d.Upgrade(conn, &url.URL{Scheme: "ws", Host: addr, Path: WebSocketPath})
	if err != nil {
		tb.Fatal(err)
	}
	if hs.Protocol != "xmpp" {
		tb.Fatalf("subprotocol %q", hs.Protocol)
	}
	c := &wsClient{Conn: conn, tb: tb, br: conn}
	if br != nil {
		c.br = br
	}
	return c
}

// frame sends one frame as it is.
func (c *wsClient) frame(op ws.OpCode, fin bool, payload string) {
	c.tb.Helper()
	f := ws.MaskFrameInPlace(ws.NewFrame(op, fin, []byte(payload)))
	if err := ws.WriteFrame(c.Conn, f); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *wsClient) text(message string) { c.tb.Helper(); c.frame(ws.OpText, true, message) }

// next is the next frame; the end of the connection is a frame without an opcode.
func (c *wsClient) next() (ws.OpCode, string) {
	c.tb.Helper()
	h, err := ws.ReadHeader(c.br)
	payload := make([]byte, h.Length)
	if err == nil {
		_, err = io.ReadFull(c.br, payload)
	}
	if err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			c.tb.Fatal("nothing came in time")
		}
		return 0, ""
	}
	if h.Masked || !h.Fin {
		c.tb.Fatalf("frame %+v", h)
	}
	return h.OpCode, string(payload)
}

// A framedConn carries a stream over a WebSocket, so that all that can be said over
// TCP can be said over it.
type framedConn struct {
	*wsClient
	scanner *xmlstream.Scanner
	unsent  []byte
	unread  []byte
}

func dialFramed(tb testing.TB, addr string, cfg *tls.Config) *testClient {
	tb.Helper()
	c := &testClient{tb: tb, scanner: xmlstream.NewScanner(xmlstream.Limits{Bytes: 1 << 22})}
	c.conn = &framedConn{wsClient: dialWS(tb, addr, cfg), scanner: xmlstream.NewScanner(xmlstream.Limits{Bytes: 1 << 22})}
	return c
}

// Write sends whole elements in messages of their own, and what no scanner can make sense of
// as it is.
func (c *framedConn) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("<?xml ")) {
		c.scanner.Reset()
	}
	c.unsent = append(c.unsent, p...)
	for len(c.unsent) > 0 {
		tok, n, err := c.scanner.Scan(c.unsent)
		if err != nil {
			c.text(string(c.unsent))
			c.unsent = nil
			break
		}
		switch tok.Kind {
		case xmlstream.None:
			c.unsent = c.unsent[n:]
			return len(p), nil
		case xmlstream.Open:
			c.text(string(append(appendHeaderAttrs([]byte("<open xmlns='"+nsFraming+"'"), tok), "/>"...)))
		case xmlstream.Element:
			c.text(string(tok.Raw))
		case xmlstream.Close:
			c.text("<close xmlns='" + nsFraming + "'/>")
		}
		c.unsent = c.unsent[n:]
	}
	return len(p), nil
}

// Read gives the messages that come as the stream that they stand for, each checked to be
// a document by itself (RFC 7395 §3.3.3).
func (c *framedConn) Read(p []byte) (int, error) {
	for len(c.unread) == 0 {
		h, err := ws.ReadHeader(c.br)
		if err != nil {
			return 0, err
		}
		body := make([]byte, h.Length)
		if _, err := io.ReadFull(c.br, body); err != nil {
			return 0, err
		}
		if h.OpCode != ws.OpText {
			continue
		}
		alone := xmlstream.NewScanner(xmlstream.Limits{Bytes: 1 << 22})
		alone.Resume(new(xmlstream.Scope))
		tok, n, err := alone.Scan(body)
		if err != nil || tok.Kind != xmlstream.Element || n != len(body) || len(tok.Space) == 0 {
			c.tb.Errorf("the message %q is no document: %v", body, err)
			return 0, net.ErrClosed
		}
		switch {
		case string(tok.Space) != nsFraming:
			c.unread = body
		case string(tok.Local) == "open":
			c.unread = streamHeader(tok)
		case string(tok.Local) == "close":
			c.unread = []byte("</stream:stream>")
		}
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}
