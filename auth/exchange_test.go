package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mellium.im/sasl"

	"chatd/store"
	"chatd/store/memory"
)

const (
	testDomain   = "example.com"
	testPassword = "pencil"
)

var testSecret = []byte("0123456789abcdef0123456789abcdef")

// accounts counts the reads of a store in memory and can be made to fail.
type accounts struct {
	Accounts
	reads atomic.Int64
	fault error
}

func (a *accounts) Account(ctx context.Context, user string) (store.Account, error) {
	a.reads.Add(1)
	if a.fault != nil {
		return store.Account{}, a.fault
	}
	return a.Accounts.Account(ctx, user)
}

func (a *accounts) Player(ctx context.Context, user string) (store.Player, error) {
	a.reads.Add(1)
	if a.fault != nil {
		return store.Player{}, a.fault
	}
	return a.Accounts.Player(ctx, user)
}

// newTestService has one account: juliet, with testPassword.
func newTestService(t testing.TB) (*Service, *accounts) {
	t.Helper()
	a := &accounts{Accounts: memory.New()}
	s := New(a, testDomain, testSecret)
	if _, err := s.Register(t.Context(), "juliet", testPassword); err != nil {
		t.Fatal(err)
	}
	return s, a
}

// newTestCert is a self-signed certificate.
func newTestCert(t testing.TB, alg x509.SignatureAlgorithm) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:       big.NewInt(1),
		Subject:            pkix.Name{CommonName: testDomain},
		DNSNames:           []string{testDomain},
		NotBefore:          time.Now().Add(-time.Hour),
		NotAfter:           time.Now().Add(time.Hour),
		SignatureAlgorithm: alg,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// newTestChannel is a TLS connection in memory, as the server and as the
// client sees it.
func newTestChannel(t testing.TB, version uint16) (Channel, *tls.ConnectionState) {
	t.Helper()
	cert := newTestCert(t, x509.ECDSAWithSHA256)
	near, far := net.Pipe()
	server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version, SessionTicketsDisabled: true})
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	shaken := make(chan error, 1)
	go func() { shaken <- server.HandshakeContext(t.Context()) }()
	if err := errors.Join(client.HandshakeContext(t.Context()), <-shaken); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	seen, seenByClient := server.ConnectionState(), client.ConnectionState()
	return NewChannel(&seen, cert.Certificate[0]), &seenByClient
}

// wantFailure checks that err is a *Failure with a condition.
func wantFailure(t *testing.T, err error, condition string) {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) || f.Condition != condition {
		t.Errorf("got %v, want %s", err, condition)
	}
}

// mechanisms is mellium's side of what we speak, by name.
var mechanisms = map[string]sasl.Mechanism{
	"SCRAM-SHA-256-PLUS": sasl.ScramSha256Plus,
	"SCRAM-SHA-256":      sasl.ScramSha256,
	"SCRAM-SHA-1-PLUS":   sasl.ScramSha1Plus,
	"SCRAM-SHA-1":        sasl.ScramSha1,
	"PLAIN":              sasl.Plain,
}

// login runs a whole exchange with mellium's client. err is the server's;
// what the client does not like fails the test.
func login(t *testing.T, s *Service, mechanism string, ch Channel, seen *tls.ConnectionState, user, password, authzid string) (proven string, err error) {
	t.Helper()
	opts := []sasl.Option{
		sasl.Credentials(func() (_, _, _ []byte) { return []byte(user), []byte(password), []byte(authzid) }),
		sasl.RemoteMechanisms(s.Mechanisms(ch)...),
	}
	if seen != nil {
		opts = append(opts, sasl.TLSState(*seen))
	}
	client := sasl.NewClient(mechanisms[mechanism], opts...)
	e, err := s.Start(mechanism, ch)
	if err != nil {
		return "", err
	}
	more, response, err := client.Step(nil)
	for done := false; !done; {
		if err != nil {
			t.Errorf("client: %v", err)
			return "", err
		}
		var challenge []byte
		challenge, done, err = e.Step(t.Context(), response)
		if err != nil {
			if e.User() != "" {
				t.Errorf("User is %q after a failure", e.User())
			}
			return "", err
		}
		if done != (e.User() != "") {
			t.Errorf("done is %v and User is %q", done, e.User())
		}
		if more {
			more, response, err = client.Step(challenge)
		}
	}
	if more || err != nil {
		t.Errorf("client is not content with the server's proof: more %v, %v", more, err)
	}
	return e.User(), nil
}

