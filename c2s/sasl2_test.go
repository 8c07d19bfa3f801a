package c2s

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/auth"
	"chatd/stanza"
	"chatd/xmlstream"
)

const (
	testClientID  = "d4565fa7-4d72-4749-b3d3-740edbf87770"
	testUserAgent = "<user-agent id='" + testClientID + "'/>"
)

// authenticating is <authenticate/> with an initial response.
func authenticating(mechanism, initial, extra string) string {
	return "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='" + mechanism + "'><initial-response>" +
		base64.StdEncoding.EncodeToString([]byte(initial)) + "</initial-response>" + extra + "</authenticate>"
}

func byPassword(user, extra string) string {
	return authenticating("PLAIN", "\x00"+user+"\x00"+testPassword, extra)
}

func byLoginToken(user, token, extra string) string {
	d := hmac.New(sha256.New, []byte(token))
	d.Write([]byte("Initiator"))
	return authenticating("HT-SHA-256-NONE", user+"\x00"+string(d.Sum(nil)), testUserAgent+"<fast xmlns='urn:xmpp:fast:0'/>"+extra)
}

// valueOf is what stands between two texts, the first time.
func valueOf(text, before, after string) string {
	_, rest, _ := strings.Cut(text, before)
	value, _, _ := strings.Cut(rest, after)
	return value
}

const inlineSession = "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>"

// loginSASL2 logs in with all that can be had at once: session is for resumption.
func (s *testServer) loginSASL2(tb testing.TB, user string) (c *testClient, token, session string) {
	tb.Helper()
	if _, err := s.auth.Register(tb.Context(), user, testPassword); err != nil && err != auth.ErrExists {
		tb.Fatal(err)
	}
	c = dial(tb, s.direct, clientTLS())
	c.send(header + byPassword(user, testUserAgent+"<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>"+inlineSession))
	c.expect("<stream:stream ")
	c.expect("<authentication ")
	got := c.expect("<success ", "<bound ", "<enabled ", "<token ")
	c.expect("<stream:features>")
	c.jid = stanza.MustJID(valueOf(got, "<authorization-identifier>", "</"))
	return c, valueOf(got, " token='", "'"), valueOf(got, "<enabled xmlns='urn:xmpp:sm:3' id='", "'")
}

// TestOneFlight: a client sends its whole login and its first stanzas at once, and the answers come at once.
func TestOneFlight(t *testing.T) {
	s := startServer(t, nil)
	c, token, session := s.loginSASL2(t, "romeo")
	c.available()
	c.breakOff()
	s.detached(t, c.jid)

	c = dial(t, s.direct, clientTLS())
	c.send(header + byLoginToken("romeo", token, "<resume xmlns='urn:xmpp:sm:3' previd='"+session+"' h='0'/>"+inlineSession) +
		"<r xmlns='urn:xmpp:sm:3'/><message to='romeo@chat.test' id='m'/>")
	chunk := make([]byte, 64<<10)
	n, err := c.conn.Read(chunk)
	if err != nil {
		t.Fatal(err)
	}
	c.buf = append(c.buf, chunk[:n]...)
	if !strings.HasSuffix(string(c.buf), "</success>") {
		t.Errorf("the answer to all of the login is not one write: %q", c.buf)
	}
	c.expect("<stream:stream ")
	c.expect("<authentication ")
	got := c.expect("<success ", "<resumed ")
	if strings.Contains(got, "<bound ") || valueOf(got, "<authorization-identifier>", "</") != c.jidOf(s, "romeo") {
		t.Errorf("success is %s", got)
	}
	for range 3 { // no features (XEP-0198 §9.2), but what was not acknowledged
		if got := c.next(); strings.HasPrefix(got, "<stream:features") {
			t.Errorf("features after a resumption")
		} else if strings.HasPrefix(got, "<a ") {
			break
		}
	}
}

