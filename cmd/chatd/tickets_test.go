package main

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTicketKeys(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	load := func() *ticketKeys {
		t.Helper()
		k, err := loadTicketKeys(dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	var cfg tls.Config
	renew := func(at time.Time, want int) {
		t.Helper()
		k := load()
		if err := k.renew(&cfg, at); err != nil {
			t.Fatal(err)
		}
		if again := load(); len(again.keys) != want || again.keys[0] != k.keys[0] {
			t.Errorf("%d keys, want %d", len(again.keys), want)
		}
	}
	renew(now, 1)
	first := load().keys[0]
	renew(now.Add(ticketKeyUse-time.Minute), 1)
	if load().keys[0] != first {
		t.Error("a key was replaced before its time")
	}
	renew(now.Add(ticketKeyUse), 2)
	renew(now.Add(2*ticketKeyUse+time.Second), 3)
	if load().keys[2] != first {
		t.Error("the first key is gone too early")
	}
	renew(now.Add(3*ticketKeyUse+2*time.Second), 3) // the first has gone
	renew(now.Add(-time.Hour), 1)                   // keys of the future are not to be trusted
	info, err := os.Stat(filepath.Join(dir, ticketKeysFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, ticketKeysFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadTicketKeys(dir); err == nil {
		t.Error("a damaged file is taken")
	}
}

// TestTicketKeysStay: what cannot be written is not used, and what was in use stays.
func TestTicketKeysStay(t *testing.T) {
	k := &ticketKeys{path: filepath.Join(t.TempDir(), "missing", ticketKeysFile)}
	var cfg tls.Config
	if err := k.renew(&cfg, time.Now()); err == nil || len(k.keys) != 0 {
		t.Errorf("%d keys, %v", len(k.keys), err)
	}
}
