package c2s

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mellium.im/sasl"
)

// The states in which a stream can be given bytes, and how to get there.
const (
	beforeHeader = iota
	beforeAuth
	inSASL
	inSASL2
	beforeBind
	bound
	states
)

// FuzzSession gives arbitrary bytes to a session in each of its states. Whatever
// they are: what the server says is well-formed, the connection ends in bounded time, nothing stays
// behind, and somebody else's session is unhurt.
func FuzzSession(f *testing.F) {
	seeds := []string{
		"", " ", "</stream:stream>", "<", "\x00", "\xff\xfe", "<!-- -->", "<?xml version='1.0' encoding='latin1'?>", "<!DOCTYPE x>",
		header, strings.ReplaceAll(header, "jabber:client", "jabber:server"), strings.ReplaceAll(header, "1.0' xmlns", "0.9' xmlns"),
		strings.ReplaceAll(header, "chat.test", "other.test"), "<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client' to='chat.test' version='1.0'>",
		"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHg=</auth>",
		"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>biwsbj1yb21lbyxyPXg=</auth><response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</response>",
		"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>!</response>", "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>x", "<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>a</username><password>b</password></query></iq>",
		"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>x</resource></bind></iq><presence/>",
		"<presence/><message to='romeo@chat.test'><body>&lt;&#x41;]]&gt;</body></message><iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
		"<iq type='set' id='2'><query xmlns='jabber:iq:roster'><item jid='juliet@chat.test' name='&quot;'/></query></iq><presence to='juliet@chat.test' type='subscribe'/>",
		"<message from='x@y'/>", "<foo/>", "<iq/>", "<iq type='get'/>", "<presence type='x'/>", "<message to='@'/>", "<c:message xmlns:c='jabber:client' to='romeo@chat.test/f'/>",
		"<message to=\"romeo@chat.test/f\" a='\"' b=\"'\"><x xmlns='urn:x'/></message>",
		"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'><user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/><bind xmlns='urn:xmpp:bind:0'><tag>x</tag></bind></authenticate><response xmlns='urn:xmpp:sasl:2'>biwsbj1yb21lbyxyPXg=</response>",
		"<response xmlns='urn:xmpp:sasl:2'/>", "<abort xmlns='urn:xmpp:sasl:2'/>", "<next xmlns='urn:xmpp:sasl:2' task='x'/>",
	}
	for state := range states {
		for _, s := range seeds {
			f.Add(state, []byte(s))
		}
	}
	server := startServer(f, func(c *Config) { c.MaxStanzaBytes = 20000 })
	server.quickLogin(f, "romeo")
	server.quickLogin(f, "bystander")
	bystander := server.loginExisting(f, "bystander", "b", false)
	_ = bystander.conn.SetDeadline(time.Time{})
	var count atomic.Int64
	f.Fuzz(func(t *testing.T, state int, input []byte) {
		n := count.Add(1)
		bystander.tb = t
		c := dial(t, server.addr, nil)
		c.bringTo(((state%states)+states)%states, fmt.Sprint("f", n))
		rest := c.buf
		if _, err := c.conn.Write(input); err == nil {
			_ = c.conn.(*net.TCPConn).CloseWrite()
		}
		said, err := io.ReadAll(c.conn)
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			t.Fatalf("the connection does not end; the server said %q", said)
		}
		wellFormed(t, append(rest, said...))
		bystander.send(fmt.Sprintf("<iq type='get' id='p%d' to='chat.test'><ping xmlns='urn:xmpp:ping'/></iq>", n))
		for { // others may write to the bystander too
			got := bystander.next()
			if got == "" {
				t.Fatal("the bystander's session ended")
			}
			if strings.Contains(got, fmt.Sprintf("id='p%d'", n)) {
				break
			}
		}
	})
}

// bringTo takes a new connection to a state.
func (c *testClient) bringTo(state int, resource string) {
	if state == beforeHeader {
		return
	}
	c.open()
	if state == beforeAuth {
		return
	}
	if state == inSASL2 {
		c.send("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'><initial-response>biwsbj1yb21lbyxyPWFiY2RlZg==</initial-response></authenticate>")
		c.expect("<challenge")
		return
	}
	if state == inSASL {
		c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>" + "biwsbj1yb21lbyxyPWFiY2RlZg==" + "</auth>")
		c.expect("<challenge")
		return
	}
	c.authenticate(sasl.ScramSha256, "romeo", testPassword)
	c.open()
	if state == beforeBind {
		return
	}
	c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>")
	c.expect("type='result'")
}

// wellFormed checks what the server said, by another parser: streams may follow one another.
func wellFormed(t *testing.T, said []byte) {
	t.Helper()
	if bytes.Contains(said, []byte("<proceed ")) {
		return // what follows is TLS
	}
	doc := said
	if !bytes.HasPrefix(doc, []byte("<?xml")) {
		doc = append([]byte(header), doc...)
	}
	for part := range bytes.SplitSeq(doc, []byte("<?xml version='1.0'?>")) {
		d := xml.NewDecoder(bytes.NewReader(part))
		for {
			_, err := d.Token()
			if err == io.EOF || err != nil && strings.Contains(err.Error(), "unexpected EOF") {
				break
			}
			if err != nil {
				t.Fatalf("the server said %q: %v", said, err)
			}
		}
	}
}
