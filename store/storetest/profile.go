package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatd/store"
)

func expectBlocked(t *testing.T, s store.Store, user string, want ...string) {
	t.Helper()
	got, err := s.Blocklist(t.Context(), user)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("blocked by %s: %q, want %q", user, got, want)
	}
}

func testBlocklist(t *testing.T, s store.Store) {
	ctx := t.Context()
	expectBlocked(t, s, "anna")
	must(t, s.Block(ctx, "anna", []string{"c@x/R", "a@x", "b.example", "a@x"}, 0))
	must(t, s.Block(ctx, "anna", []string{"a@x", "C@x"}, 0))
	must(t, s.Block(ctx, "anna", nil, 0))
	must(t, s.Block(ctx, "bob", []string{"a@x"}, 0))
	expectBlocked(t, s, "anna", "C@x", "a@x", "b.example", "c@x/R")
	must(t, s.Unblock(ctx, "anna", []string{"a@x", "unknown@x"}))
	must(t, s.Unblock(ctx, "anna", []string{}))
	expectBlocked(t, s, "anna", "C@x", "b.example", "c@x/R")
	must(t, s.Unblock(ctx, "anna", nil))
	expectBlocked(t, s, "anna")
	expectBlocked(t, s, "bob", "a@x")
	must(t, s.Unblock(ctx, "nobody", nil))
}

func testBlocklistLimit(t *testing.T, s store.Store) {
	ctx := t.Context()
	must(t, s.Block(ctx, "anna", []string{"a", "b", "b"}, 3))
	if err := s.Block(ctx, "anna", []string{"c", "d"}, 3); !errors.Is(err, store.ErrFull) {
		t.Fatalf("four of three: %v", err)
	}
	expectBlocked(t, s, "anna", "a", "b") // none of the two
	must(t, s.Block(ctx, "anna", []string{"c"}, 3))
	must(t, s.Block(ctx, "anna", []string{"a", "b", "c"}, 3))
	must(t, s.Block(ctx, "anna", []string{"a"}, 2)) // lowered since, but nothing grows
	expectBlocked(t, s, "anna", "a", "b", "c")
}

func testPrivate(t *testing.T, s store.Store) {
	ctx := t.Context()
	type name struct{ space, local string }
	names := []name{{"ns", "local"}, {"ns", "Local"}, {"", "local"}, {"local", "ns"}, {"n", "slocal"}, {"nslocal", ""}, {"", ""}}
	for _, n := range names {
		if _, err := s.PrivateXML(ctx, "anna", n.space, n.local); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("unset %q: %v", n, err)
		}
		must(t, s.SetPrivateXML(ctx, "anna", n.space, n.local, []byte("old"), 0))
		must(t, s.SetPrivateXML(ctx, "anna", n.space, n.local, fmt.Appendf(nil, "<%q/>", n), 0))
	}
	for _, n := range names {
		got, err := s.PrivateXML(ctx, "anna", n.space, n.local)
		must(t, err)
		equal(t, "private XML", string(got), fmt.Sprintf("<%q/>", n))
	}
	if _, err := s.PrivateXML(ctx, "bob", "ns", "local"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("of another user: %v", err)
	}
	must(t, s.SetPrivateXML(ctx, "anna", "ns", "local", nil, 0))
	got, err := s.PrivateXML(ctx, "anna", "ns", "local")
	must(t, err)
	equal(t, "empty private XML", len(got), 0)
}

func testPrivateLimit(t *testing.T, s store.Store) {
	ctx := t.Context()
	set := func(local string, max int) error {
		return s.SetPrivateXML(ctx, "anna", "ns", local, []byte("<x/>"), max)
	}
	must(t, set("a", 2))
	must(t, set("b", 2))
	if err := set("c", 2); !errors.Is(err, store.ErrFull) {
		t.Fatalf("third of two: %v", err)
	}
	if _, err := s.PrivateXML(ctx, "anna", "ns", "c"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("refused, but there: %v", err)
	}
	must(t, set("a", 2))
	must(t, set("a", 1)) // lowered since, but nothing grows
	must(t, set("c", 0))
}

func testVCard(t *testing.T, s store.Store) {
	ctx := t.Context()
	missing := func(user string) {
		t.Helper()
		if _, err := s.VCard(ctx, user); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("vCard of %s: %v", user, err)
		}
	}
	missing("anna")
	must(t, s.SetVCard(ctx, "anna", nil))
	missing("anna")
	must(t, s.SetVCard(ctx, "anna", []byte("<vCard>1</vCard>")))
	must(t, s.SetVCard(ctx, "anna", []byte("<vCard>2</vCard>")))
	got, err := s.VCard(ctx, "anna")
	must(t, err)
	equal(t, "vCard", string(got), "<vCard>2</vCard>")
	missing("bob")
	must(t, s.SetVCard(ctx, "anna", []byte{}))
	missing("anna")
}

func testLastActivity(t *testing.T, s store.Store) {
	ctx := t.Context()
	if _, err := s.LastActivity(ctx, "anna"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("never online: %v", err)
	}
	must(t, s.SetLastActivity(ctx, "anna", store.LastActivity{At: created, Status: "away & <gone>"}))
	must(t, s.SetLastActivity(ctx, "bob", store.LastActivity{}))
	got, err := s.LastActivity(ctx, "anna")
	must(t, err)
	equal(t, "last activity", got, store.LastActivity{At: createdKept, Status: "away & <gone>"})
	// The later call wins, not the later time.
	earlier := createdKept.Add(-time.Hour)
	must(t, s.SetLastActivity(ctx, "anna", store.LastActivity{At: earlier}))
	got, err = s.LastActivity(ctx, "anna")
	must(t, err)
	equal(t, "last activity", got, store.LastActivity{At: earlier})
}
