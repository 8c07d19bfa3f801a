package c2s

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	dto "github.com/prometheus/client_model/go"
	"mellium.im/sasl"

	"chatd/auth"
	"chatd/stanza"
)

const testTokenSecret = "0123456789abcdef0123456789abcdef"

// acceptTokens lets users of s log in by tokens that count to the second.
func (s *testServer) acceptTokens(tb testing.TB) *auth.Tokens {
	tokens := auth.NewTokens(slog.New(slog.DiscardHandler))
	tokens.Reload(auth.TokenConfig{Secret: testTokenSecret})
	tb.Cleanup(tokens.Close)
	s.auth.SetTokens(tokens)
	return tokens
}

func token(user string, expires time.Time) string {
	t, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "exp": expires.Unix()}).SignedString([]byte(testTokenSecret))
	if err != nil {
		panic(err)
	}
	return t
}

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// soon is two to three seconds from now, and later the next second.
func soon() (soon, later time.Time) {
	soon = time.Now().Truncate(time.Second).Add(3 * time.Second)
	return soon, soon.Add(time.Second)
}

func (c *testClient) oauthBearer(token string) {
	c.tb.Helper()
	c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='OAUTHBEARER'>" +
		base64.StdEncoding.EncodeToString([]byte("n,,\x01auth=Bearer "+token+"\x01\x01")) + "</auth>")
}

// authenticated is a client that a token has let in and that has no session yet.
func (s *testServer) authenticated(tb testing.TB, token string) *testClient {
	tb.Helper()
	c := dial(tb, s.direct, clientTLS())
	if features := c.open(); !strings.Contains(features, "<mechanism>OAUTHBEARER</mechanism>") {
		tb.Fatalf("features %s", features)
	}
	c.oauthBearer(token)
	c.expect("<success ")
	if features := c.open(); !strings.Contains(features, "<token xmlns='urn:chatd:token:0'/>") {
		tb.Fatalf("features %s", features)
	}
	return c
}

func (s *testServer) loginByToken(tb testing.TB, user, resource string, expires time.Time) *testClient {
	tb.Helper()
	c := s.authenticated(tb, token(user, expires))
	c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>")
	c.expect("type='result'", "<jid>"+user+"@"+testDomain)
	c.jid = stanza.MustJID(user + "@" + testDomain + "/" + resource)
	return c
}

func TestTokenLogin(t *testing.T) {
	s := startServer(t, nil)
	s.acceptTokens(t)
	if features := dial(t, s.addr, nil).open(); strings.Contains(features, "OAUTHBEARER") {
		t.Errorf("without TLS: %s", features)
	}
	a := s.loginByToken(t, "romeo", "orchard", inAnHour())
	a.available()
	b := s.login(t, "juliet", "balcony", true)
	b.send("<message to='romeo@chat.test' type='chat' id='m'><body>hi</body></message>")
	a.expect("id='m'", "<body>hi</body>")
	var counted dto.Metric
	if err := s.Metrics.Logins.WithLabelValues("OAUTHBEARER", "ok").Write(&counted); err != nil || counted.GetCounter().GetValue() != 1 {
		t.Errorf("counted %v, %v", &counted, err)
	}
	c := dial(t, s.direct, clientTLS())
	c.open()
	if got := c.authenticate(sasl.Plain, "romeo", token("romeo", inAnHour())); !strings.HasPrefix(got, "<success") {
		t.Errorf("PLAIN: %s", got)
	}
	if features := c.open(); !strings.Contains(features, "<token ") {
		t.Errorf("features %s", features)
	}
}

// TestTokenRefused: RFC 7628 §3.2.3, and the client may try again.
func TestTokenRefused(t *testing.T) {
	s := startServer(t, nil)
	s.acceptTokens(t)
	s.login(t, "juliet", "balcony", true)
	c := dial(t, s.direct, clientTLS())
	c.open()
	for bad, condition := range map[string]string{
		"x": "not-authorized", token("juliet", inAnHour()) + "x": "not-authorized", token("juliet", time.Now().Add(-time.Second)): "credentials-expired",
	} {
		c.oauthBearer(bad)
		c.expect("<challenge ", base64.StdEncoding.EncodeToString([]byte(`{"status":"invalid_token"}`)))
		c.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AQ==</response>")
		if got := c.expect("<failure ", "<"+condition+"/>"); condition == "credentials-expired" && !strings.Contains(got, "token expired") {
			t.Errorf("got %s", got)
		}
	}
	if got := c.authenticate(sasl.Plain, "romeo", token("juliet", inAnHour())); !strings.Contains(got, "<not-authorized/>") {
		t.Errorf("another user's token: %s", got)
	}
	for _, m := range []sasl.Mechanism{sasl.ScramSha256, sasl.ScramSha1} { // refused at the same step as for anybody unknown
		s.loginByToken(t, "mercutio", "street", inAnHour())
		for _, user := range []string{"mercutio", "tybalt"} {
			c := dial(t, s.direct, clientTLS())
			c.open()
			if got := c.authenticate(m, user, testPassword); got != "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>" {
				t.Errorf("%s: %s", user, got)
			}
		}
	}
	c.oauthBearer(token("juliet", inAnHour()))
	c.expect("<success ")
}

