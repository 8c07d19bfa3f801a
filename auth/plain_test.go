package auth

import (
	"crypto/tls"
	"testing"
)

func TestPlain(t *testing.T) {
	s, a := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	if _, err := s.Register(t.Context(), "romeo", "p\u00e4ss word"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		message, user, want string
		reads               int64
	}{
		{"\x00juliet\x00pencil", "juliet", "", 1},
		{"juliet@example.com\x00Juliet\x00pencil", "juliet", "", 1},
		{"\x00romeo\x00pa\u0308ss\u00a0word", "romeo", "", 1},
		{"\x00juliet\x00pencils", "", "not-authorized", 1},
		{"\x00juliet\x00Pencil", "", "not-authorized", 1},
		{"\x00nobody\x00pencil", "", "not-authorized", 1},
		{"\x00juliet\x00a\nb", "", "not-authorized", 0},
		{"\x00ju liet\x00pencil", "", "not-authorized", 0},
		{"\x00juliet@example.com\x00pencil", "", "not-authorized", 0},
		{"romeo@example.com\x00juliet\x00pencil", "", "invalid-authzid", 0},
		{"romeo\x00juliet\x00pencil", "", "invalid-authzid", 0},
		{"juliet\x00pencil", "", "malformed-request", 0},
		{"\x00\x00pencil", "", "malformed-request", 0},
		{"\x00juliet\x00", "", "malformed-request", 0},
		{"\x00juliet\x00pencil\x00", "", "malformed-request", 0},
		{"\x00juliet\x00\xff", "", "malformed-request", 0},
		{"pencil", "", "malformed-request", 0},
	}
	for _, tt := range tests {
		e, err := s.Start("PLAIN", ch)
		if err != nil {
			t.Fatal(err)
		}
		before := a.reads.Load()
		data, done, err := e.Step(t.Context(), []byte(tt.message))
		if len(data) != 0 || done != (tt.want == "") || e.User() != tt.user {
			t.Errorf("%q: %q, done %v, User %q", tt.message, data, done, e.User())
		}
		if tt.want != "" {
			wantFailure(t, err, tt.want)
		} else if err != nil {
			t.Errorf("%q: %v", tt.message, err)
		}
		if n := a.reads.Load() - before; n != tt.reads {
			t.Errorf("%q: %d reads of the store", tt.message, n)
		}
	}
}
