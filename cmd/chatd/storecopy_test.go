package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatd/store/storecopy"
)

func TestStoreCopy(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, user := range []string{"anna", "bob"} {
		if code, _, stderr := call(t, "", "user", "add", user, "-password", "pw", "-data", a); code != exitOK {
			t.Fatal(stderr)
		}
	}
	from, to := "sqlite:"+filepath.Join(a, "chatd.db"), "sqlite:"+filepath.Join(b, "chatd.db")
	copy := func(want int, words string, args ...string) {
		t.Helper()
		code, stdout, stderr := call(t, "", append([]string{"store", "copy"}, args...)...)
		if code != want || !strings.Contains(stdout+stderr, words) {
			t.Fatalf("%q: code %d, want %d and %q\n%s%s", args, code, want, words, stdout, stderr)
		}
	}
	copy(exitFailed, "no such file", "--from", to, "--to", from)
	copy(exitOK, "The two stores have the same.", "--from", from, "--to", to)
	copy(exitOK, "The two stores have the same.", "--from", from, "--to", to, "--verify")
	copy(exitFailed, "--resume goes on", "--from", from, "--to", to)
	copy(exitOK, "The two stores have the same.", "--from", from, "--to", to, "--resume")
	if code, stdout, _ := call(t, "", "user", "list", "-data", b); code != exitOK || stdout != "anna@localhost\nbob@localhost\n" {
		t.Fatalf("%d %s", code, stdout)
	}
	if code, _, stderr := call(t, "", "user", "add", "carl", "-password", "pw", "-data", b); code != exitOK {
		t.Fatal(stderr)
	}
	copy(exitFailed, "differ in 1 of", "--from", from, "--to", to, "--verify")
	copy(exitFailed, `"carl", which the source has not`, "--from", from, "--to", to, "--resume")
	copy(exitOK, "The two stores have the same.", "--from", from, "--to", to, "--force")

	beside := "sqlite:" + filepath.Join(a, "beside.db")
	copy(exitOK, "The two stores have the same.", "--from", from, "--to", beside)
	config := filepath.Join(dir, "chatd.toml")
	if err := os.WriteFile(config, []byte("domain = \"localhost\"\ndata = \"a\"\n[store]\ndsn = \"a/beside.db\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	copy(exitOK, "The two stores have the same.", "--from", "config:"+config, "--to", to, "--verify")
	copy(exitUsage, "the same store", "--from", "config:"+config, "--to", beside)

	copy(exitUsage, "the same store", "--from", from, "--to", from)
	copy(exitUsage, "the same store", "--from", from, "--to", "sqlite:"+filepath.Join(a, "..", "a", "chatd.db"))
	copy(exitUsage, "neither", "--from", from, "--to", to, "--verify", "--resume")
	copy(exitUsage, "is not sqlite:PATH", "--from", "postgres:secret", "--to", to)
	copy(exitUsage, "needs --from", "--from", from)
	copy(exitFailed, "CHATD_NOT_SET", "--from", from, "--to", "env:CHATD_NOT_SET")
	lock, err := lockData(a)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	copy(exitFailed, "in use by another chatd", "--from", from, "--to", to, "--force")
	for _, args := range [][]string{{"store"}, {"store", "cpoy"}} {
		if code, _, stderr := call(t, "", args...); code != exitUsage || !strings.Contains(stderr, "copy") {
			t.Errorf("%q: code %d %s", args, code, stderr)
		}
	}
}

func TestProgress(t *testing.T) {
	var done storecopy.Done
	p := &progress{what: "copied", total: 4, done: &done}
	done.Names.Store(1)
	done.Messages.Store(50)
	if got, want := p.line(10*time.Second), "copied 1 of 4 names, 50 messages, 0 names/s, 5 messages/s, 30s left"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := p.bar(), "[######..................] "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestStoreImportExport(t *testing.T) {
	dir := t.TempDir()
	file, copied := filepath.Join(dir, "in.xml"), filepath.Join(dir, "out.xml")
	text := "<server-data xmlns='urn:xmpp:pie:0'><host jid='localhost'><user name='anna' password='x'><pubsub xmlns='urn:x'/></user><user name='b@d'/></host></server-data>"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, step := range []struct {
		code  int
		words string
		args  []string
	}{
		{exitUsage, "needs one file", []string{"import"}},
		{exitFailed, "there is no", []string{"import", file + "x", "-data", a}},
		{exitFailed, "there is no data", []string{"export", copied, "-data", b}},
		{exitFailed, "imported 1 users", []string{"import", file, "-data", a}},
		{exitFailed, `refused "": a user without a name`, []string{"import", file, "-data", a, "-replace"}},
		{exitFailed, "not kept: 1 × pubsub in urn:x", []string{"import", file, "-data", a, "-replace"}},
		{exitFailed, "1 users exist already", []string{"import", file, "-data", a}},
		{exitOK, "1 users", []string{"export", copied, "-data", a}},
		{exitOK, "imported 1 users", []string{"import", copied, "-data", b}},
		{exitOK, "imported 0 users", []string{"import", copied, "-data", b, "-host", "elsewhere.test"}},
	} {
		code, stdout, stderr := call(t, "", append([]string{"store"}, step.args...)...)
		if code != step.code || !strings.Contains(stdout+stderr, step.words) {
			t.Errorf("%q: code %d, want %d and %q\n%s%s", step.args, code, step.code, step.words, stdout, stderr)
		}
	}
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}
