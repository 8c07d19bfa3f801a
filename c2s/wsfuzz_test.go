package c2s

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"chatd/xmlstream"
)

// A frame sent by a client, masked.
func clientFrame(op ws.OpCode, fin bool, payload string) string {
	return string(ws.MustCompileFrame(ws.MaskFrameWith(ws.NewFrame(op, fin, []byte(payload)), [4]byte{1, 2, 3, 4})))
}

// decodeAll gives frames to a codec in pieces of in bytes, and takes what comes of them in
// pieces of out bytes. It tells the end of each message, each control frame and the error.
func decodeAll(frames []byte, in, out int) string {
	var i wsInput
	var got strings.Builder
	control := func(op ws.OpCode, payload []byte) error {
		fmt.Fprintf(&got, "{%d %q}", op, payload)
		if op == ws.OpClose {
			return io.EOF
		}
		return nil
	}
	p := make([]byte, out)
	for {
		n, err := i.decode(p, control)
		got.Write(p[:n])
		switch {
		case err == errUnit:
			got.WriteString("|")
		case err != nil:
			fmt.Fprintf(&got, "{%v}", err)
			return got.String()
		case n == 0 && len(frames) == 0:
			return got.String()
		case n == 0:
			buf := wsBuffers.Get().(*wsBuffer)
			m := copy(buf.bytes[:min(in, len(buf.bytes))], frames)
			i.buf, i.in, frames = buf, buf.bytes[:m], frames[m:]
		}
	}
}

// FuzzWebSocketInput: however frames are cut on their way, the same comes of them, and no
// more than they hold.
func FuzzWebSocketInput(f *testing.F) {
	text := func(s string) string { return clientFrame(ws.OpText, true, s) }
	open := text(wsOpen)
	for _, s := range []string{
		"", open, open + text("<presence/>"), open + text("<message><body>"+strings.Repeat("x", 70000)+"</body></message>"),
		open + clientFrame(ws.OpText, false, "<pre") + clientFrame(ws.OpPing, true, "?") + clientFrame(ws.OpContinuation, true, "sence/>"),
		open + text("<close xmlns='"+nsFraming+"'/>") + clientFrame(ws.OpClose, true, "\x03\xe8bye"),
		open + text("") + text(" ") + text("<") + text("<open>") + text("<?xml version='1.0'?><presence/>"),
		text("<presence/>"), text("<f:open xmlns:f='" + nsFraming + "'/>"), clientFrame(ws.OpBinary, true, "x"),
		open + clientFrame(ws.OpText, false, "<a") + text("<presence/>"), "\x81\x05hello", "\x81\xd00000000", "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00<",
	} {
		f.Add([]byte(s), uint8(1), uint8(7))
	}
	f.Fuzz(func(t *testing.T, frames []byte, in, out uint8) {
		whole := decodeAll(slices.Clone(frames), len(frames)+1, 2*len(frames)+4096)
		if got := decodeAll(slices.Clone(frames), int(in)+1, int(out)+1); got != whole {
			t.Errorf("in pieces %q\nas a whole %q", got, whole)
		}
		if len(whole) > 8*len(frames)+4096 {
			t.Errorf("%d bytes became %d", len(frames), len(whole))
		}
	})
}

// FuzzWebSocketOutput: whatever elements we send, each is one message, a document by itself
// that means the same as it does in the stream.
func FuzzWebSocketOutput(f *testing.F) {
	for _, s := range []string{
		"<message/>", "<presence from='a'/><iq id=\"'\"><query xmlns='x'/></iq>", "<stream:features><bind xmlns='b'/></stream:features>",
		"<message><stream:x/></message>", "<a xmlns='b'/>", "<stream:error xmlns:stream='http://etherx.jabber.org/streams'><x xmlns='y'/></stream:error></stream:stream>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		in := xmlstream.NewScanner(xmlstream.Limits{})
		in.Resume(xmlstream.ClientScope)
		o := wsOutputs.Get().(*wsOutput)
		defer o.drop()
		for rest := stream; ; {
			tok, n, err := in.Scan(rest)
			if err != nil || tok.Kind != xmlstream.Element && tok.Kind != xmlstream.Close {
				return
			}
			if tok.Prefixed && string(tok.ChildSpace) == "jabber:client" {
				return // we send no such thing, and it would need another declaration
			}
			want := tok
			used, _, err := o.encode(tok.Raw)
			if err != nil || used != len(tok.Raw) {
				t.Fatalf("%q: %d, %v", tok.Raw, used, err)
			}
			r := bytes.NewReader(o.frames)
			h, err := ws.ReadHeader(r)
			if err != nil || int(h.Length) != r.Len() || !h.Fin || h.OpCode != ws.OpText || h.Masked {
				t.Fatalf("frame %+v with %d bytes, %v", h, r.Len(), err)
			}
			message, _ := io.ReadAll(r)
			alone := xmlstream.NewScanner(xmlstream.Limits{})
			alone.Resume(new(xmlstream.Scope))
			got, m, err := alone.Scan(message)
			if err != nil || got.Kind != xmlstream.Element || m != len(message) {
				t.Fatalf("%q is no document: %v", message, err)
			}
			if want.Kind == xmlstream.Close {
				return
			}
			if !bytes.Equal(got.Space, want.Space) || !bytes.Equal(got.Local, want.Local) || !bytes.Equal(got.Inner, want.Inner) ||
				!bytes.Equal(got.ChildSpace, want.ChildSpace) || len(got.Attrs) != len(want.Attrs) {
				t.Fatalf("%q became %q", want.Raw, message)
			}
			rest = rest[n:]
		}
	})
}

