package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatd/store"
)

const (
	testTokenSecret = "0123456789abcdef0123456789abcdef"
	testIssuer      = "https://issuer.test"
	testAudience    = "chat"
)

var (
	testRSA     = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	testECDSA   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	testEd25519 = sync.OnceValue(func() ed25519.PrivateKey { _, k, err := ed25519.GenerateKey(rand.Reader); return must(k, err) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// publicJWK is what an issuer publishes of a key.
func publicJWK(id string, key any) map[string]any {
	k := map[string]any{"use": "sig"}
	if id != "" {
		k["kid"] = id
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		k["kty"], k["n"], k["e"] = "RSA", b64(key.N.Bytes()), b64(big.NewInt(int64(key.E)).Bytes())
	case *ecdsa.PrivateKey:
		point := must(key.PublicKey.Bytes())
		size := (len(point) - 1) / 2
		k["kty"], k["crv"], k["x"], k["y"] = "EC", key.Params().Name, b64(point[1:1+size]), b64(point[1+size:])
	case ed25519.PrivateKey:
		k["kty"], k["crv"], k["x"] = "OKP", "Ed25519", b64(key.Public().(ed25519.PublicKey))
	}
	return k
}

func keySet(keys ...map[string]any) []byte { return must(json.Marshal(map[string]any{"keys": keys})) }

func testKeySet() []byte {
	return keySet(publicJWK("rsa", testRSA()), publicJWK("ec", testECDSA()), publicJWK("ed", testEd25519()))
}

func testTokenConfig() TokenConfig {
	return TokenConfig{
		Issuer: testIssuer, Audience: testAudience, Secret: testTokenSecret, Keys: must(ParseKeySet(testKeySet())),
		Refresh: time.Hour, Leeway: 30 * time.Second,
	}
}

// goodClaims are juliet's for an hour, changed by change; nil takes a claim away.
func goodClaims(change map[string]any) jwt.MapClaims {
	c := jwt.MapClaims{"iss": testIssuer, "aud": testAudience, "sub": "juliet", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// sign makes a token; header is added to what it says of itself.
func sign(alg string, key any, header, claims map[string]any) string {
	t := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims(claims))
	maps.Copy(t.Header, header)
	return must(t.SignedString(key))
}

func kid(id string) map[string]any { return map[string]any{"kid": id} }

// newTokenService has juliet's account and accepts tokens.
func newTokenService(t testing.TB, cfg TokenConfig) (*Service, *accounts) {
	t.Helper()
	s, a := newTestService(t)
	tokens := NewTokens(slog.New(slog.DiscardHandler))
	tokens.Reload(cfg)
	t.Cleanup(tokens.Close)
	s.SetTokens(tokens)
	return s, a
}

func TestTokenAlgorithms(t *testing.T) {
	s, _ := newTokenService(t, testTokenConfig())
	rsaDER := must(x509.MarshalPKIXPublicKey(testRSA().Public()))
	rsaPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: rsaDER})
	edKey := []byte(testEd25519().Public().(ed25519.PublicKey))
	other := must(rsa.GenerateKey(rand.Reader, 2048))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	claims := goodClaims(nil)
	tests := []struct {
		name, token string
		good        bool
	}{
		{"HS256", sign("HS256", []byte(testTokenSecret), nil, claims), true},
		{"HS256 whatever its key is named", sign("HS256", []byte(testTokenSecret), kid("rsa"), claims), true},
		{"RS256", sign("RS256", testRSA(), kid("rsa"), claims), true},
		{"RS256 without kid", sign("RS256", testRSA(), nil, claims), true},
		{"ES256", sign("ES256", testECDSA(), kid("ec"), claims), true},
		{"EdDSA", sign("EdDSA", testEd25519(), kid("ed"), claims), true},

		{"none", sign("none", jwt.UnsafeAllowNoneSignatureType, nil, claims), false},
		{"HS256 with another secret", sign("HS256", []byte(strings.ToUpper(testTokenSecret)), nil, claims), false},
		{"HS256 with the RSA public key, PEM", sign("HS256", rsaPEM, kid("rsa"), claims), false},
		{"HS256 with the RSA public key, DER", sign("HS256", rsaDER, kid("rsa"), claims), false},
		{"HS256 with the RSA modulus", sign("HS256", testRSA().N.Bytes(), kid("rsa"), claims), false},
		{"HS256 with the Ed25519 public key", sign("HS256", edKey, kid("ed"), claims), false},
		{"HS256 without a key", sign("HS256", []byte{}, nil, claims), false},
		{"HS384", sign("HS384", []byte(testTokenSecret), nil, claims), false},
		{"RS512", sign("RS512", testRSA(), kid("rsa"), claims), false},
		{"PS256", sign("PS256", testRSA(), kid("rsa"), claims), false},
		{"ES384", sign("ES384", p384, kid("ec"), claims), false},
		{"RS256 by another key", sign("RS256", other, kid("rsa"), claims), false},
		{"RS256 that names the EC key", sign("RS256", testRSA(), kid("ec"), claims), false},
		{"ES256 that names the RSA key", sign("ES256", testECDSA(), kid("rsa"), claims), false},
		{"unknown key", sign("RS256", testRSA(), kid("new"), claims), false},
		{"its own key", sign("RS256", other, map[string]any{"kid": "own", "jwk": publicJWK("own", other)}, claims), false},
		{"critical extension", sign("HS256", []byte(testTokenSecret), map[string]any{"crit": []string{"exp"}}, claims), false},
		{"critical null", sign("HS256", []byte(testTokenSecret), map[string]any{"crit": nil}, claims), false},
		{"alg that is no string", sign("HS256", []byte(testTokenSecret), map[string]any{"alg": 1}, claims), false},
		{"alg in lower case", sign("HS256", []byte(testTokenSecret), map[string]any{"alg": "hs256"}, claims), false},
	}
	for _, tt := range tests {
		user, expires, failure := s.verifyToken(t.Context(), tt.token)
		if good := failure == nil; good != tt.good || good != (user == "juliet") || good == expires.IsZero() {
			t.Errorf("%s: %q until %v, %v", tt.name, user, expires, failure)
		}
		if failure != nil && (failure.Condition != "not-authorized" || failure.Cause == nil) {
			t.Errorf("%s: %v because of %v", tt.name, failure, failure.Cause)
		}
	}
}

func TestTokenWithoutSecret(t *testing.T) {
	cfg := testTokenConfig()
	cfg.Secret = ""
	s, _ := newTokenService(t, cfg)
	if _, _, failure := s.verifyToken(t.Context(), sign("HS256", []byte{}, nil, goodClaims(nil))); failure == nil {
		t.Error("a token that is signed with nothing was accepted")
	}
	if _, _, failure := s.verifyToken(t.Context(), sign("RS256", testRSA(), nil, goodClaims(nil))); failure != nil {
		t.Error(failure.Cause)
	}
}

func TestTokenClaims(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) int64 { return now.Add(-d).Unix() }
	type claims map[string]any
	tests := []struct {
		name   string
		claims claims
		want   string // user, or "!" and the condition
	}{
		{"good", nil, "juliet"},
		{"normalized", claims{"sub": "Juliet"}, "juliet"},
		{"a list of audiences", claims{"aud": []string{"other", testAudience}}, "juliet"},
		{"fractions", claims{"exp": float64(now.Unix()) + 100.5}, "juliet"},
		{"within the leeway", claims{"exp": ago(20 * time.Second), "nbf": ago(-20 * time.Second), "iat": ago(-20 * time.Second)}, "juliet"},

		{"wrong issuer", claims{"iss": "https://other.test"}, "!not-authorized"},
		{"no issuer", claims{"iss": nil}, "!not-authorized"},
		{"issuer is a list", claims{"iss": []string{testIssuer}}, "!not-authorized"},
		{"wrong audience", claims{"aud": "other"}, "!not-authorized"},
		{"wrong audiences", claims{"aud": []string{"other", "chat2"}}, "!not-authorized"},
		{"no audience", claims{"aud": nil}, "!not-authorized"},
		{"audience is a number", claims{"aud": []any{1, testAudience}}, "!not-authorized"},
		{"no end", claims{"exp": nil}, "!not-authorized"},
		{"end is null", claims{"exp": json.RawMessage("null")}, "!not-authorized"},
		{"end is zero", claims{"exp": 0}, "!not-authorized"},
		{"end is a string", claims{"exp": "4102444800"}, "!not-authorized"},
		{"end is before time", claims{"exp": -1e300}, "!credentials-expired"},
		{"expired", claims{"exp": ago(31 * time.Second)}, "!credentials-expired"},
		{"not yet", claims{"nbf": ago(-40 * time.Second)}, "!not-authorized"},
		{"nbf is a string", claims{"nbf": "0"}, "!not-authorized"},
		{"issued in the future", claims{"iat": ago(-40 * time.Second)}, "!not-authorized"},
		{"no user", claims{"sub": nil}, "!not-authorized"},
		{"empty user", claims{"sub": ""}, "!not-authorized"},
		{"user is a number", claims{"sub": 7}, "!not-authorized"},
		{"user is an address", claims{"sub": "juliet@example.com"}, "!not-authorized"},
		{"user has a resource", claims{"sub": "juliet/balcony"}, "!not-authorized"},
		{"user with a space", claims{"sub": "ju liet"}, "!not-authorized"},
		{"user too long", claims{"sub": strings.Repeat("j", 1024)}, "!not-authorized"},
	}
	s, _ := newTokenService(t, testTokenConfig())
	for _, tt := range tests {
		user, expires, failure := s.verifyToken(t.Context(), sign("HS256", []byte(testTokenSecret), nil, goodClaims(tt.claims)))
		if failure != nil {
			user = "!" + failure.Condition
		} else if left := time.Until(expires); left < 0 || left > time.Hour+30*time.Second {
			t.Errorf("%s: counts for %v", tt.name, left)
		}
		if user != tt.want {
			t.Errorf("%s: %s, want %s (%v)", tt.name, user, tt.want, failure)
		}
	}
}

func TestTokenUserClaimAndNothingElseConfigured(t *testing.T) {
	s, _ := newTokenService(t, TokenConfig{Secret: testTokenSecret, UserClaim: "player"})
	exp := time.Now().Add(time.Minute).Truncate(time.Second)
	token := sign("HS256", []byte(testTokenSecret), nil, map[string]any{"sub": "other", "player": "juliet", "exp": exp.Unix()})
	if user, expires, failure := s.verifyToken(t.Context(), token); failure != nil || user != "juliet" || !expires.Equal(exp) {
		t.Errorf("%q until %v, %v", user, expires, failure)
	}
	token = sign("HS256", []byte(testTokenSecret), nil, goodClaims(nil))
	if _, _, failure := s.verifyToken(t.Context(), token); failure == nil {
		t.Error("sub was taken for the user")
	}
}

// part is one segment of a token made by hand.
func part(s string) string { return b64([]byte(s)) }

func TestTokenMalformed(t *testing.T) {
	s, _ := newTokenService(t, testTokenConfig())
	good := sign("HS256", []byte(testTokenSecret), nil, goodClaims(nil))
	parts := strings.Split(good, ".")
	big := sign("HS256", []byte(testTokenSecret), nil, goodClaims(map[string]any{"x": strings.Repeat("x", maxToken)}))
	for _, token := range []string{
		"", ".", "..", "a.b", "a.b.", ".b.c", "a..c", "a.b.c", "a.b.c.d", good + ".", "." + good, good + ".x", good + "=", good + "\n",
		" " + good, good[:len(good)-1], good + "A", parts[0] + "." + parts[1] + ".", parts[0] + "." + parts[1],
		parts[0] + "\n." + parts[1] + "." + parts[2], parts[0] + "==." + parts[1] + "." + parts[2],
		part("x") + "." + parts[1] + "." + parts[2], part("null") + "." + parts[1] + "." + parts[2],
		part("[]") + "." + parts[1] + "." + parts[2], part("{}") + "." + parts[1] + "." + parts[2],
		part(`{"alg":"none"}`) + "." + parts[1] + ".x", parts[0] + "." + part("null") + "." + parts[2],
		parts[0] + "." + part(strings.Repeat("[", 4000)) + "." + parts[2], big, strings.Repeat("a", 10*maxToken), strings.Repeat(".", 10*maxToken),
	} {
		if user, _, failure := s.verifyToken(t.Context(), token); failure == nil || failure.Condition != "not-authorized" {
			t.Errorf("%.80q: %q, %v", token, user, failure)
		}
	}
	// Signed well, and yet nothing to go by.
	for _, claims := range []string{"null", "[]", "1", `""`, "{}", `{"exp":1`, "{}{}", " "} {
		text := parts[0] + "." + part(claims)
		token := text + "." + b64(must(jwt.SigningMethodHS256.Sign(text, []byte(testTokenSecret))))
		if _, _, failure := s.verifyToken(t.Context(), token); failure == nil {
			t.Errorf("%s was accepted", claims)
		}
	}
	if len(big) <= maxToken || !tokenShaped(good) {
		t.Error("the test is wrong")
	}
}

func TestParseKeySet(t *testing.T) {
	with := func(k map[string]any, change map[string]any) map[string]any {
		k = maps.Clone(k)
		maps.Copy(k, change)
		return k
	}
	type m = map[string]any
	rsaJWK, ecJWK, edJWK := publicJWK("a", testRSA()), publicJWK("b", testECDSA()), publicJWK("c", testEd25519())
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	good := []m{
		rsaJWK, ecJWK, edJWK,
		with(rsaJWK, m{"alg": "RS256", "key_ops": []string{"verify"}, "x5t": "x", "ext": true}),
		with(ecJWK, m{"alg": "ES256", "use": ""}), with(edJWK, m{"alg": "EdDSA"}),
	}
	for _, k := range good {
		if s, err := ParseKeySet(keySet(k)); err != nil || len(s.keys) != 1 {
			t.Errorf("%v: %v", k, err)
		}
	}
	bad := []m{
		{}, {"kty": "oct", "k": b64([]byte(testTokenSecret))}, {"kty": "RSA"}, {"kty": 1},
		with(rsaJWK, m{"alg": "HS256"}), with(rsaJWK, m{"alg": "RS512"}), with(ecJWK, m{"alg": "RS256"}), with(rsaJWK, m{"alg": "none"}),
		with(rsaJWK, m{"use": "enc"}), with(rsaJWK, m{"key_ops": []string{"encrypt"}}), with(rsaJWK, m{"key_ops": []string{}}),
		with(rsaJWK, m{"n": "!"}), with(rsaJWK, m{"e": "!"}), with(rsaJWK, m{"e": "AA"}), with(rsaJWK, m{"e": "AQ"}), with(rsaJWK, m{"e": "Ag"}),
		with(rsaJWK, m{"e": b64(make([]byte, 40)) + "AQAB"}), with(rsaJWK, m{"e": b64(testRSA().N.Bytes())}),
		with(rsaJWK, m{"n": rsaJWK["n"].(string) + strings.Repeat("A", 2000)}), publicJWK("small", small),
		with(ecJWK, m{"crv": "P-384"}), with(ecJWK, m{"x": ecJWK["y"], "y": ecJWK["x"]}), with(ecJWK, m{"x": "AA"}), with(ecJWK, m{"y": "!"}),
		with(ecJWK, m{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}), publicJWK("p384", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))),
		with(edJWK, m{"crv": "X25519"}), with(edJWK, m{"x": "AA"}), with(edJWK, m{"x": "!"}),
	}
	for _, k := range bad {
		if s, err := ParseKeySet(keySet(k)); err == nil {
			t.Errorf("%v: %v", k, s)
		}
	}
	if s, err := ParseKeySet(keySet(append(bad, good...)...)); err != nil || len(s.keys) != len(good) {
		t.Errorf("mixed: %v, %v", s, err)
	}
	many := make([]m, maxKeys+1)
	for i := range many {
		many[i] = edJWK
	}
	for _, doc := range []string{"", "null", "[]", "{}", "x", `{"keys":{}}`, `{"keys":[]}`, `{"keys":[1]}`, string(keySet(many...)), strings.Repeat(" ", maxKeySetBytes) + "{}"} {
		if s, err := ParseKeySet([]byte(doc)); err == nil {
			t.Errorf("%.40s: %v", doc, s)
		}
	}
}