func TestMechanisms(t *testing.T) {
	s, _ := newTestService(t)
	tls12, _ := newTestChannel(t, tls.VersionTLS12)
	tls13, _ := newTestChannel(t, tls.VersionTLS13)
	bare := tls13
	bare.cert = nil
	all := []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "PLAIN"}
	tests := []struct {
		name       string
		ch         Channel
		mechanisms []string
		bindings   []string
	}{
		{"no TLS", Channel{}, []string{"SCRAM-SHA-256", "SCRAM-SHA-1"}, nil},
		{"TLS of a proxy", Channel{Private: true}, []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"}, nil},
		{"TLS 1.2", tls12, all, []string{"tls-exporter", "tls-unique", "tls-server-end-point"}},
		{"TLS 1.3", tls13, all, []string{"tls-exporter", "tls-server-end-point"}},
		{"TLS 1.3 without certificate", bare, all, []string{"tls-exporter"}},
		{"TLS that cannot be bound", Channel{TLS: &tls.ConnectionState{}}, []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := s.Mechanisms(tt.ch); !slices.Equal(got, tt.mechanisms) {
				t.Errorf("mechanisms %v", got)
			}
			if got := s.ChannelBindings(tt.ch); !slices.Equal(got, tt.bindings) {
				t.Errorf("channel bindings %v", got)
			}
			for _, m := range append(all, "", "EXTERNAL", "SCRAM-SHA-256-PLUS-PLUS", "scram-sha-1") {
				_, err := s.Start(m, tt.ch)
				switch {
				case slices.Contains(tt.mechanisms, m):
					if err != nil {
						t.Errorf("%s: %v", m, err)
					}
				case m == "PLAIN":
					wantFailure(t, err, "encryption-required")
				default:
					wantFailure(t, err, "invalid-mechanism")
				}
			}
		})
	}
}

func TestLogin(t *testing.T) {
	s, _ := newTestService(t)
	if _, err := s.Register(t.Context(), "a=b,c", testPassword); err != nil {
		t.Fatal(err)
	}
	tls12, seen12 := newTestChannel(t, tls.VersionTLS12)
	tls13, seen13 := newTestChannel(t, tls.VersionTLS13)
	for _, c := range []struct {
		name string
		ch   Channel
		seen *tls.ConnectionState
	}{{"no TLS", Channel{}, nil}, {"TLS 1.2", tls12, seen12}, {"TLS 1.3", tls13, seen13}} {
		for _, m := range s.Mechanisms(c.ch) {
			t.Run(c.name+" "+m, func(t *testing.T) {
				for _, name := range []string{"juliet", "Juliet", "a=b,c"} {
					got, err := login(t, s, m, c.ch, c.seen, name, testPassword, "")
					if err != nil || got != strings.ToLower(name) {
						t.Errorf("%s: User is %q, %v", name, got, err)
					}
				}
				_, err := login(t, s, m, c.ch, c.seen, "juliet", "pencil ", "")
				wantFailure(t, err, "not-authorized")
				_, err = login(t, s, m, c.ch, c.seen, "nobody", testPassword, "")
				wantFailure(t, err, "not-authorized")
				_, err = login(t, s, m, c.ch, c.seen, "ju liet", testPassword, "")
				wantFailure(t, err, "not-authorized")
			})
		}
	}
}