// TestTokenExpires: the session ends with its token, for good, and what it was not sent waits for the next.
func TestTokenExpires(t *testing.T) {
	s := startServer(t, nil)
	s.acceptTokens(t)
	expires, _ := soon()
	a, b := s.loginByToken(t, "romeo", "orchard", expires), s.loginByToken(t, "juliet", "balcony", expires)
	id := a.enable()
	b.available()
	idB := b.enable()
	row, _ := s.router.Table.Row(b.jid)
	b.breakOff()
	c := s.login(t, "mercutio", "street", false)
	s.detached(t, b.jid)
	c.send("<message to='juliet@chat.test/balcony' type='chat' id='late'><body>hi</body></message>")
	c.ping("sent")
	if got := a.closed("not-authorized"); !strings.Contains(got, "token expired") {
		t.Errorf("at the end: %s", got)
	}
	if time.Now().Before(expires) {
		t.Error("ended before its time")
	}
	<-row.Session.Done()
	if held := s.spool.take(); len(held) != 1 || !strings.Contains(held[0], "id='late'") {
		t.Errorf("held %q", held)
	}
	for user, id := range map[string]string{"romeo": id, "juliet": idB} {
		again := s.authenticated(t, token(user, inAnHour()))
		again.send("<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='0'/>")
		again.expect("<failed ", "<item-not-found ")
	}
	refused := dial(t, s.direct, clientTLS())
	refused.open()
	refused.oauthBearer(token("romeo", expires))
	refused.expect("<challenge ")
}

// TestTokenResumed: the login that resumes a session says when it ends.
func TestTokenResumed(t *testing.T) {
	s := startServer(t, nil)
	s.acceptTokens(t)
	expires, later := soon()
	a, b := s.loginByToken(t, "romeo", "orchard", expires), s.loginByToken(t, "juliet", "balcony", inAnHour())
	clock := s.loginByToken(t, "tybalt", "street", later)
	id, idB := a.enable(), b.enable()
	a.breakOff()
	a = s.authenticated(t, token("romeo", inAnHour()))
	a.send("<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='0'/>")
	a.expect("<resumed ")
	b = s.authenticated(t, token("juliet", expires)) // the old connection lives
	b.send("<resume xmlns='urn:xmpp:sm:3' previd='" + idB + "' h='0'/>")
	b.expect("<resumed ")
	b.closed("not-authorized")
	clock.closed("not-authorized")
	a.ping("alive")
}

func renewal(id, to, token string) string {
	return fmt.Sprintf("<iq type='set' id='%s'%s><token xmlns='urn:chatd:token:0'>%s</token></iq>", id, to, token)
}

func TestTokenRenewed(t *testing.T) {
	s := startServer(t, nil)
	s.acceptTokens(t)
	expires, later := soon()
	a, b := s.loginByToken(t, "romeo", "orchard", expires), s.loginByToken(t, "juliet", "balcony", inAnHour())
	clock := s.loginByToken(t, "tybalt", "street", later)
	a.send(renewal("r1", "", token("romeo", expires)))
	a.expect("type='result'", "id='r1'")
	a.send(renewal("r2", " to='romeo@chat.test'", "\n "+token("romeo", inAnHour())+"\n"))
	a.expect("type='result'", "id='r2'")
	b.send(renewal("r3", "", token("juliet", expires))) // the last token counts
	b.expect("type='result'", "id='r3'")
	b.closed("not-authorized")
	clock.closed("not-authorized")
	a.ping("alive")
}

// TestTokenNotRenewed: no answer echoes what was sent, and the session goes on with what it has.
func TestTokenNotRenewed(t *testing.T) {
	s := startServer(t, nil)
	tokens := s.acceptTokens(t)
	expires, _ := soon()
	byToken, byPassword := s.loginByToken(t, "romeo", "orchard", expires), s.login(t, "juliet", "balcony", true)
	good := token("romeo", inAnHour())
	refused := func(c *testClient, request, condition, secret string) string {
		t.Helper()
		c.send(request)
		got := c.expect("type='error'", "<"+condition+" ")
		if strings.Contains(got, secret) {
			t.Errorf("%s echoes the token", got)
		}
		return got
	}
	refused(byToken, renewal("r", "", token("juliet", inAnHour())), "not-authorized", "ey")
	refused(byToken, renewal("r", "", good+"x"), "not-authorized", "ey")
	refused(byToken, renewal("r", "", "secret"), "not-authorized", "secret")
	refused(byToken, renewal("r", "", ""), "not-authorized", "<token")
	if got := refused(byToken, renewal("r", "", token("romeo", time.Now().Add(-time.Second))), "not-authorized", "ey"); !strings.Contains(got, "token expired") {
		t.Errorf("got %s", got)
	}
	refused(byToken, strings.Replace(renewal("r", "", "secret"), "set", "get", 1), "bad-request", "secret")
	refused(byToken, renewal("r", " to='chat.test'", "x"), "service-unavailable", "ey")
	refused(byToken, renewal("r", " to='juliet@chat.test'", "x"), "service-unavailable", "ey")
	refused(byPassword, renewal("r", "", token("juliet", inAnHour())), "not-allowed", "ey")
	tokens.Reload(auth.TokenConfig{})
	refused(byToken, renewal("r", "", good), "service-unavailable", "ey")
	byToken.closed("not-authorized")
	byPassword.ping("alive")
}