// A token login and nothing else makes an account, once, and no password opens it.
func TestTokenAccount(t *testing.T) {
	s, a := newTokenService(t, testTokenConfig())
	ch, seen := newTestChannel(t, 0x0304)
	token := sign("ES256", testECDSA(), kid("ec"), goodClaims(map[string]any{"sub": "Romeo"}))
	for range 2 {
		if user, err := login(t, s, "PLAIN", ch, seen, "romeo", token, ""); err != nil || user != "romeo" {
			t.Fatalf("%q, %v", user, err)
		}
	}
	account, err := a.Account(t.Context(), "romeo")
	if err != nil || len(account.Credentials) != 0 || time.Since(account.Created) > time.Hour {
		t.Errorf("%+v, %v", account, err)
	}
	for _, m := range s.Mechanisms(ch) {
		if m == oauthBearer {
			continue
		}
		for _, password := range []string{"x", "a.b.c", token[:len(token)-4]} {
			_, err := login(t, s, m, ch, seen, "romeo", password, "")
			wantFailure(t, err, "not-authorized")
		}
	}
	// An operator gives it a password: then both work.
	if err := s.SetPassword(t.Context(), "romeo", "rose"); err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"rose", token} {
		if user, err := login(t, s, "PLAIN", ch, seen, "romeo", password, ""); err != nil || user != "romeo" {
			t.Errorf("%q, %v", user, err)
		}
	}
}