// jidOf is the only session of a user.
func (c *testClient) jidOf(s *testServer, user string) string {
	c.tb.Helper()
	rows := s.router.Table.Rows(stanza.MustJID(user + "@" + testDomain))
	if len(rows) != 1 {
		c.tb.Fatalf("%d sessions", len(rows))
	}
	return rows[0].Session.JID().String()
}

// TestInlineRaces: of many who come back at once, each takes the session from the one before or is bound anew,
// and one session is left.
func TestInlineRaces(t *testing.T) {
	s := startServer(t, nil)
	old, token, session := s.loginSASL2(t, "romeo")
	old.breakOff()
	const n = 8
	var wg sync.WaitGroup
	answers := make([]string, n)
	clients := make([]*testClient, n)
	for i := range n {
		clients[i] = dial(t, s.direct, clientTLS())
		clients[i].open()
	}
	for i, c := range clients {
		wg.Go(func() {
			c.send(byLoginToken("romeo", token, "<resume xmlns='urn:xmpp:sm:3' previd='"+session+"' h='0'/>"+inlineSession))
			answers[i] = c.next()
		})
	}
	wg.Wait()
	var resumed, bound int
	for _, a := range answers {
		switch {
		case strings.Contains(a, "<resumed "):
			resumed++
		case strings.Contains(a, "<bound ") && strings.Contains(a, "<item-not-found "):
			bound++
		case strings.HasPrefix(a, "<stream:error>") && strings.Contains(a, "<resource-constraint "):
		case a == "": // somebody else had the session before it could be answered
		default:
			t.Errorf("answer %s", a)
		}
	}
	if resumed+bound == 0 {
		t.Error("nobody has got in")
	}
	t.Logf("%d resumed, %d bound", resumed, bound)
	for deadline := time.Now().Add(testTimeout); s.router.Table.Len() != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions", s.router.Table.Len())
		}
	}
	if old.jid.String() != old.jidOf(s, "romeo") {
		t.Errorf("the session is %s, want %s", old.jidOf(s, "romeo"), old.jid)
	}
}

// TestSASL2Refused: each leaves a stream on which the right password is taken.
func TestSASL2Refused(t *testing.T) {
	s := startServer(t, nil)
	s.login(t, "romeo", "orchard", false)
	long := strings.Repeat("x", 100)
	for _, tt := range []struct{ name, send, want string }{
		{"no mechanism", "<authenticate xmlns='urn:xmpp:sasl:2'/>", "invalid-mechanism"},
		{"unknown mechanism", authenticating("CRAM-MD5", "x", ""), "invalid-mechanism"},
		{"wrong password", authenticating("PLAIN", "\x00romeo\x00wrong", inlineSession), "not-authorized"},
		{"bad base64", "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>=</initial-response></authenticate>", "incorrect-encoding"},
		{"empty initial response", "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-1'><initial-response/></authenticate><response xmlns='urn:xmpp:sasl:2'>eA==</response>", "malformed-request"},
		{"text", "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>eA==<a/></authenticate>", "malformed-request"},
		{"bad user agent", byPassword("romeo", "<user-agent id='"+long+"'/>"), "malformed-request"},
		{"UUID of another version", byPassword("romeo", "<user-agent id='d4565fa7-4d72-1749-b3d3-740edbf87770'/>"), "malformed-request"},
		{"token without a client", authenticating("HT-SHA-256-NONE", "x", "<fast xmlns='urn:xmpp:fast:0'/>"), "malformed-request"},
		{"token mechanism without token", authenticating("HT-SHA-256-NONE", "romeo\x00"+strings.Repeat("x", 32), testUserAgent), "invalid-mechanism"},
		{"ordinary mechanism with token", authenticating("PLAIN", "x", testUserAgent+"<fast xmlns='urn:xmpp:fast:0'/>"), "invalid-mechanism"},
		{"no such token", byLoginToken("romeo", "x", ""), "not-authorized"},
		{"nothing to abort", "<abort xmlns='urn:xmpp:sasl:2'/>", "aborted"},
		{"aborted", "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/><abort xmlns='urn:xmpp:sasl:2'><text>no</text></abort>", "aborted"},
		{"task", "<next xmlns='urn:xmpp:sasl:2' task='x'/>", "malformed-request"},
		{"response to nothing", "<response xmlns='urn:xmpp:sasl:2'/>", "malformed-request"},
	} {
		c := dial(t, s.direct, clientTLS())
		c.open()
		c.send(tt.send)
		got := c.next()
		if strings.HasPrefix(got, "<challenge ") {
			got = c.next()
		}
		if !strings.HasPrefix(got, "<failure xmlns='urn:xmpp:sasl:2'><"+tt.want+" xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>") {
			t.Errorf("%s: %s", tt.name, got)
			continue
		}
		c.send(byPassword("romeo", ""))
		c.expect("<success ", "<authorization-identifier>romeo@chat.test</")
	}
	if n := s.router.Table.Len(); n != 1 {
		t.Errorf("%d sessions: a failed login was bound", n)
	}
}

