package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"net"
	"os"
	"testing"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/mux"
	"mellium.im/xmpp/ping"
	"mellium.im/xmpp/roster"
	"mellium.im/xmpp/stanza"
)

// TestMellium logs in with Go's XMPP library by every mechanism over every
// transport; it is the client here that binds to TLS 1.3 (RFC 9266).
func TestMellium(t *testing.T) {
	t.Parallel()
	s := newServer(t, "alice", "bob")
	mechanisms := []sasl.Mechanism{
		sasl.ScramSha256Plus, sasl.ScramSha256, sasl.ScramSha1Plus, sasl.ScramSha1, sasl.Plain,
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, direct := range []bool{false, true} {
			for _, m := range mechanisms {
				t.Run(tls.VersionName(version)+map[bool]string{true: " direct "}[direct]+" "+m.Name, func(t *testing.T) {
					ctx := testContext(t)
					c := s.mellium(ctx, t, melliumLogin{user: "alice", password: password, version: version, direct: direct, mechanism: m})
					if got := c.ConnectionState().Version; got != version {
						t.Errorf("TLS version %x, want %x", got, version)
					}
					c.ping(ctx)
				})
			}
		}
	}
	t.Run("wrong password", func(t *testing.T) {
		ctx := testContext(t)
		l := melliumLogin{user: "alice", password: "wrong", version: tls.VersionTLS13, mechanism: sasl.ScramSha256Plus}
		if session, err := s.dialMellium(ctx, l); err == nil {
			session.Close()
			t.Error("a wrong password logged in")
		}
	})
	t.Run("chat", func(t *testing.T) { s.melliumChat(t) })
}

// melliumChat adds a friend and talks with him in both directions.
func (s *server) melliumChat(t *testing.T) {
	ctx := testContext(t)
	login := melliumLogin{password: password, version: tls.VersionTLS13, mechanism: sasl.ScramSha256Plus}
	login.user = "alice"
	alice := s.mellium(ctx, t, login)
	login.user, login.direct = "bob", true
	bob := s.mellium(ctx, t, login)

	if err := roster.Set(ctx, alice.Session, roster.Item{JID: bob.LocalAddr().Bare(), Name: "Bob", Group: []string{"Friends"}}); err != nil {
		t.Fatal(err)
	}
	friends := roster.Fetch(ctx, alice.Session)
	var names []string
	for friends.Next() {
		names = append(names, friends.Item().Name)
	}
	if err := friends.Close(); err != nil || friends.Err() != nil {
		t.Fatal(err, friends.Err())
	}
	if len(names) != 1 || names[0] != "Bob" {
		t.Errorf("friends %q, want Bob", names)
	}

	for _, c := range []*melliumClient{alice, bob} {
		if err := c.Send(ctx, stanza.Presence{}.Wrap(nil)); err != nil {
			t.Fatal(err)
		}
		c.ping(ctx) // the barrier: it is available now
	}
	alice.say(ctx, bob.LocalAddr().Bare(), "hello <Bob> & co")
	if got := bob.hear(ctx); got.Body != "hello <Bob> & co" || !got.From.Equal(alice.LocalAddr()) {
		t.Errorf("bob heard %q from %s", got.Body, got.From)
	}
	bob.say(ctx, alice.LocalAddr(), "hello yourself")
	if got := alice.hear(ctx); got.Body != "hello yourself" || !got.From.Equal(bob.LocalAddr()) {
		t.Errorf("alice heard %q from %s", got.Body, got.From)
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

type melliumLogin struct {
	user, password string
	version        uint16
	direct         bool
	mechanism      sasl.Mechanism
}

type melliumClient struct {
	*xmpp.Session
	t     *testing.T
	heard chan melliumMessage
}

type melliumMessage struct {
	stanza.Message
	Body string `xml:"body"`
}

func (s *server) dialMellium(ctx context.Context, l melliumLogin) (*xmpp.Session, error) {
	pem, err := os.ReadFile(s.certificateFile)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pem)
	config := &tls.Config{
		ServerName: domain, RootCAs: trusted, NextProtos: []string{"xmpp-client"},
		MinVersion: l.version, MaxVersion: l.version,
	}
	origin, err := jid.Parse(l.user + "@" + domain)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	var state xmpp.SessionState
	if l.direct {
		state = xmpp.Secure
		conn, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", s.tls)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", s.starttls)
	}
	if err != nil {
		return nil, err
	}
	session, err := xmpp.NewSession(ctx, origin.Domain(), origin, conn, state, xmpp.NewNegotiator(
		func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
			return xmpp.StreamConfig{Features: []xmpp.StreamFeature{
				xmpp.StartTLS(config), xmpp.SASL("", l.password, l.mechanism), xmpp.BindResource(),
			}}
		}))
	if err != nil {
		conn.Close()
		return nil, err
	}
	return session, nil
}

// mellium logs in and serves the session until the test ends.
func (s *server) mellium(ctx context.Context, t *testing.T, l melliumLogin) *melliumClient {
	t.Helper()
	session, err := s.dialMellium(ctx, l)
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	c := &melliumClient{Session: session, t: t, heard: make(chan melliumMessage, 16)}
	served := make(chan error, 1)
	go func() {
		served <- session.Serve(mux.New(stanza.NSClient, mux.MessageFunc(stanza.ChatMessage, xml.Name{Local: "body"}, c.receive)))
	}()
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Errorf("closing the stream: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("the session ended with %v", err)
		}
		session.Conn().Close()
	})
	return c
}

func (c *melliumClient) receive(_ stanza.Message, r xmlstream.TokenReadEncoder) error {
	var m melliumMessage
	err := xml.NewTokenDecoder(r).Decode(&m)
	if err == nil {
		c.heard <- m
	}
	return err
}

func (c *melliumClient) ping(ctx context.Context) {
	c.t.Helper()
	if err := ping.Send(ctx, c.Session, c.LocalAddr().Domain()); err != nil {
		c.t.Fatalf("ping: %v", err)
	}
}

func (c *melliumClient) say(ctx context.Context, to jid.JID, body string) {
	c.t.Helper()
	if err := c.Encode(ctx, melliumMessage{Message: stanza.Message{To: to, Type: stanza.ChatMessage}, Body: body}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *melliumClient) hear(ctx context.Context) (m melliumMessage) {
	c.t.Helper()
	select {
	case m = <-c.heard:
	case <-ctx.Done():
		c.t.Fatal("heard nothing")
	}
	return m
}