// TestSCRAMOfTokenAccount: the first login by token changes nothing of what SCRAM says of a user.
func TestSCRAMOfTokenAccount(t *testing.T) {
	s, a := newTokenService(t, testTokenConfig())
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1"} {
		if err := a.DeleteAccount(t.Context(), "romeo"); err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		unknown := scramFailure(t, s, a, mechanism)
		if err := a.CreateAccount(t.Context(), store.Account{User: "romeo"}); err != nil {
			t.Fatal(err)
		}
		if known := scramFailure(t, s, a, mechanism); known != unknown {
			t.Errorf("%s: %+v without an account, %+v with one", mechanism, unknown, known)
		}
	}
}

// A scramView is all that a client sees of a login that fails, but for the nonce, and what it costs.
type scramView struct {
	saltAndRounds, condition, text string
	reads                          int64
}

func scramFailure(t *testing.T, s *Service, a *accounts, mechanism string) (v scramView) {
	t.Helper()
	before := a.reads.Load()
	e, err := s.Start(mechanism, Channel{})
	if err != nil {
		t.Fatal(err)
	}
	challenge, _, err := e.Step(t.Context(), []byte("n,,n=romeo,r=x"))
	if err != nil {
		t.Fatal(err)
	}
	nonce, rest, _ := strings.Cut(string(challenge), ",")
	proof := base64.StdEncoding.EncodeToString(make([]byte, hashByName(mechanism).new().Size()))
	_, _, err = e.Step(t.Context(), []byte("c=biws,"+nonce+",p="+proof))
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatal(err)
	}
	return scramView{rest, f.Condition, f.Text, a.reads.Load() - before}
}

