package chatd_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestSASL is what RFC 6120 §6.4 and §6.5 say of logins that go wrong. Each ends
// with a login that goes right on the same stream.
func TestSASL(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	if err := srv.register("mallory", "secret"); err != nil {
		t.Fatal(err)
	}
	auth := func(mechanism, data string) string {
		return "<auth xmlns='" + nsSASL + "' mechanism='" + mechanism + "'>" + data + "</auth>"
	}
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	response := func(data string) string { return "<response xmlns='" + nsSASL + "'>" + data + "</response>" }
	const abort = "<abort xmlns='" + nsSASL + "'/>"
	tests := []struct {
		name string
		send []string // each but the last is answered by a challenge
		want string   // condition of the failure; several are allowed
	}{
		{"malformed base64", []string{auth("PLAIN", "!!!")}, "incorrect-encoding"},
		{"base64 with garbage at the end", []string{auth("PLAIN", b64("\x00mallory\x00secret")+"=")}, "incorrect-encoding"},
		{"malformed base64 in a response", []string{auth("SCRAM-SHA-256", b64("n,,n=mallory,r=abc")), response("*")}, "incorrect-encoding"},
		{"unknown mechanism", []string{auth("CRAM-MD5", "")}, "invalid-mechanism"},
		{"no mechanism", []string{"<auth xmlns='" + nsSASL + "'/>"}, "invalid-mechanism"},
		{"aborted at once", []string{abort}, "aborted"},
		{"aborted in between", []string{auth("SCRAM-SHA-256", b64("n,,n=mallory,r=abc")), abort}, "aborted"},
		{"PLAIN without parts", []string{auth("PLAIN", b64("mallory"))}, "malformed-request"},
		{"PLAIN with too many parts", []string{auth("PLAIN", b64("\x00mallory\x00secret\x00"))}, "malformed-request not-authorized"},
		{"PLAIN that is no UTF-8", []string{auth("PLAIN", b64("\x00mallory\x00\xff"))}, "malformed-request not-authorized"},
		{"PLAIN for somebody else", []string{auth("PLAIN", b64("mary@chat.test\x00mallory\x00secret"))}, "invalid-authzid"},
		{"SCRAM nonsense", []string{auth("SCRAM-SHA-256", b64("hello"))}, "malformed-request"},
		{"SCRAM with another nonce", []string{auth("SCRAM-SHA-256", b64("n,,n=mallory,r=abc")), response(b64("c=biws,r=xyz,p=" + b64(strings.Repeat("p", 32))))}, "not-authorized malformed-request"},
		{"SCRAM for somebody else", []string{auth("SCRAM-SHA-256", b64("n,a=mary@chat.test,n=mallory,r=abc"))}, "invalid-authzid"},
		{"PLUS without channel binding", []string{auth("SCRAM-SHA-256-PLUS", b64("n,,n=mallory,r=abc"))}, "malformed-request not-authorized"},
		{"downgraded", []string{auth("SCRAM-SHA-256", b64("y,,n=mallory,r=abc"))}, "not-authorized malformed-request"}, // RFC 5802 §6: we do offer PLUS
		{"unknown channel binding", []string{auth("SCRAM-SHA-256-PLUS", b64("p=tls-nothing,,n=mallory,r=abc"))}, "not-authorized malformed-request"},
		{"response to nothing", []string{response(b64("x"))}, "malformed-request not-authorized"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := reach(t, srv, secured)
			for i, text := range tt.send {
				if err := c.send(text); err != nil {
					t.Fatal(err)
				}
				n, err := c.next()
				if err != nil {
					t.Fatal(err)
				}
				if i < len(tt.send)-1 {
					if !n.is(nsSASL, "challenge") {
						t.Fatalf("instead of a challenge: %s", n)
					}
					continue
				}
				if !n.is(nsSASL, "failure") || len(n.kids) == 0 || !slices.Contains(strings.Fields(tt.want), n.kids[0].name.Local) {
					t.Fatalf("instead of %s: %s", tt.want, n)
				}
			}
			if err := c.authenticate(); err != nil {
				t.Errorf("then the right password: %v", err)
			}
		})
	}

	t.Run("without initial response", func(t *testing.T) { // RFC 6120 §6.3.10
		c := reach(t, srv, secured)
		if err := c.send("<auth xmlns='" + nsSASL + "' mechanism='PLAIN'/>"); err != nil {
			t.Fatal(err)
		}
		if n, err := c.next(); err != nil || !n.is(nsSASL, "challenge") || strings.Trim(n.text, "=") != "" {
			t.Fatalf("instead of an empty challenge: %v, %v", n, err)
		}
		if err := c.send(response(b64("\x00mallory\x00secret"))); err != nil {
			t.Fatal(err)
		}
		if n, err := c.next(); err != nil || !n.is(nsSASL, "success") {
			t.Fatalf("instead of success: %v, %v", n, err)
		}
		if err := c.header(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("begun anew", func(t *testing.T) { // RFC 6120 §6.4.2: the old handshake is discarded
		c := reach(t, srv, secured)
		if err := c.send(auth("SCRAM-SHA-1", b64("n,,n=mallory,r=abc"))); err != nil {
			t.Fatal(err)
		}
		if n, err := c.next(); err != nil || !n.is(nsSASL, "challenge") {
			t.Fatalf("instead of a challenge: %v, %v", n, err)
		}
		if err := c.authenticate(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("too many failures", func(t *testing.T) { // RFC 6120 §6.4.5
		c := reach(t, srv, secured)
		c.password = "wrong"
		const retries = 3
		for range 1 + retries {
			var failure saslFailure
			if err := c.exchange(); !errors.As(err, &failure) || failure.condition != "not-authorized" {
				t.Fatalf("instead of a failure: %v", err)
			}
		}
		if got, err := c.streamError(); err != nil || got != "policy-violation" {
			t.Errorf("then %s, %v", got, err)
		}
	})
	t.Run("PLAIN before TLS", func(t *testing.T) { // RFC 6120 §6.5.4
		c := reach(t, srv, opened)
		if len(c.offered()) > 0 {
			t.Errorf("before TLS are offered %v", c.offered())
		}
		var failure saslFailure
		if err := c.exchange(); !errors.As(err, &failure) || failure.condition != "encryption-required" {
			t.Errorf("instead of a failure: %v", err)
		}
	})
}
