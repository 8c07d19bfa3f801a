package auth

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"chatd/store"
	"chatd/store/memory"
)

// TestVectors replays the exchanges of RFC 5802 §5 and RFC 7677 §3.
func TestVectors(t *testing.T) {
	tests := []struct {
		mechanism, salt, nonce, clientFirst, serverFirst, clientFinal, serverFinal string
	}{
		{
			mechanism:   "SCRAM-SHA-1",
			salt:        "QSXCR+Q6sek8bf92",
			nonce:       "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
			clientFirst: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			serverFirst: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			clientFinal: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			serverFinal: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		{
			mechanism:   "SCRAM-SHA-256",
			salt:        "W22ZaJ0SNY7soEsUEjb6gQ==",
			nonce:       "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			clientFirst: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			serverFirst: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			clientFinal: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			serverFinal: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	}
	for _, tt := range tests {
		t.Run(tt.mechanism, func(t *testing.T) {
			m := memory.New()
			s := New(m, testDomain, testSecret)
			salt, _ := base64.StdEncoding.DecodeString(tt.salt)
			cred, err := s.derive(t.Context(), hashByName(tt.mechanism), "pencil", salt, 4096)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.CreateAccount(t.Context(), store.Account{User: "user", Credentials: []store.Credential{cred}}); err != nil {
				t.Fatal(err)
			}
			x := &scram{Exchange: &Exchange{service: s}, hash: hashByName(tt.mechanism)}
			x.next = x.clientFirst
			challenge, _, err := x.Step(t.Context(), []byte(tt.clientFirst))
			if got := strings.ReplaceAll(string(challenge), x.nonce, tt.nonce); got != tt.serverFirst || err != nil {
				t.Fatalf("server-first-message %q, %v", got, err)
			}
			x.nonce, x.serverFirst = tt.nonce, tt.serverFirst // ours was random
			final, done, err := x.Step(t.Context(), []byte(tt.clientFinal))
			if string(final) != tt.serverFinal || !done || err != nil || x.User() != "user" {
				t.Errorf("server-final-message %q, done %v, %v, User %q", final, done, err, x.User())
			}
		})
	}
}

// A testClient is a SCRAM client that does what it is told, right or wrong.
type testClient struct {
	hash     scramHash
	gs2      string // header
	binding  []byte
	user     string // saslname
	password string
	exts     string // ",x=..." in both messages

	final struct{ c, r, p string } // set by answer
	first string                   // server-first-message
}

const clientNonce = "cnonce"

func (c *testClient) bare() string { return "n=" + c.user + ",r=" + clientNonce + c.exts }

// answer reads the server-first-message and makes the attributes of the
// client-final-message.
func (c *testClient) answer(serverFirst []byte) {
	c.first = string(serverFirst)
	attrs := strings.Split(c.first, ",")
	salt, _ := base64.StdEncoding.DecodeString(attrs[1][2:])
	rounds, _ := strconv.Atoi(attrs[2][2:])
	salted, err := pbkdf2.Key(c.hash.new, c.password, salt, rounds, c.hash.new().Size())
	if err != nil {
		panic(err)
	}
	c.final.c = base64.StdEncoding.EncodeToString(append([]byte(c.gs2), c.binding...))
	c.final.r = attrs[0][2:]
	c.prove(c.hash.mac(salted, "Client Key"))
}

func (c *testClient) prove(clientKey []byte) {
	proof := c.hash.mac(c.hash.sum(clientKey), c.bare()+","+c.first+","+c.withoutProof())
	subtle.XORBytes(proof, proof, clientKey)
	c.final.p = base64.StdEncoding.EncodeToString(proof)
}

func (c *testClient) withoutProof() string { return "c=" + c.final.c + ",r=" + c.final.r + c.exts }

func (c *testClient) message() string { return c.withoutProof() + ",p=" + c.final.p }

// run goes through an exchange; tamper may change the last message.
func (c *testClient) run(ctx context.Context, s *Service, mechanism string, ch Channel, tamper func(*testClient) string) (user string, err error) {
	c.hash = hashByName(strings.TrimSuffix(mechanism, plusSuffix))
	e, err := s.Start(mechanism, ch)
	if err != nil {
		return "", err
	}
	challenge, _, err := e.Step(ctx, []byte(c.gs2+c.bare()))
	if err != nil {
		return "", err
	}
	c.answer(challenge)
	_, _, err = e.Step(ctx, []byte(tamper(c)))
	return e.User(), err
}

func TestTampering(t *testing.T) {
	s, _ := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	flip := func(b64 string) string {
		b, _ := base64.StdEncoding.DecodeString(b64)
		b[len(b)/2] ^= 1
		return base64.StdEncoding.EncodeToString(b)
	}
	tests := []struct {
		name   string
		tamper func(*testClient) string
		want   string // condition; "" is success
	}{
		{"nothing", (*testClient).message, ""},
		{"proof", func(c *testClient) string { c.final.p = flip(c.final.p); return c.message() }, "not-authorized"},
		{"proof of zeros", func(c *testClient) string {
			c.final.p = base64.StdEncoding.EncodeToString(make([]byte, c.hash.new().Size()))
			return c.message()
		}, "not-authorized"},
		{"binding under the old proof", func(c *testClient) string { c.final.c = flip(c.final.c); return c.message() }, "not-authorized"},
		{"nonce under the old proof", func(c *testClient) string { c.final.r += "x"; return c.message() }, "not-authorized"},
		{"extension under the old proof", func(c *testClient) string { c.exts = ",x=y"; return c.message() }, "not-authorized"},
		{"short proof", func(c *testClient) string { c.final.p = "AAAA"; return c.message() }, "malformed-request"},
		{"no proof", func(c *testClient) string { return c.withoutProof() }, "malformed-request"},
		{"empty proof", func(c *testClient) string { return c.withoutProof() + ",p=" }, "malformed-request"},
		{"proof in two lines", func(c *testClient) string { c.final.p = c.final.p[:8] + "\n" + c.final.p[8:]; return c.message() }, "malformed-request"},
		{"proof not base64", func(c *testClient) string { return c.withoutProof() + ",p=~~~~" }, "malformed-request"},
		{"something after the proof", func(c *testClient) string { return c.message() + ",x=y" }, "malformed-request"},
		{"the first message again", func(c *testClient) string { return c.gs2 + c.bare() }, "malformed-request"},
		{"nothing at all", func(c *testClient) string { return "" }, "malformed-request"},
		{"NUL", func(c *testClient) string { c.exts = ",x=\x00"; return c.message() }, "malformed-request"},
		{"not UTF-8", func(c *testClient) string { c.exts = ",x=\xff"; return c.message() }, "malformed-request"},
		{"mandatory extension", func(c *testClient) string { c.exts = ",m=x"; return c.message() }, "malformed-request"},
	}
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"} {
		for _, tt := range tests {
			t.Run(mechanism+" "+tt.name, func(t *testing.T) {
				c := &testClient{gs2: "n,,", user: "juliet", password: testPassword}
				if strings.HasSuffix(mechanism, plusSuffix) {
					c.gs2, c.binding = "p=tls-exporter,,", s.bindingData(ch, "tls-exporter")
				}
				user, err := c.run(t.Context(), s, mechanism, ch, tt.tamper)
				if tt.want == "" {
					if err != nil || user != "juliet" {
						t.Fatalf("User %q, %v", user, err)
					}
					return
				}
				wantFailure(t, err, tt.want)
				if user != "" {
					t.Errorf("User %q", user)
				}
			})
		}
	}
}

// What the client claims of the channel must be true even if its proof covers it.
func TestProofOfAnotherNonceOrBinding(t *testing.T) {
	s, _ := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	for name, lie := range map[string]func(*testClient){
		"nonce":      func(c *testClient) { c.final.r = clientNonce + "made-up" },
		"old nonce":  func(c *testClient) { c.final.r = clientNonce },
		"gs2 header": func(c *testClient) { c.final.c = base64.StdEncoding.EncodeToString([]byte("y,,")) },
		"binding":    func(c *testClient) { c.final.c = base64.StdEncoding.EncodeToString([]byte("n,,x")) },
	} {
		t.Run(name, func(t *testing.T) {
			c := &testClient{gs2: "n,,", user: "juliet", password: testPassword}
			user, err := c.run(t.Context(), s, "SCRAM-SHA-256", ch, func(c *testClient) string {
				lie(c)
				attrs := strings.Split(c.first, ",")
				salt, _ := base64.StdEncoding.DecodeString(attrs[1][2:])
				salted, _ := pbkdf2.Key(c.hash.new, c.password, salt, iterations, c.hash.new().Size())
				c.prove(c.hash.mac(salted, "Client Key"))
				return c.message()
			})
			wantFailure(t, err, "not-authorized")
			if user != "" {
				t.Errorf("User %q", user)
			}
		})
	}
}

// TestChannelBindingFlag is RFC 5802 §6.
func TestChannelBindingFlag(t *testing.T) {
	s, _ := newTestService(t)
	tls12, _ := newTestChannel(t, tls.VersionTLS12)
	tls13, _ := newTestChannel(t, tls.VersionTLS13)
	unbound := Channel{TLS: &tls.ConnectionState{}}
	tests := []struct {
		name, mechanism string
		ch              Channel
		gs2             string
		want            string // condition; "" is success
	}{
		{"no TLS, not supported by the client", "SCRAM-SHA-1", Channel{}, "n,,", ""},
		{"no TLS, supported by the client", "SCRAM-SHA-1", Channel{}, "y,,", ""},
		{"TLS without binding, supported by the client", "SCRAM-SHA-1", unbound, "y,,", ""},
		{"TLS, not supported by the client", "SCRAM-SHA-1", tls13, "n,,", ""},
		{"downgrade", "SCRAM-SHA-1", tls13, "y,,", "malformed-request"},
		{"downgrade in TLS 1.2", "SCRAM-SHA-256", tls12, "y,,", "malformed-request"},
		{"flag without PLUS", "SCRAM-SHA-256", tls13, "p=tls-exporter,,", "malformed-request"},
		{"PLUS without flag", "SCRAM-SHA-256-PLUS", tls13, "n,,", "malformed-request"},
		{"PLUS with y", "SCRAM-SHA-256-PLUS", tls13, "y,,", "malformed-request"},
		{"exporter", "SCRAM-SHA-256-PLUS", tls13, "p=tls-exporter,,", ""},
		{"exporter in TLS 1.2", "SCRAM-SHA-1-PLUS", tls12, "p=tls-exporter,,", ""},
		{"end point", "SCRAM-SHA-256-PLUS", tls13, "p=tls-server-end-point,,", ""},
		{"end point in TLS 1.2 with authzid", "SCRAM-SHA-1-PLUS", tls12, "p=tls-server-end-point,a=juliet@example.com,", ""},
		{"unique in TLS 1.2", "SCRAM-SHA-1-PLUS", tls12, "p=tls-unique,,", ""},
		{"unique in TLS 1.3", "SCRAM-SHA-1-PLUS", tls13, "p=tls-unique,,", "malformed-request"},
		{"unknown type", "SCRAM-SHA-1-PLUS", tls13, "p=tls-magic,,", "malformed-request"},
		{"no type", "SCRAM-SHA-1-PLUS", tls13, "p=,,", "malformed-request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &testClient{gs2: tt.gs2, user: "juliet", password: testPassword}
			if flag, p := strings.CutPrefix(tt.gs2, "p="); p {
				c.binding = s.bindingData(tt.ch, flag[:strings.IndexByte(flag, ',')])
			}
			user, err := c.run(t.Context(), s, tt.mechanism, tt.ch, (*testClient).message)
			if tt.want != "" {
				wantFailure(t, err, tt.want)
			} else if err != nil || user != "juliet" {
				t.Errorf("User %q, %v", user, err)
			}
		})
	}
}

func TestClientFirstMessage(t *testing.T) {
	s, _ := newTestService(t)
	tests := []struct{ message, want string }{
		{"n,,n=juliet,r=x", ""},
		{"n,,n=nobody,r=x", ""},
		{"n,a=juliet@example.com,n=juliet,r=x", ""},
		{"n,,n=juliet,r=x,a=1,B=2=3", ""},
		{"n,,n=jul=2Ciet=3D,r=x", ""},
		{"", "malformed-request"}, // after the empty challenge
		{"n", "malformed-request"},
		{"n,", "malformed-request"},
		{"n,,", "malformed-request"},
		{"x,,n=juliet,r=x", "malformed-request"},
		{"nn,,n=juliet,r=x", "malformed-request"},
		{",,n=juliet,r=x", "malformed-request"},
		{"n,juliet,n=juliet,r=x", "malformed-request"},
		{"n,a=,n=juliet,r=x", "malformed-request"},
		{"n,a=juliet=40example.com,n=juliet,r=x", "malformed-request"},
		{"n,,n=juliet", "malformed-request"},
		{"n,,n=juliet,r=", "malformed-request"},
		{"n,,n=juliet,r=a b", "malformed-request"},
		{"n,,n=juliet,r=\u00e9", "malformed-request"},
		{"n,,r=x,n=juliet", "malformed-request"},
		{"n,,n=,r=x", "malformed-request"},
		{"n,,n=jul=iet,r=x", "malformed-request"},
		{"n,,n=jul=2ciet,r=x", "malformed-request"},
		{"n,,n=juliet=,r=x", "malformed-request"},
		{"n,,n=juliet,r=x,", "malformed-request"},
		{"n,,n=juliet,r=x,1=2", "malformed-request"},
		{"n,,n=juliet,r=x,xx", "malformed-request"},
		{"n,,n=juliet,r=x,x=", "malformed-request"},
		{"n,,m=x,n=juliet,r=x", "malformed-request"},
		{"n,,n=juliet,r=x,m=x", "malformed-request"},
		{"n,,n=\xff,r=x", "malformed-request"},
		{"n,,n=a\x00b,r=x", "malformed-request"},
		{"n,,n=a b,r=x", "not-authorized"},
		{"n,,n=juliet@example.com,r=x", "not-authorized"},
		{"n,,n=juliet/x,r=x", "not-authorized"},
		{"n,a=romeo@example.com,n=juliet,r=x", "invalid-authzid"},
		{"n,,n=juliet,r=" + strings.Repeat("x", maxResponse), "malformed-request"},
	}
	for _, tt := range tests {
		e, err := s.Start("SCRAM-SHA-256", Channel{})
		if err != nil {
			t.Fatal(err)
		}
		e.asked = true
		challenge, done, err := e.Step(t.Context(), []byte(tt.message))
		if done || e.User() != "" {
			t.Errorf("%q: done %v, User %q", tt.message, done, e.User())
		}
		if tt.want != "" {
			wantFailure(t, err, tt.want)
		} else if err != nil || !bytes.HasPrefix(challenge, []byte("r=x")) {
			t.Errorf("%q: %q, %v", tt.message, challenge, err)
		}
	}
}

func TestUnknownUserLooksLikeAnyOther(t *testing.T) {
	s, a := newTestService(t)
	restarted := New(a, testDomain, testSecret)
	first := func(s *Service, mechanism, user string) []string {
		t.Helper()
		e, err := s.Start(mechanism, Channel{})
		if err != nil {
			t.Fatal(err)
		}
		before := a.reads.Load()
		challenge, done, err := e.Step(t.Context(), []byte("n,,n="+user+",r=x"))
		if err != nil || done {
			t.Fatalf("%s: %v", user, err)
		}
		if n := a.reads.Load() - before; n != 1 {
			t.Errorf("%s: %d reads of the store", user, n)
		}
		return strings.Split(string(challenge), ",")
	}
	salts := make(map[string]string)
	for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1"} {
		known := first(s, m, "juliet")
		for _, user := range []string{"nobody", "nobody2"} {
			unknown := first(s, m, user)
			for i := range known {
				if len(unknown[i]) != len(known[i]) {
					t.Errorf("%s: %q is unlike %q", m, unknown[i], known[i])
				}
			}
			if unknown[2] != known[2] {
				t.Errorf("%s: iterations %q and %q", m, unknown[2], known[2])
			}
			if again := first(s, m, user); again[1] != unknown[1] || again[0] == unknown[0] {
				t.Errorf("%s: asked again: %q, then %q", m, unknown, again)
			}
			if again := first(restarted, m, strings.ToUpper(user)); again[1] != unknown[1] {
				t.Errorf("%s: salt changed after a restart: %q, then %q", m, unknown[1], again[1])
			}
			if with, double := salts[unknown[1]]; double {
				t.Errorf("%s and %s share a salt", with, m+user)
			}
			salts[unknown[1]] = m + user
		}
	}
}

// Nothing proves to be a user who does not exist: not even the keys of the decoy.
func TestDecoyNeverMatches(t *testing.T) {
	s, _ := newTestService(t)
	x := &scram{Exchange: &Exchange{service: s}, hash: scramHashes[0]}
	x.next = x.clientFirst
	c := &testClient{hash: scramHashes[0], gs2: "n,,", user: "nobody", password: "any"}
	challenge, _, err := x.Step(t.Context(), []byte(c.gs2+c.bare()))
	if err != nil {
		t.Fatal(err)
	}
	c.answer(challenge)
	kept, err := s.derive(t.Context(), x.hash, c.password, x.kept.Salt, x.kept.Iterations)
	if err != nil {
		t.Fatal(err)
	}
	x.kept = kept // as if the decoy's keys had been guessed
	_, done, err := x.Step(t.Context(), []byte(c.message()))
	wantFailure(t, err, "not-authorized")
	if done || x.User() != "" {
		t.Errorf("done %v, User %q", done, x.User())
	}
}
