package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

func TestSelfSigned(t *testing.T) {
	cfg := defaultConfig()
	cfg.Domain, cfg.Data, cfg.MUC.Host = "chat.test", t.TempDir(), "rooms.game.test"
	var c certificate
	if err := c.load(cfg, quiet); err != nil {
		t.Fatal(err)
	}
	first := c.current.Load().Leaf
	for _, name := range []string{"chat.test", "rooms.chat.test", "rooms.game.test", "localhost", "127.0.0.1", "::1"} {
		if err := first.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if years := time.Until(first.NotAfter).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("good for %.1f years", years)
	}
	_, keyFile := certificateFiles(cfg)
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}

	var again certificate
	if err := again.load(cfg, quiet); err != nil || !again.current.Load().Leaf.Equal(first) {
		t.Errorf("not the same after a restart: %v", err)
	}
	cfg.Domain = "other.test"
	if err := again.load(cfg, quiet); err != nil || again.current.Load().Leaf.VerifyHostname("other.test") != nil {
		t.Errorf("not renewed for another domain: %v", err)
	}
	write(t, keyFile, "damaged")
	if err := again.load(cfg, quiet); err != nil {
		t.Errorf("not renewed when damaged: %v", err)
	}
}

func TestSelfSignedUnfit(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for _, tt := range []struct {
		domain, want string
		made         time.Time
	}{
		{"chat.test", "", time.Now()},
		{"192.0.2.7", "", time.Now()},
		{"chat.test", "it has expired", time.Now().AddDate(-11, 0, 0)},
	} {
		if err := makeSelfSigned(cert, key, tt.domain, "conference."+tt.domain, tt.made); err != nil {
			t.Fatal(err)
		}
		if got := selfSignedUnfit(cert, key, tt.domain); got != tt.want {
			t.Errorf("%s of %s: %q, want %q", tt.domain, tt.made, got, tt.want)
		}
	}
	if got := selfSignedUnfit(cert, key, "x.test"); got != "the domain has changed" {
		t.Error(got)
	}
	if got := selfSignedUnfit(filepath.Join(dir, "none"), key, "x.test"); got != "there is none" {
		t.Error(got)
	}
}

// shownAt is the certificate that a client is shown.
func shownAt(t *testing.T, addr string) (*tls.Conn, *x509.Certificate) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, conn.ConnectionState().PeerCertificates[0]
}

func TestCertificateReload(t *testing.T) {
	config := testConfig(t, "cert_file = \"own.crt\"\nkey_file = \"own.key\"\n")
	cert, key := filepath.Join(filepath.Dir(config), "own.crt"), filepath.Join(filepath.Dir(config), "own.key")
	if err := makeSelfSigned(cert, key, "chat.test", "conference.chat.test", time.Now()); err != nil {
		t.Fatal(err)
	}
	i := startServe(t, config)
	old, first := shownAt(t, i.addr["directtls"])

	if err := makeSelfSigned(cert, key, "chat.test", "conference.chat.test", time.Now()); err != nil {
		t.Fatal(err)
	}
	i.await("msg=reloaded")
	_, second := shownAt(t, i.addr["directtls"])
	if second.Equal(first) {
		t.Error("still the old certificate")
	}

	write(t, key, "not a key")
	if line := i.await("level=ERROR"); !strings.Contains(line, "certificate: ") {
		t.Errorf("said %s", line)
	}
	if _, third := shownAt(t, i.addr["directtls"]); !third.Equal(second) {
		t.Error("not the last good certificate")
	}
	if answer := openStream(t, old); !strings.Contains(answer, "<mechanisms") {
		t.Errorf("connection from before: %q", answer)
	}
}

func TestLoadKeepsTheOldOnError(t *testing.T) {
	cfg := defaultConfig()
	cfg.Data = t.TempDir()
	var c certificate
	if err := c.load(cfg, quiet); err != nil {
		t.Fatal(err)
	}
	was := c.current.Load()
	other := filepath.Join(cfg.Data, "other")
	if err := makeSelfSigned(other+".crt", other+".key", "localhost", "conference.localhost", time.Now()); err != nil {
		t.Fatal(err)
	}
	cfg.C2S.CertFile, cfg.C2S.KeyFile = filepath.Join(cfg.Data, "cert.pem"), other+".key"
	if err := c.load(cfg, quiet); err == nil {
		t.Error("took a key that belongs to another certificate")
	}
	if c.current.Load() != was {
		t.Error("the certificate is gone")
	}
}
