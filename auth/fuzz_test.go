package auth

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"chatd/store"
	"chatd/store/memory"
)

// FuzzSASL sends whatever comes to every mechanism in every step. The password
// is random, so that nothing may ever be authenticated.
func FuzzSASL(f *testing.F) {
	m := memory.New()
	s := New(m, testDomain, testSecret)
	account := store.Account{User: "juliet"}
	for _, h := range scramHashes {
		c, err := s.derive(f.Context(), h, rand.Text(), []byte("saltsaltsaltsalt"), 1)
		if err != nil {
			f.Fatal(err)
		}
		account.Credentials = append(account.Credentials, c)
	}
	if err := m.CreateAccount(f.Context(), account); err != nil {
		f.Fatal(err)
	}
	ch, _ := newTestChannel(f, tls.VersionTLS13)
	mechanisms := s.Mechanisms(ch)
	proof := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for i := range mechanisms {
		for _, gs2 := range []string{"n,,", "y,,", "p=tls-exporter,,", "p=tls-server-end-point,a=juliet@example.com,"} {
			c := base64.StdEncoding.EncodeToString([]byte(gs2))
			f.Add(i, gs2+"n=juliet,r=x", "c="+c+",r=x", ",p="+proof)
			f.Add(i, gs2+"n=nobody=2C,r=x,e=x", "c="+c+",r=x", ",x=y,p="+proof)
		}
		f.Add(i, "\x00juliet\x00pencil", "", "")
		f.Add(i, "juliet@example.com\x00juliet\x00pencil", "x", "y")
	}
	f.Fuzz(func(t *testing.T, mechanism int, first, head, tail string) {
		e, err := s.Start(mechanisms[uint(mechanism)%uint(len(mechanisms))], ch)
		if err != nil {
			t.Fatal(err)
		}
		// The last message is head, our half of the nonce, tail: so that the
		// fuzzer can get past the nonce.
		response := first
		for range 4 {
			challenge, done, err := e.Step(t.Context(), []byte(response))
			if done || e.User() != "" {
				t.Fatalf("authenticated as %q", e.User())
			}
			if err != nil {
				if f := (*Failure)(nil); !errors.As(err, &f) {
					t.Fatalf("a fault: %v", err)
				}
				if _, _, err := e.Step(t.Context(), []byte(response)); !errors.Is(err, errOver) {
					t.Fatalf("the exchange goes on after a failure: %v", err)
				}
				return
			}
			nonce, _, _ := strings.Cut(strings.TrimPrefix(string(challenge), "r="), ",")
			response = head + nonce[len(nonce)-min(len(nonce), 24):] + tail
		}
		t.Fatal("the exchange does not end")
	})
}

// FuzzSCRAMMessages checks that nothing of a message is lost: the proofs cover
// what was sent, not what was understood.
func FuzzSCRAMMessages(f *testing.F) {
	f.Add("n,a=x,n=juliet=2C,r=x,e=y", "c=biws,r=x,p=AAAA")
	f.Add("p=tls-exporter,,n=juliet,r=x", "c=biws,r=x,e=y,p=,p=AAAA")
	f.Fuzz(func(t *testing.T, first, final string) {
		if m, failure := parseClientFirst(first); failure == nil {
			if m.gs2Header+m.bare != first || m.user == "" || m.nonce == "" || strings.ContainsAny(m.nonce, ", ") {
				t.Errorf("%q: %+v", first, m)
			}
			escaped := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(m.user)
			if !strings.HasPrefix(m.bare, "n="+escaped+",r="+m.nonce) {
				t.Errorf("%q: user %q, nonce %q", first, m.user, m.nonce)
			}
		}
		if m, failure := parseClientFinal(final); failure == nil {
			if m.withoutProof+",p="+base64.StdEncoding.EncodeToString(m.proof) != final || !strings.HasPrefix(m.withoutProof, "c="+m.binding+",r="+m.nonce) {
				t.Errorf("%q: %+v", final, m)
			}
		}
	})
}
