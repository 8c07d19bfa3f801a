package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// An issuer of tokens with one key.
type issuer struct {
	id  string
	key ed25519.PrivateKey
}

func newIssuer(t *testing.T, id string) issuer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{id, key}
}

func (i issuer) jwks() string {
	doc, err := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kty": "OKP", "crv": "Ed25519", "kid": i.id, "x": base64.RawURLEncoding.EncodeToString(i.key.Public().(ed25519.PublicKey)),
	}}})
	if err != nil {
		panic(err)
	}
	return string(doc)
}

func (i issuer) token(user string) string {
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"sub": user, "aud": "chat", "iss": "https://accounts.chat.test", "exp": time.Now().Add(time.Hour).Unix(),
	})
	t.Header["kid"] = i.id
	s, err := t.SignedString(i.key)
	if err != nil {
		panic(err)
	}
	return s
}

// tokenLogin tries a token on a connection of its own, which it returns.
func (i *instance) tokenLogin(token string) (conn *tls.Conn, features string, ok bool) {
	i.t.Helper()
	conn, err := tls.Dial("tcp", i.addr["directtls"], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	features = openStream(i.t, conn)
	fmt.Fprintf(conn, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='OAUTHBEARER'>%s</auth>",
		base64.StdEncoding.EncodeToString([]byte("n,,\x01auth=Bearer "+token+"\x01\x01")))
	answer := readUntil(i.t, conn, ">")
	return conn, features, strings.HasPrefix(answer, "<success ")
}

func readUntil(t *testing.T, conn *tls.Conn, end string) string {
	t.Helper()
	var all bytes.Buffer
	b := make([]byte, 4096)
	for !strings.Contains(all.String(), end) {
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, all.String())
		}
		all.Write(b[:n])
	}
	return all.String()
}

const tokenSection = "[auth.token]\nissuer = \"https://accounts.chat.test\"\naudience = \"chat\"\n"

// TestTokenKeysFromFile: tokens come and go with the configuration and with the file of keys.
func TestTokenKeysFromFile(t *testing.T) {
	config := testConfig(t, "")
	keys := filepath.Join(filepath.Dir(config), "jwks.json")
	first, second := newIssuer(t, "1"), newIssuer(t, "2")
	i := startServe(t, config)
	if _, features, ok := i.tokenLogin(first.token("alice")); ok || strings.Contains(features, "OAUTHBEARER") {
		t.Errorf("without a key: %s", features)
	}

	write(t, keys, first.jwks())
	write(t, config, configText(tokenSection+"jwks_file = \"jwks.json\"\n"))
	i.await("msg=reloaded")
	conn, features, ok := i.tokenLogin(first.token("alice"))
	if !ok || !strings.Contains(features, "<mechanism>OAUTHBEARER</mechanism>") {
		t.Fatalf("features %s", features)
	}
	if _, _, ok := i.tokenLogin(second.token("alice")); ok {
		t.Error("an unknown key")
	}

	write(t, keys, second.jwks())
	i.await("msg=reloaded")
	if _, _, ok := i.tokenLogin(first.token("alice")); ok {
		t.Error("the old key still counts")
	}
	if _, _, ok := i.tokenLogin(second.token("alice")); !ok {
		t.Error("the new key does not count")
	}

	write(t, keys, "no keys")
	if line := i.await("level=ERROR"); !strings.Contains(line, "auth.token.jwks_file: ") || !strings.Contains(line, "not a JWK set") {
		t.Errorf("said %s", line)
	}
	if _, _, ok := i.tokenLogin(second.token("bob")); !ok {
		t.Error("the keys of before do not count")
	}

	// The session of the first token is there still, has an account, and no way to make it a permanent one.
	openStream(t, conn)
	fmt.Fprint(conn, "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	readUntil(t, conn, "</iq>")
	fmt.Fprint(conn, "<iq type='set' id='p'><query xmlns='jabber:iq:register'><username>alice</username><password>x</password></query></iq>")
	if answer := readUntil(t, conn, "</iq>"); !strings.Contains(answer, "<not-allowed ") {
		t.Errorf("password change: %s", answer)
	}
	if code, out, _ := call(t, "", "user", "list", "-config", config); code != exitOK || out != "alice@chat.test\nbob@chat.test\n" {
		t.Errorf("accounts: %d %q", code, out)
	}
}

// TestTokenKeysFromURL: chatd starts without the server of keys, too.
func TestTokenKeysFromURL(t *testing.T) {
	who := newIssuer(t, "1")
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, who.jwks())
	}))
	defer server.Close()
	i := startServe(t, testConfig(t, tokenSection+"jwks_url = \"http://127.0.0.1:1/none\"\n"))
	i.await("keys of tokens not fetched")
	if _, _, ok := i.tokenLogin(who.token("alice")); ok {
		t.Error("a token without keys")
	}
	i.stop()

	i = startServe(t, testConfig(t, tokenSection+"jwks_url = \""+server.URL+"\"\n"))
	for range 2 {
		if _, _, ok := i.tokenLogin(who.token("alice")); !ok {
			t.Error("refused")
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestCheckTokenKeys(t *testing.T) {
	config := testConfig(t, tokenSection+"jwks_file = \"jwks.json\"\n")
	keys := filepath.Join(filepath.Dir(config), "jwks.json")
	check := func(code int, want string) {
		t.Helper()
		got, _, stderr := call(t, "", "check", "-config", config)
		if got != code || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") > 1 {
			t.Errorf("code %d, %q; want %d, %q", got, stderr, code, want)
		}
	}
	check(exitFailed, config+":10: auth.token.jwks_file: open "+keys)
	write(t, keys, `{"keys":[{"kty":"oct"},{"kty":"RSA","n":"AQ","e":"AQ"}]}`)
	check(exitFailed, config+":10: auth.token.jwks_file: "+keys+": no key that can be used: key 1: an RSA key of 1 bits")
	write(t, keys, newIssuer(t, "").jwks())
	check(exitOK, "")
}

func TestTokenWarnings(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{"", ""},
		{"[auth.token]\naudience = \"chat\"\njwks_url = \"https://a.test/\"", ""},
		{"[auth.token]\naudience = \"chat\"\njwks_url = \"http://[::1]:1/\"", ""},
		{"[auth.token]\naudience = \"chat\"\njwks_url = \"http://a.test/\"", "auth.token.jwks_url"},
		{"[auth.token]\njwks_url = \"https://a.test/\"", "auth.token.audience"},
		{"[auth.token]\nsecret = \"0123456789abcdef0123456789abcdef\"", ""},
		{"c2s.registration = true\n[auth.token]\nsecret = \"0123456789abcdef0123456789abcdef\"", "c2s.registration"},
	} {
		c, err := parseConfig("x", []byte(tt.config), testEnv)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		c.warn(slog.New(slog.NewTextHandler(&log, nil)))
		if got := log.String(); !strings.Contains(got, "key="+tt.want) && tt.want != "" || tt.want == "" && got != "" {
			t.Errorf("%s: %q", tt.config, got)
		}
	}
}
