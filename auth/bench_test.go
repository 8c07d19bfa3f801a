package auth

import (
	"crypto/pbkdf2"
	"crypto/tls"
	"encoding/base64"
	"strings"
	"testing"
)

// BenchmarkSCRAM is what one login costs the server, the client's own proof
// (two HMACs of some 10) included. A user who does not exist must cost as much.
func BenchmarkSCRAM(b *testing.B) {
	s, a := newTestService(b)
	ch, _ := newTestChannel(b, tls.VersionTLS13)
	for _, mechanism := range []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1"} {
		h := hashByName(strings.TrimSuffix(mechanism, plusSuffix))
		account, err := a.Account(b.Context(), "juliet")
		if err != nil {
			b.Fatal(err)
		}
		var clientKey []byte
		for _, c := range account.Credentials {
			if c.Mechanism == h.name {
				salted, err := pbkdf2.Key(h.new, testPassword, c.Salt, c.Iterations, h.new().Size())
				if err != nil {
					b.Fatal(err)
				}
				clientKey = h.mac(salted, "Client Key")
			}
		}
		for _, user := range []string{"juliet", "nobody"} {
			b.Run(mechanism+"/"+user, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					c := &testClient{hash: h, gs2: "n,,", user: user}
					if strings.HasSuffix(mechanism, plusSuffix) {
						c.gs2, c.binding = "p=tls-exporter,,", s.bindingData(ch, "tls-exporter")
					}
					e, err := s.Start(mechanism, ch)
					if err != nil {
						b.Fatal(err)
					}
					first, _, err := e.Step(b.Context(), []byte(c.gs2+c.bare()))
					if err != nil {
						b.Fatal(err)
					}
					c.first = string(first)
					c.final.r, _, _ = strings.Cut(c.first[len("r="):], ",")
					c.final.c = base64.StdEncoding.EncodeToString(append([]byte(c.gs2), c.binding...))
					c.prove(clientKey)
					if _, done, _ := e.Step(b.Context(), []byte(c.message())); done != (user == "juliet") {
						b.Fatalf("%s: done %v", user, done)
					}
				}
			})
		}
	}
}

// BenchmarkPLAIN is dominated by hashing the password. A user who does not
// exist must cost as much.
func BenchmarkPLAIN(b *testing.B) {
	s, _ := newTestService(b)
	ch, _ := newTestChannel(b, tls.VersionTLS13)
	for _, user := range []string{"juliet", "nobody"} {
		b.Run(user, func(b *testing.B) {
			for b.Loop() {
				e, err := s.Start("PLAIN", ch)
				if err != nil {
					b.Fatal(err)
				}
				if _, done, _ := e.Step(b.Context(), []byte("\x00"+user+"\x00pencil")); done != (user == "juliet") {
					b.Fatalf("%s: done %v", user, done)
				}
			}
		})
	}
}