// A man in the middle who terminates TLS has another channel on each side.
func TestLoginThroughAnotherChannel(t *testing.T) {
	s, _ := newTestService(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		ch, _ := newTestChannel(t, version)
		_, seen := newTestChannel(t, version)
		for _, m := range []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"} {
			_, err := login(t, s, m, ch, seen, "juliet", testPassword, "")
			wantFailure(t, err, "not-authorized")
		}
	}
}

func TestAuthorizationIdentity(t *testing.T) {
	s, _ := newTestService(t)
	ch, seen := newTestChannel(t, tls.VersionTLS13)
	for _, m := range s.Mechanisms(ch) {
		for _, own := range []string{"juliet@example.com", "Juliet@EXAMPLE.com", "juliet"} {
			if user, err := login(t, s, m, ch, seen, "juliet", testPassword, own); err != nil || user != "juliet" {
				t.Errorf("%s as %s: %q, %v", m, own, user, err)
			}
		}
		for _, other := range []string{"romeo@example.com", "romeo", "juliet@example.net", "juliet@example.com/balcony", "example.com", "@example.com", "juliet@", "@"} {
			_, err := login(t, s, m, ch, seen, "juliet", testPassword, other)
			wantFailure(t, err, "invalid-authzid")
		}
	}
}

func TestNoInitialResponse(t *testing.T) {
	s, _ := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	for _, m := range s.Mechanisms(ch) {
		e, err := s.Start(m, ch)
		if err != nil {
			t.Fatal(err)
		}
		if challenge, done, err := e.Step(t.Context(), nil); len(challenge) != 0 || done || err != nil {
			t.Errorf("%s: %q, %v, %v", m, challenge, done, err)
		}
		_, _, err = e.Step(t.Context(), nil) // one empty message is asked for, not two
		wantFailure(t, err, "malformed-request")
	}
	e, _ := s.Start("PLAIN", ch)
	e.Step(t.Context(), nil)
	if _, done, err := e.Step(t.Context(), []byte("\x00juliet\x00pencil")); !done || err != nil || e.User() != "juliet" {
		t.Errorf("done %v, %v, User %q", done, err, e.User())
	}
}

func TestStepAfterTheEnd(t *testing.T) {
	s, _ := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	for _, response := range []string{"\x00juliet\x00pencil", "\x00juliet\x00wrong", strings.Repeat("x", maxResponse+1)} {
		e, _ := s.Start("PLAIN", ch)
		_, done, err := e.Step(t.Context(), []byte(response))
		if len(response) > maxResponse {
			wantFailure(t, err, "malformed-request")
		}
		user := e.User()
		if done != (user == "juliet") {
			t.Errorf("done %v, User %q", done, user)
		}
		if _, done, err := e.Step(t.Context(), []byte("\x00juliet\x00pencil")); done || !errors.Is(err, errOver) || e.User() != user {
			t.Errorf("one more step: done %v, %v, User %q", done, err, e.User())
		}
	}
}

func TestStoreFault(t *testing.T) {
	s, a := newTestService(t)
	a.fault = errors.New("disk on fire")
	ch, seen := newTestChannel(t, tls.VersionTLS13)
	for _, m := range s.Mechanisms(ch) {
		_, err := login(t, s, m, ch, seen, "juliet", testPassword, "")
		if f := (*Failure)(nil); errors.As(err, &f) || !errors.Is(err, a.fault) {
			t.Errorf("%s: %v", m, err)
		}
	}
}

func TestConcurrentLogins(t *testing.T) {
	s, _ := newTestService(t)
	ch, seen := newTestChannel(t, tls.VersionTLS13)
	var wg sync.WaitGroup
	for i := range 8 {
		m := s.Mechanisms(ch)[i%5]
		wg.Go(func() {
			if user, err := login(t, s, m, ch, seen, "juliet", testPassword, ""); err != nil || user != "juliet" {
				t.Errorf("%s: %q, %v", m, user, err)
			}
			_, err := login(t, s, m, ch, seen, "juliet", "wrong", "")
			wantFailure(t, err, "not-authorized")
		})
	}
	wg.Wait()
}
