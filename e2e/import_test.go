package e2e

import (
	"crypto/tls"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mellium.im/sasl"
	"mellium.im/xmpp/roster"
	"mellium.im/xmpp/stanza"
)

// TestImported: who had an account on ejabberd or Prosody logs in with the same password, finds the friends, and gets what waited.
func TestImported(t *testing.T) {
	for _, test := range []struct {
		export   string
		only     string // for SCRAM: what the accounts have
		messages []string
	}{
		{"ejabberd", "", []string{"But soft!", "What light through yonder window breaks? ☀"}},
		{"ejabberd-scram", "SCRAM-SHA-1", []string{"But soft!", "What light through yonder window breaks? ☀"}},
		{"prosody", "SCRAM-SHA-1", nil},
	} {
		t.Run(test.export, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			folder, err := filepath.Abs(filepath.Join("..", "portable", "testdata", test.export))
			s.must("", err)
			if out, err := s.command("store", "import", folder); err == nil || !strings.Contains(err.Error(), "stop chatd first") {
				t.Fatalf("while chatd runs: %s %v", out, err)
			}
			if code, err := s.stop(syscall.SIGTERM); code != 0 || err != nil {
				t.Fatal(code, err)
			}
			t.Log(s.must(s.command("store", "import", folder)))
			if test.only != "" {
				s.addConfig("[auth]\nscram = [\"" + test.only + "\"]\n")
			}
			s.start()

			ctx := testContext(t)
			mechanisms := []sasl.Mechanism{sasl.ScramSha1Plus, sasl.ScramSha1, sasl.Plain}
			if test.only == "" {
				mechanisms = append(mechanisms, sasl.ScramSha256Plus)
			}
			for _, m := range mechanisms {
				l := melliumLogin{user: "romeo", password: "wherefore öld Pässwort", version: tls.VersionTLS13, mechanism: m}
				s.mellium(ctx, t, l).ping(ctx)
			}
			if test.only != "" {
				l := melliumLogin{user: "romeo", password: "wherefore öld Pässwort", version: tls.VersionTLS13, mechanism: sasl.ScramSha256}
				if session, err := s.dialMellium(ctx, l); err == nil {
					session.Close()
					t.Error("a mechanism that is not offered logged in")
				}
			}
			juliet := s.mellium(ctx, t, melliumLogin{user: "juliet", password: "balcony 7", version: tls.VersionTLS13, mechanism: sasl.ScramSha1})
			friends := roster.Fetch(ctx, juliet.Session)
			var names []string
			for friends.Next() {
				names = append(names, friends.Item().JID.String()+" "+friends.Item().Subscription)
			}
			if err := friends.Close(); err != nil || !slices.Equal(names, []string{"romeo@chat.test both", "tybalt@chat.test from"}) {
				t.Errorf("friends %q, %v", names, err)
			}
			if err := juliet.Send(ctx, stanza.Presence{}.Wrap(nil)); err != nil {
				t.Fatal(err)
			}
			for _, body := range test.messages {
				if got := juliet.hear(ctx); got.Body != body || got.From.String() != "romeo@chat.test/r" {
					t.Errorf("heard %q from %s", got.Body, got.From)
				}
			}
		})
	}
}