func TestPlainWithToken(t *testing.T) {
	s, a := newTokenService(t, testTokenConfig())
	ch, _ := newTestChannel(t, 0x0304)
	if err := s.SetPassword(t.Context(), "juliet", "a.b.c"); err != nil {
		t.Fatal(err)
	}
	mine := sign("RS256", testRSA(), nil, goodClaims(nil))
	stale := sign("RS256", testRSA(), nil, goodClaims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}))
	for _, tt := range []struct{ message, user, want string }{
		{"\x00juliet\x00" + mine, "juliet", ""},
		{"juliet@example.com\x00Juliet\x00" + mine, "juliet", ""},
		{"\x00juliet\x00a.b.c", "juliet", ""},
		{"\x00juliet\x00a.b.d", "", "not-authorized"},
		{"\x00romeo\x00" + mine, "", "not-authorized"},
		{"romeo@example.com\x00juliet\x00" + mine, "", "invalid-authzid"},
		{"\x00juliet\x00" + stale, "", "credentials-expired"},
		{"\x00juliet\x00" + mine + "x", "", "not-authorized"},
		{"\x00juliet\x00" + strings.Repeat("a", maxToken) + ".b.c", "", "not-authorized"},
		{"\x00juliet\x00" + strings.Repeat("a", maxResponse) + ".b.c", "", "malformed-request"},
	} {
		e, err := s.Start("PLAIN", ch)
		if err != nil {
			t.Fatal(err)
		}
		_, done, err := e.Step(t.Context(), []byte(tt.message))
		if done != (tt.want == "") || e.User() != tt.user || e.Expires().IsZero() == (done && strings.HasSuffix(tt.message, mine)) {
			t.Errorf("%.40q: done %v, User %q until %v", tt.message, done, e.User(), e.Expires())
		}
		if tt.want != "" {
			wantFailure(t, err, tt.want)
		} else if err != nil {
			t.Errorf("%.40q: %v", tt.message, err)
		}
	}
	if _, err := a.Account(t.Context(), "romeo"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an account for a refused token: %v", err)
	}
}

