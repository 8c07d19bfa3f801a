package auth

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOAuthBearerIsOffered(t *testing.T) {
	s, _ := newTokenService(t, testTokenConfig())
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	names := s.Mechanisms(ch)
	if i := slices.Index(names, oauthBearer); i < 0 || i > slices.Index(names, "PLAIN") {
		t.Errorf("over TLS: %v", names)
	}
	if names := s.Mechanisms(Channel{}); slices.Contains(names, oauthBearer) {
		t.Errorf("without TLS: %v", names)
	}
	_, err := s.Start(oauthBearer, Channel{})
	wantFailure(t, err, "encryption-required")
	s.tokens.Load().Reload(TokenConfig{Issuer: testIssuer})
	for _, ch := range []Channel{ch, {}} {
		if s.TokensAccepted() || slices.Contains(s.Mechanisms(ch), oauthBearer) {
			t.Error("offered although no token counts")
		}
		_, err := s.Start(oauthBearer, ch)
		wantFailure(t, err, "invalid-mechanism")
	}
}

func TestOAuthBearer(t *testing.T) {
	s, a := newTokenService(t, testTokenConfig())
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	token := sign("EdDSA", testEd25519(), kid("ed"), goodClaims(map[string]any{"sub": "romeo"}))
	stale := sign("EdDSA", testEd25519(), kid("ed"), goodClaims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}))
	auth := "\x01auth=Bearer " + token + "\x01"
	for _, tt := range []struct {
		message, want string // "!": an error first
	}{
		{"n,," + auth + "\x01", ""},
		{"y,," + auth + "\x01", ""},
		{"n,a=romeo@example.com," + auth + "\x01", ""},
		{"n,a=Romeo," + auth + "\x01", ""},
		{"n,a=romeo@example.com,\x01host=chat.test\x01port=5222" + auth + "\x01", ""},
		{"n,,\x01auth=bEARER " + token + "\x01host=x\x01\x01", ""},

		{"n,a=juliet@example.com," + auth + "\x01", "invalid-authzid"},
		{"n,a=juliet," + auth + "\x01", "invalid-authzid"},
		{"n,,\x01auth=Bearer " + stale + "\x01\x01", "!credentials-expired"},
		{"n,,\x01auth=Bearer " + token + "x\x01\x01", "!not-authorized"},
		{"n,,\x01auth=Bearer x\x01\x01", "!not-authorized"},
		{"n,,\x01auth=Bearer \x01\x01", "!not-authorized"},
		{"n,,\x01auth=\x01\x01", "!not-authorized"}, // RFC 7628 §4.3
		{"n,,\x01\x01", "!not-authorized"},
		{"n,,\x01host=x\x01\x01", "!not-authorized"},

		{"p=tls-exporter,," + auth + "\x01", "malformed-request"},
		{"n," + auth + "\x01", "malformed-request"},
		{"n,,," + auth + "\x01", "malformed-request"},
		{"F,n,," + auth + "\x01", "malformed-request"},
		{"n,romeo," + auth + "\x01", "malformed-request"},
		{"n,a=," + auth + "\x01", "malformed-request"},
		{"n,a=ro=meo," + auth + "\x01", "malformed-request"},
		{"n,," + auth, "malformed-request"},
		{"n,,", "malformed-request"},
		{"\x01", "malformed-request"},
		{"n,,\x01", "malformed-request"},
		{"n,,\x01auth\x01\x01", "malformed-request"},
		{"n,,\x01=x\x01\x01", "malformed-request"},
		{"n,,\x01au-th=x\x01\x01", "malformed-request"},
		{"n,,\x01auth=Basic " + token + "\x01\x01", "malformed-request"},
		{"n,,\x01auth=Bearer\x01\x01", "malformed-request"},
		{"n,,\x01auth=" + token + "\x01\x01", "malformed-request"},
		{"n,," + auth + auth[1:] + "\x01", "malformed-request"},
		{"n,," + auth + "\x01\x01", "malformed-request"},
		{"n,," + auth + "\x01x", "malformed-request"},
		{"n,,\x01host=\x02" + auth + "\x01", "malformed-request"},
		{"n,,\x01host=\x00" + auth + "\x01", "malformed-request"},
		{"n,,\x01host=\xff" + auth + "\x01", "malformed-request"},
		{"n,,\x01host=\u00e4" + auth + "\x01", "malformed-request"},
		{"n,,\x01x=" + strings.Repeat("x", maxResponse) + auth + "\x01", "malformed-request"},
	} {
		e, err := s.Start(oauthBearer, ch)
		if err != nil {
			t.Fatal(err)
		}
		data, done, err := e.Step(t.Context(), []byte(tt.message))
		condition, told := strings.CutPrefix(tt.want, "!")
		if told {
			if string(data) != `{"status":"invalid_token"}` || done || err != nil {
				t.Errorf("%.60q: %q, done %v, %v", tt.message, data, done, err)
			}
			data, done, err = e.Step(t.Context(), []byte("\x01"))
		}
		if len(data) != 0 || done != (condition == "") || (e.User() == "romeo") != done || e.Expires().IsZero() == done {
			t.Errorf("%.60q: %q, done %v, User %q until %v", tt.message, data, done, e.User(), e.Expires())
		}
		if condition != "" {
			wantFailure(t, err, condition)
		} else if err != nil {
			t.Errorf("%.60q: %v", tt.message, err)
		}
	}
	if _, err := a.Account(t.Context(), "romeo"); err != nil {
		t.Errorf("no account: %v", err)
	}
}

