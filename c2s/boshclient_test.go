package c2s

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"mellium.im/sasl"

	"chatd/auth"
	"chatd/stanza"
)

// A boshClient is the client's end of a session of BOSH; a request at a time unless
// a test does it by itself.
type boshClient struct {
	tb  testing.TB
	url string
	sid string
	rid int64
	jid stanza.JID
}

// startBOSH starts a server whose HTTP is in the clear.
func startBOSH(tb testing.TB, change func(*Config)) (s *testServer, url string) {
	tb.Helper()
	s = startServer(tb, func(c *Config) {
		c.WebTLS = WebNone
		if change != nil {
			change(c)
		}
	})
	return s, "http://" + s.web + BOSHPath
}

// body is a request's <body/> with the next rid.
func (c *boshClient) body(attrs, payload string) string {
	c.rid++
	if c.sid != "" {
		attrs += " sid='" + c.sid + "'"
	}
	return fmt.Sprintf("<body xmlns='%s' xmlns:xmpp='urn:xmpp:xbosh' rid='%d' %s>%s</body>", nsBOSH, c.rid, attrs, payload)
}

// exchange posts a body and returns the answer.
func (c *boshClient) exchange(body string) string {
	c.tb.Helper()
	r, err := http.Post(c.url, "text/xml", strings.NewReader(body))
	if err != nil {
		c.tb.Errorf("post: %v", err)
		return ""
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		c.tb.Errorf("status %d, %v: %s", r.StatusCode, err, b)
	}
	return string(b)
}

// say posts and expects all these parts in the answer.
func (c *boshClient) say(attrs, payload string, parts ...string) string {
	c.tb.Helper()
	got := c.exchange(c.body(attrs, payload))
	for _, p := range parts {
		if !strings.Contains(got, p) {
			c.tb.Fatalf("%q is missing in %s", p, got)
		}
	}
	return got
}

var sidPattern = regexp.MustCompile(` sid='([0-9a-f]{32})'`)

// begin makes the session.
func (c *boshClient) begin(attrs string) string {
	c.tb.Helper()
	got := c.say("to='chat.test' xml:lang='en' ver='1.6' xmpp:version='1.0' "+attrs, "", "<stream:features ", "restartlogic='true'")
	m := sidPattern.FindStringSubmatch(got)
	if m == nil {
		c.tb.Fatalf("no sid in %s", got)
	}
	c.sid = m[1]
	return got
}

// authenticate is SCRAM-SHA-256 (RFC 5802).
func (c *boshClient) authenticate(user string) {
	c.tb.Helper()
	n := sasl.NewClient(sasl.ScramSha256, sasl.Credentials(func() ([]byte, []byte, []byte) { return []byte(user), []byte(testPassword), nil }),
		sasl.RemoteMechanisms(sasl.ScramSha256.Name))
	_, resp, err := n.Step(nil)
	if err != nil {
		c.tb.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	got := c.say("", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>"+encode(resp)+"</auth>", "<challenge ")
	challenge, err := base64.StdEncoding.DecodeString(challengePattern.FindStringSubmatch(got)[1])
	if err != nil {
		c.tb.Fatal(err)
	}
	if _, resp, err = n.Step(challenge); err != nil {
		c.tb.Fatal(err)
	}
	c.say("", "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"+encode(resp)+"</response>", "<success ")
}

var challengePattern = regexp.MustCompile("<challenge [^>]*>([^<]*)<")

// loginBOSH logs in, making the account if there is none.
func (s *testServer) loginBOSH(tb testing.TB, url, user, resource, attrs string) *boshClient {
	tb.Helper()
	if _, err := s.auth.Register(tb.Context(), user, testPassword); err != nil && err != auth.ErrExists {
		tb.Fatal(err)
	}
	c := &boshClient{tb: tb, url: url, rid: 1000, jid: stanza.MustJID(user + "@chat.test/" + resource)}
	c.begin(attrs)
	c.authenticate(user)
	c.say("xmpp:restart='true'", "", "<stream:features", "<bind")
	c.say("", "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>"+resource+"</resource></bind></iq>",
		"<iq xmlns='jabber:client'", "<jid>"+c.jid.String()+"</jid>")
	return c
}