// TestPlainTokenRefused: the log learns why a token did not count, and nothing of what may be a password.
func TestPlainTokenRefused(t *testing.T) {
	s, _ := newTokenService(t, testTokenConfig())
	ch, seen := newTestChannel(t, 0x0304)
	secret := []byte(testTokenSecret)
	for _, tt := range []struct{ token, cause string }{
		{sign("HS256", secret, nil, goodClaims(map[string]any{"iss": "https://other.test"})), "token has invalid claims: token has invalid issuer"},
		{sign("HS256", []byte("another secret of thirty-two byte"), nil, goodClaims(nil)), "token signature is invalid: signature is invalid"},
		{sign("HS256", secret, nil, goodClaims(map[string]any{"sub": "romeo"})), "a token of somebody else"},
		{"my.dotted.password", ""},
		{part("secret") + ".x.y", ""},
	} {
		_, err := login(t, s, "PLAIN", ch, seen, "juliet", tt.token, "")
		wantFailure(t, err, "not-authorized")
		if cause := errors.Unwrap(err); (cause == nil) != (tt.cause == "") || cause != nil && cause.Error() != tt.cause {
			t.Errorf("%.20q: because of %v, want %q", tt.token, cause, tt.cause)
		}
	}
}

func TestRenew(t *testing.T) {
	s, _ := newTokenService(t, testTokenConfig())
	exp := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	token := sign("HS256", []byte(testTokenSecret), nil, goodClaims(map[string]any{"exp": exp.Unix()}))
	if got, err := s.Renew(t.Context(), "juliet", token); err != nil || !got.Equal(exp.Add(30*time.Second)) {
		t.Errorf("%v, %v", got, err)
	}
	_, err := s.Renew(t.Context(), "romeo", token)
	wantFailure(t, err, "not-authorized")
	s.SetTokens(nil)
	_, err = s.Renew(t.Context(), "juliet", token)
	wantFailure(t, err, "not-authorized")
}

func TestTokenStoreFault(t *testing.T) {
	s, a := newTokenService(t, testTokenConfig())
	a.fault = errors.New("disk on fire")
	ch, _ := newTestChannel(t, 0x0304)
	token := sign("HS256", []byte(testTokenSecret), nil, goodClaims(nil))
	for mechanism, message := range map[string]string{"PLAIN": "\x00juliet\x00" + token, oauthBearer: "n,,\x01auth=Bearer " + token + "\x01\x01"} {
		e, err := s.Start(mechanism, ch)
		if err != nil {
			t.Fatal(err)
		}
		_, done, err := e.Step(context.Background(), []byte(message))
		if f := (*Failure)(nil); done || errors.As(err, &f) || !errors.Is(err, a.fault) || e.User() != "" {
			t.Errorf("%s: done %v, %v, User %q", mechanism, done, err, e.User())
		}
	}
}