// FuzzFramedSession gives the same to one server over TCP and to another one over WebSocket:
// they must answer the same.
func FuzzFramedSession(f *testing.F) {
	for _, s := range []string{
		"<presence/>", "<message to='romeo@chat.test'><body>&lt;&#x41;</body></message>", "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
		"<iq type='set' id='2'><query xmlns='jabber:iq:roster'><item jid='juliet@chat.test'/></query></iq>", "<foo/>", "<iq/>", "<message from='x@y'/>",
		"<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", "<c:message xmlns:c='jabber:client' to='romeo@chat.test/f'/>",
		"<iq type='get' id='3' to='chat.test'><ping xmlns='urn:xmpp:ping'/></iq><r xmlns='urn:xmpp:sm:3'/>", "<enable xmlns='urn:xmpp:sm:3'/><r xmlns='urn:xmpp:sm:3'/>",
		"<message to='romeo@chat.test'><stream:x/></message>", "<presence", "<open xmlns='x'/>",
	} {
		f.Add([]byte(s))
	}
	servers := []*testServer{startServer(f, plainWeb), startServer(f, plainWeb)}
	for _, s := range servers {
		s.quickLogin(f, "romeo")
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if !comparable(input) {
			t.Skip()
		}
		var said [2]string
		for i, s := range servers {
			var c *testClient
			if i == 0 {
				c = dial(t, s.addr, nil)
			} else {
				c = dialFramed(t, s.web, nil)
			}
			c.bringTo(bound, "f")
			_ = c.conn.SetDeadline(time.Now().Add(testTimeout))
			_, _ = c.conn.Write(slices.Concat(input, []byte("</stream:stream>")))
			all, err := io.ReadAll(c.conn)
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Fatalf("the connection does not end; the server said %q", all)
			}
			said[i] = string(c.buf) + string(all)
			for _, d := range []string{" xmlns='jabber:client'", " xmlns:stream='http://etherx.jabber.org/streams'"} {
				said[i] = strings.ReplaceAll(said[i], d, "")
			}
			c.conn.Close()
			for s.router.Table.Len() > 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if said[0] != said[1] {
			t.Errorf("over TCP: %q\nover WebSocket: %q", said[0], said[1])
		}
	})
}

// comparable reports whether what a client says consists of whole elements, so that messages
// can be made of them, and of no more than the first is about: framing and times differ.
func comparable(input []byte) bool {
	for _, word := range []string{"<close", "<open", ":close", ":open", "<?xml", "jabber:client", "jid", "last", "time", "vCard"} {
		if bytes.Contains(input, []byte(word)) {
			return false
		}
	}
	sc := xmlstream.NewScanner(xmlstream.Limits{})
	sc.Resume(xmlstream.ClientScope)
	for {
		tok, n, err := sc.Scan(input)
		if err != nil || tok.Kind == xmlstream.Close {
			return false
		}
		if tok.Kind == xmlstream.None {
			return len(bytes.TrimSpace(input[n:])) == 0
		}
		input = input[n:]
	}
}

// TestWebSocketAllocations: a message that comes and one that goes allocate nothing.
func TestWebSocketAllocations(t *testing.T) {
	frame := []byte(clientFrame(ws.OpText, true, "<message to='juliet@chat.test'><body>x</body></message>"))
	element := []byte("<message from='romeo@chat.test/orchard'><body>x</body></message>")
	i := &wsInput{begun: true}
	o := wsOutputs.Get().(*wsOutput)
	p := make([]byte, 1024)
	buf := new(wsBuffer)
	control := func(ws.OpCode, []byte) error { return nil }
	if n := testing.AllocsPerRun(100, func() {
		i.buf, i.in = buf, buf.bytes[:copy(buf.bytes[:], frame)]
		if _, err := i.decode(p, control); err != errUnit {
			t.Fatal(err)
		}
		if _, _, err := o.encode(element); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