// TestSASL2Ends: what ends the stream.
func TestSASL2Ends(t *testing.T) {
	s := startServer(t, nil)
	s.login(t, "romeo", "orchard", false)
	begun := "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>"
	for _, tt := range []struct{ send, want string }{
		{begun + begun, "not-authorized"},
		{begun + "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "not-authorized"},
		{begun + "<presence/>", "not-authorized"},
		{byPassword("romeo", "") + byPassword("romeo", ""), "unsupported-stanza-type"}, // XEP-0388 §4.8
		{byPassword("romeo", inlineSession) + byPassword("romeo", ""), "unsupported-stanza-type"},
	} {
		c := dial(t, s.direct, clientTLS())
		c.open()
		c.send(tt.send)
		for {
			got := c.next()
			if got == "" {
				t.Fatalf("%s: no stream error", tt.send)
			}
			if strings.HasPrefix(got, "<stream:error>") {
				if !strings.Contains(got, "<"+tt.want+" ") {
					t.Errorf("%s: %s", tt.send, got)
				}
				break
			}
		}
	}
}

// TestSASL2From: who logs in is who opened the stream (XEP-0388 §2.3), and nothing is offered before TLS where TLS is required.
func TestSASL2From(t *testing.T) {
	s := startServer(t, func(c *Config) { c.RequireTLS = true })
	for _, user := range []string{"romeo", "juliet"} {
		if _, err := s.auth.Register(t.Context(), user, testPassword); err != nil {
			t.Fatal(err)
		}
	}
	for from, ok := range map[string]bool{"romeo@chat.test": true, "ROMEO@chat.test/x": true, "juliet@chat.test": false, "romeo@other.test": false, "chat.test": false} {
		c := dial(t, s.direct, clientTLS())
		c.send(strings.Replace(header, " to=", " from='"+from+"' to=", 1) + byPassword("romeo", ""))
		c.next()
		c.next()
		if ok {
			c.expect("<success ")
		} else {
			c.expect("<failure ", "<invalid-authzid ")
		}
	}
	c := dial(t, s.addr, nil)
	if features := c.open(); strings.Contains(features, "<authentication ") {
		t.Errorf("before TLS: %s", features)
	}
	c.send(byPassword("romeo", ""))
	c.expect("<failure ", "<encryption-required ")
}

// TestSASL2TokenEnds: the session of a token of somebody else's ends with it, also when it is resumed
// by one of ours.
func TestSASL2TokenEnds(t *testing.T) {
	s := startServer(t, nil)
	s.acceptTokens(t)
	end, _ := soon()
	c := dial(t, s.direct, clientTLS())
	c.send(header + authenticating("OAUTHBEARER", "n,,\x01auth=Bearer "+token("romeo", end)+"\x01\x01",
		testUserAgent+"<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>"+inlineSession))
	c.next()
	c.next()
	got := c.expect("<success ", "<token ", "expiry='"+end.UTC().Format(time.RFC3339)+"'")
	c.expect("<stream:features>", "<token xmlns='urn:chatd:token:0'/>")
	mine := valueOf(got, " token='", "'")
	again := dial(t, s.direct, clientTLS())
	again.send(header + byLoginToken("romeo", mine, "<resume xmlns='urn:xmpp:sm:3' previd='"+valueOf(got, "<enabled xmlns='urn:xmpp:sm:3' id='", "'")+"' h='0'/>"))
	again.next()
	again.next()
	again.expect("<success ", "<resumed ")
	again.closed("not-authorized")
	if time.Now().Before(end) {
		t.Error("the session ended before its token")
	}
	late := dial(t, s.direct, clientTLS())
	late.send(header + byLoginToken("romeo", mine, ""))
	late.next()
	late.next()
	late.expect("<failure ", "<credentials-expired ")
}

// TestTickets: one TLS session for both ways to TLS, and none for another certificate.
func TestTickets(t *testing.T) {
	s := startServer(t, nil)
	cfg := clientTLS()
	cfg.ServerName, cfg.ClientSessionCache = testDomain, tls.NewLRUClientSessionCache(1)
	connect := func(direct bool) bool {
		t.Helper()
		addr := s.direct
		if !direct {
			addr = s.addr
		}
		c := dial(t, addr, nil)
		if !direct {
			c.open()
			c.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			c.expect("<proceed ")
		}
		conn := tls.Client(c.conn, cfg)
		c.conn = conn
		c.open() // the ticket comes with it
		return conn.ConnectionState().DidResume
	}
	if connect(true) || !connect(false) || !connect(true) {
		t.Error("the TLS session is not resumed")
	}
	old := s.cfg.Load().TLS
	changed := *s.cfg.Load()
	changed.MaxStanzaBytes = 20000
	s.Reload(changed)
	if !connect(false) {
		t.Error("the TLS session is not resumed after a reload")
	}
	other := testCertificate()
	other.Certificate = [][]byte{append([]byte(nil), other.Certificate[0]...)}
	other.Certificate[0][len(other.Certificate[0])-1] ^= 1
	old.Certificates[0] = other
	if connect(true) {
		t.Error("the TLS session is resumed with another certificate")
	}
}

func TestParseAuthenticate(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want *authRequest // nil: malformed
	}{
		{"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>", &authRequest{}},
		{"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>\n <initial-response> eA==\n</initial-response> </authenticate>", &authRequest{initial: []byte("eA=="), given: true}},
		{"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response/></authenticate>", &authRequest{given: true}},
		{"<a:authenticate xmlns:a='urn:xmpp:sasl:2' mechanism='PLAIN'><a:user-agent id='D4565FA7-4D72-4749-B3D3-740EDBF87770'><a:software>x</a:software></a:user-agent></a:authenticate>", &authRequest{client: testClientID}},
		{"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><user-agent/><initial-response xmlns='other'>x</initial-response><unknown><initial-response>y</initial-response></unknown></authenticate>", &authRequest{}},
		{"<authenticate xmlns='urn:xmpp:sasl:2' xmlns:b='urn:xmpp:bind:0' mechanism='PLAIN'><b:bind><b:tag>a&lt;b</b:tag><enable xmlns='urn:xmpp:sm:3'/></b:bind></authenticate>", &authRequest{bind: &inlineBind{tag: "a<b", manage: true}}},
		{"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><bind xmlns='urn:xmpp:bind:0'><tag> x </tag><enable xmlns='urn:xmpp:sm:3' resume='1'/><enable xmlns='urn:xmpp:carbons:2'/><inactive xmlns='urn:xmpp:csi:0'/><x xmlns='y'/></bind></authenticate>",
			&authRequest{bind: &inlineBind{tag: "x", manage: true, resume: true, carbons: true, inactive: true}}},
		{"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>" + testUserAgent + "<fast xmlns='urn:xmpp:fast:0' count='7' invalidate='true'/><request-token xmlns='urn:xmpp:fast:0' mechanism='HT'/><resume xmlns='urn:xmpp:sm:3' previd='p&amp;' h='3'/></authenticate>",
			&authRequest{client: testClientID, fast: &fastUse{invalidate: true}, wantToken: "HT", resume: &resumption{id: "p&", handled: "3"}}},
		{"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>text<user-agent/></authenticate>", nil},
		{"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><user-agent id='x'/></authenticate>", nil},
		{"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><fast xmlns='urn:xmpp:fast:0'/></authenticate>", nil},
		{"<next xmlns='urn:xmpp:sasl:2'/>", nil},
	} {
		got, err := parseAuthenticate(child(t, tt.in))
		if tt.want == nil {
			if !errors.Is(err, errMalformed) {
				t.Errorf("%s: %+v, %v", tt.in, got, err)
			}
			continue
		}
		tt.want.space, tt.want.mechanism = nsSASL2, "PLAIN"
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", tt.in, got, err, tt.want)
		}
	}
}

