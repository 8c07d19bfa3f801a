package main

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDecoyKeyStays(t *testing.T) {
	dir := t.TempDir()
	first, err := decoyKey(&Config{Data: dir})
	if err != nil || len(first) != 32 {
		t.Fatalf("%x, %v", first, err)
	}
	second, err := decoyKey(&Config{Data: dir})
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("%x, %v; want %x", second, err, first)
	}
	if info, err := os.Stat(filepath.Join(dir, decoyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestDevelopmentToken(t *testing.T) {
	dir := t.TempDir()
	token, secret, err := developmentToken(dir)
	if err != nil || len(secret) < 26 || token.Hash != sha256.Sum256([]byte(secret)) {
		t.Fatalf("%+v %q %v", token, secret, err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, apiTokenFile))
	if err != nil || strings.Contains(string(kept), secret) {
		t.Errorf("kept %q, %v", kept, err)
	}
	again, secret, err := developmentToken(dir)
	if err != nil || secret != "" || again.Hash != token.Hash {
		t.Errorf("second start: %+v %q %v", again, secret, err)
	}
	write(t, filepath.Join(dir, apiTokenFile), "garbage")
	if _, _, err := developmentToken(dir); err == nil {
		t.Error("took garbage for a hash")
	}
}

func TestWelcome(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := developmentConfig()
	for _, secret := range []string{"TOPSECRET", ""} {
		s := &server{cfg: cfg, secret: secret, where: where{data: "here"},
			sockets: []socket{{l, "starttls", nil}, {l, "directtls", nil}, {l, "api", nil}}}
		var out bytes.Buffer
		s.welcome(environment{program: "./chatd", stdout: &out, stderr: io.Discard})
		want := []string{l.Addr().String(), "./chatd user add alice@localhost -data here\n", "cert.pem"}
		if secret != "" {
			want = append(want, secret)
		} else {
			want = append(want, "remove chatd-data/api-token.sha256")
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("not said: %q\n%s", w, &out)
			}
		}
	}
}

func TestDevelopmentIsLoopbackOnly(t *testing.T) {
	c := developmentConfig()
	for _, list := range [][]string{c.C2S.Listen, c.C2S.ListenTLS, c.API.Listen} {
		for _, a := range list {
			if !loopback(a) {
				t.Errorf("%s is not on loopback", a)
			}
		}
	}
	for _, a := range []string{":5222", "0.0.0.0:5222", "[::]:5222", "192.0.2.1:5222", "example.com:5222", "nonsense"} {
		if loopback(a) {
			t.Errorf("%s is not loopback", a)
		}
	}
}

func TestCheckWritable(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	for path, ok := range map[string]bool{
		dir: true, filepath.Join(dir, "a/b/c"): true,
		filepath.Join(dir, "file"): false, filepath.Join(dir, "file/below"): false,
	} {
		if err := checkWritable(path); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
	if exists(filepath.Join(dir, "a")) {
		t.Error("made a directory")
	}
}

func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, "1")
	var w watcher
	w.watch(a, b, "")
	step := func(what string, want bool) {
		t.Helper()
		if got := w.changed(); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	step("nothing happened", false)
	write(t, a, "1") // another file of the same size
	step("it may go on to change", false)
	step("quiet", true)
	step("reported once", false)
	write(t, b, "1")
	step("a new file", false)
	write(t, b, "12")
	step("still changing", false)
	step("quiet again", true)
	if err := os.Chtimes(a, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	step("touched", false)
	w.note()
	step("already known", false)
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	step("gone", false)
	write(t, filepath.Join(dir, "c"), "1")
	w.watch(a, b, filepath.Join(dir, "c"))
	step("another file is watched, the change is not forgotten", true)
	step("quiet at last", false)
}
