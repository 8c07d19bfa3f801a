package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRegister(t *testing.T) {
	s, a := newTestService(t)
	tests := []struct {
		user, password, normalized string
		err                        error
	}{
		{"romeo", "x", "romeo", nil},
		{"ROMEO", "x", "", ErrExists},
		{"Mercutio", "x", "mercutio", nil},
		{"fußball", "x", "fußball", nil},
		{"sum123", " ", "sum123", nil},
		{"", "x", "", ErrBadUser},
		{"a b", "x", "", ErrBadUser},
		{"a@b", "x", "", ErrBadUser},
		{"a/b", "x", "", ErrBadUser},
		{"o'neil", "x", "", ErrBadUser},
		{"a\u2163", "x", "", ErrBadUser},
		{strings.Repeat("a", 1024), "x", "", ErrBadUser},
		{"tybalt", "", "", ErrBadPassword},
		{"tybalt", "\x00", "", ErrBadPassword},
		{"tybalt", "a\nb", "", ErrBadPassword},
		{"tybalt", "\xff", "", ErrBadPassword},
		{"tybalt", "\u00ad", "", ErrBadPassword},
		{"tybalt", strings.Repeat("x", maxPassword+1), "", ErrBadPassword},
		{"tybalt", strings.Repeat("\ufdfa", maxPassword/3), "", ErrBadPassword}, // 18 letters each in NFKC
		{"tybalt", strings.Repeat("x", maxPassword), "tybalt", nil},
	}
	for _, tt := range tests {
		got, err := s.Register(t.Context(), tt.user, tt.password)
		if got != tt.normalized || !errors.Is(err, tt.err) {
			t.Errorf("Register(%.20q, %.20q) = %q, %v", tt.user, tt.password, got, err)
		}
	}
	account, err := a.Account(t.Context(), "romeo")
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(account.Created); age < 0 || age > time.Hour || account.Created.Location() != time.UTC || account.Created.Nanosecond() != 0 {
		t.Errorf("created %v", account.Created)
	}
	for i, c := range account.Credentials {
		h := scramHashes[i]
		if c.Mechanism != h.name || c.Iterations != iterations || len(c.Salt) != saltSize || len(c.StoredKey) != h.new().Size() || len(c.ServerKey) != h.new().Size() {
			t.Errorf("credential %+v", c)
		}
	}
	if c := account.Credentials; len(c) != 2 || slices.Equal(c[0].Salt, c[1].Salt) {
		t.Errorf("credentials %+v", c)
	}
}

func TestSetPassword(t *testing.T) {
	s, a := newTestService(t)
	ch, seen := newTestChannel(t, 0x0304)
	before, _ := a.Account(t.Context(), "juliet")
	if err := s.SetPassword(t.Context(), "Juliet", "pen"); err != nil {
		t.Fatal(err)
	}
	after, _ := a.Account(t.Context(), "juliet")
	if slices.Equal(before.Credentials[0].Salt, after.Credentials[0].Salt) || !before.Created.Equal(after.Created) {
		t.Errorf("account was %+v, is %+v", before, after)
	}
	for _, m := range s.Mechanisms(ch) {
		_, err := login(t, s, m, ch, seen, "juliet", testPassword, "")
		wantFailure(t, err, "not-authorized")
		if user, err := login(t, s, m, ch, seen, "juliet", "pen", ""); err != nil || user != "juliet" {
			t.Errorf("%s: %q, %v", m, user, err)
		}
	}
	for _, tt := range []struct {
		user, password string
		err            error
	}{{"nobody", "x", ErrNotFound}, {"a@b", "x", ErrBadUser}, {"juliet", "", ErrBadPassword}} {
		if err := s.SetPassword(t.Context(), tt.user, tt.password); !errors.Is(err, tt.err) {
			t.Errorf("SetPassword(%q, %q): %v", tt.user, tt.password, err)
		}
	}
}

func TestRemoveAndExists(t *testing.T) {
	s, a := newTestService(t)
	if ok, err := s.Exists(t.Context(), "JULIET"); !ok || err != nil {
		t.Errorf("Exists: %v, %v", ok, err)
	}
	if err := s.Remove(t.Context(), "Juliet"); err != nil {
		t.Error(err)
	}
	if ok, err := s.Exists(t.Context(), "juliet"); ok || err != nil {
		t.Errorf("Exists after Remove: %v, %v", ok, err)
	}
	if err := s.Remove(t.Context(), "juliet"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Remove again: %v", err)
	}
	if err := s.Remove(t.Context(), "a b"); !errors.Is(err, ErrBadUser) {
		t.Errorf("Remove: %v", err)
	}
	if ok, err := s.Exists(t.Context(), ""); ok || !errors.Is(err, ErrBadUser) {
		t.Errorf("Exists: %v, %v", ok, err)
	}
	a.fault = errors.New("disk on fire")
	if ok, err := s.Exists(t.Context(), "juliet"); ok || !errors.Is(err, a.fault) {
		t.Errorf("Exists: %v, %v", ok, err)
	}
}

func TestHashingWaitsForItsTurn(t *testing.T) {
	s, _ := newTestService(t)
	for range cap(s.hashing) {
		s.hashing <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Register(ctx, "romeo", "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("Register: %v", err)
	}
	for range cap(s.hashing) {
		<-s.hashing
	}
	if _, err := s.Register(t.Context(), "romeo", "x"); err != nil || len(s.hashing) != 0 {
		t.Errorf("Register: %v, %d places taken", err, len(s.hashing))
	}
}

func TestPreparePassword(t *testing.T) {
	tests := []struct{ in, want string }{
		{"pencil", "pencil"},
		{" a  b ", " a  b "},
		{"~!@#$%^&*()'\"<>,=", "~!@#$%^&*()'\"<>,="},
		{"I\u00adX", "IX"}, // this and the next two: RFC 4013 §3
		{"USER", "USER"},
		{"\u00aa", "a"},
		{"\u2168", "IX"},
		{"a\u00a0b\u3000c", "a b c"},
		{"e\u0301", "\u00e9"},
		{"\uff11\uff12", "12"},
		{"\u2764\ufe0f", "\u2764"},
		{"correct \U0001f40e battery", "correct \U0001f40e battery"},
	}
	for _, tt := range tests {
		got, err := preparePassword(tt.in)
		if got != tt.want || err != nil {
			t.Errorf("preparePassword(%q) = %q, %v", tt.in, got, err)
		}
		if again, err := preparePassword(got); again != got || err != nil {
			t.Errorf("preparePassword(%q) = %q, %v", got, again, err)
		}
	}
}

func TestNewWantsASecret(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New(nil, testDomain, make([]byte, 15))
}