// child is an element as negotiation sees it.
func child(t testing.TB, text string) *xmlstream.Token {
	sc := xmlstream.NewScanner(xmlstream.Limits{Bytes: loginStanzaBytes, Depth: loginDepth})
	sc.Resume(xmlstream.ClientScope)
	tok, _, err := sc.Scan([]byte(text))
	if err != nil || tok.Kind != xmlstream.Element {
		t.Skipf("%s: %v", text, err)
	}
	if tok.Prefixed || tok.OuterPrefix {
		if tok, _, err = standAlone(sc, tok, nil); err != nil {
			t.Fatal(err)
		}
	}
	return tok
}

// FuzzAuthenticate: whatever a client sends, what comes of it is bounded by it and of the right kind.
func FuzzAuthenticate(f *testing.F) {
	f.Add(byPassword("romeo", testUserAgent+inlineSession))
	f.Add(byLoginToken("romeo", "x", "<resume xmlns='urn:xmpp:sm:3' previd='a' h='1'/>"))
	f.Add("<authenticate xmlns='urn:xmpp:sasl:2' xmlns:b='urn:xmpp:bind:0' mechanism=''><b:bind><b:tag>&#x41;<![CDATA[x]]></b:tag></b:bind></authenticate>")
	f.Add("<abort xmlns='urn:xmpp:sasl:2'/>")
	f.Fuzz(func(t *testing.T, text string) {
		req, err := parseAuthenticate(child(t, text))
		if err != nil {
			if !errors.Is(err, errMalformed) && !errors.Is(err, errAborted) {
				t.Fatalf("%v", err)
			}
			return
		}
		size := len(req.mechanism) + len(req.initial) + len(req.client) + len(req.wantToken)
		if req.client != "" && !isUUID4(req.client) {
			t.Errorf("client %q", req.client)
		}
		if req.bind != nil {
			size += len(req.bind.tag)
			name := tagged(req.bind.tag, "name")
			if _, err := stanza.ParseJID("a@chat.test/" + name); err != nil || !strings.HasSuffix(name, "name") {
				t.Errorf("resource %q: %v", name, err)
			}
		}
		if size > len(text) {
			t.Errorf("%d bytes of %d", size, len(text))
		}
	})
}

func TestIsUUID4(t *testing.T) {
	for s, want := range map[string]bool{
		testClientID: true, strings.ToUpper(testClientID): true, "00000000-0000-4000-8000-000000000000": true, "ffffffff-ffff-4fff-bfff-ffffffffffff": true,
		"": false, "d4565fa7-4d72-5749-b3d3-740edbf87770": false, "d4565fa7-4d72-4749-c3d3-740edbf87770": false,
		"d4565fa7x4d72-4749-b3d3-740edbf87770": false, "g4565fa7-4d72-4749-b3d3-740edbf87770": false, fmt.Sprint(testClientID, "0"): false,
	} {
		if isUUID4(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