// RFC 7628 §3.2.3: what is no receipt of the error, and no second try, comes through.
func TestOAuthBearerAfterTheError(t *testing.T) {
	s, _ := newTokenService(t, testTokenConfig())
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	good := "n,,\x01auth=Bearer " + sign("HS256", []byte(testTokenSecret), nil, goodClaims(nil)) + "\x01\x01"
	for _, answer := range []string{"", "\x01\x01", "x", good} {
		e, err := s.Start(oauthBearer, ch)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := e.Step(t.Context(), []byte("n,,\x01\x01")); err != nil {
			t.Fatal(err)
		}
		_, done, err := e.Step(t.Context(), []byte(answer))
		wantFailure(t, err, "malformed-request")
		if done || e.User() != "" {
			t.Errorf("%.20q: done %v, User %q", answer, done, e.User())
		}
	}
}

// FuzzOAuthBearer checks that what is understood of a message is what was sent, and that no token but a
// good one gets anybody in.
func FuzzOAuthBearer(f *testing.F) {
	s, _ := newTokenService(f, testTokenConfig())
	ch, _ := newTestChannel(f, tls.VersionTLS13)
	token := sign("HS256", []byte(strings.ToUpper(testTokenSecret)), nil, goodClaims(nil))
	f.Add("n,,\x01auth=Bearer "+token+"\x01\x01", "\x01")
	f.Add("y,a=ju=2Cliet@example.com,\x01host=x\x01port=5222\x01auth=bearer x\x01\x01", "\x01")
	f.Add("n,,\x01auth=\x01\x01", "")
	f.Add("n,,\x01\x01", "x")
	f.Add("\x01", "")
	f.Fuzz(func(t *testing.T, message, answer string) {
		if m, failure := parseBearer(message); failure == nil {
			if !strings.HasPrefix(message, "n,") && !strings.HasPrefix(message, "y,") || !strings.HasSuffix(message, "\x01") {
				t.Errorf("%q was taken", message)
			}
			escaped := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(m.authzid)
			if m.authzid != "" && !strings.HasPrefix(message[2:], "a="+escaped+",\x01") {
				t.Errorf("%q: authzid %q", message, m.authzid)
			}
			if m.token != "" && strings.Count(message, "\x01auth=") != 1 || !strings.Contains(message, " "+m.token+"\x01") && m.token != "" || strings.Contains(m.token, "\x01") {
				t.Errorf("%q: token %q", message, m.token)
			}
		}
		e, err := s.Start(oauthBearer, ch)
		if err != nil {
			t.Fatal(err)
		}
		for _, response := range []string{message, answer, answer} {
			if _, done, err := e.Step(t.Context(), []byte(response)); done || e.User() != "" {
				t.Fatalf("authenticated as %q", e.User())
			} else if err != nil {
				return
			}
		}
		t.Fatal("the exchange does not end")
	})
}
