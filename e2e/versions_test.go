package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// previous is chatd of the commit before the present one.
func previous(t *testing.T) (program string) {
	t.Helper()
	if err := exec.Command("git", "cat-file", "-e", "HEAD^:cluster/service.go").Run(); err != nil {
		t.Skip("NOT TESTED: mixed versions. There is no git history here, or the commit before this one has no cluster")
	}
	if spoken("HEAD^") != spoken("HEAD") {
		t.Skip("NOT TESTED: mixed versions. The commit before this one speaks other versions of the link's protocol")
	}
	dir := t.TempDir()
	out, err := exec.Command("sh", "-c", `git -C "$(git rev-parse --show-toplevel)" archive HEAD^ | tar -x -C "$1"`, "sh", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("git archive: %v\n%s", err, out)
	}
	return buildIn(t, dir)
}

// spoken is the lines in which a commit says which versions of the link's protocol it speaks.
func spoken(commit string) string {
	out, _ := exec.Command("git", "grep", "-h", "-E", `version(Min|Max) +=`, commit, "--", ":/cluster/hello.go").Output()
	return string(out)
}

// buildIn builds chatd of the sources in a directory.
func buildIn(t *testing.T, dir string, flags ...string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "chatd")
	cmd := exec.Command("go", append(append([]string{"build", "-buildvcs=false", "-o", program}, flags...), "./cmd/chatd")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// TestClusterOfTwoVersions has the previous commit's chatd and this one in one cluster, as in the middle of an upgrade.
func TestClusterOfTwoVersions(t *testing.T) {
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	t.Parallel()
	n := startCluster(t, []string{"", previous(t)}, "alice", "bob")
	n.linked()
	alice, bob := n[0].raw(t, "alice", "game"), n[1].raw(t, "bob", "game")
	for range 3 {
		alice.say("<message to='%s' type='chat'><body>from the new one</body></message>", bob.full)
		bob.await("<body>from the new one</body>")
		bob.say("<message to='alice@%s' type='chat'><body>from the old one</body></message>", domain)
		alice.await("<body>from the old one</body>")
	}

	elsewhere := n[1].raw(t, "alice", "game") // the same resource
	alice.await("<conflict")
	bob.say("<message to='%s' type='chat'><body>to the other</body></message>", elsewhere.full)
	elsewhere.await("<body>to the other</body>")

	for _, to := range n { // there and back
		bob.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
		id := bob.await("<enabled[^>]* id='([^']*)'")[1]
		bob.conn.Close()
		elsewhere.say("<message to='%s' type='chat'><body>meanwhile</body></message>", bob.full)
		elsewhere.barrier()
		again := to.dialRaw(t, "bob")
		again.say("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='0'/>", id)
		again.await("<resumed[^>]* previd='" + id + "'")
		again.await("<body>meanwhile</body>")
		again.say("</stream:stream>")
		again.await("</stream:stream>")
		bob = to.raw(t, "bob", "game")
	}
	for _, s := range n {
		out, err := s.command("cluster", "status", "-api", s.api)
		if err != nil || !strings.Contains(out, "whole") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// ofLaterVersion is this chatd, but for the version of the protocol between nodes.
func ofLaterVersion(t *testing.T) (program string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "cluster", "hello.go")
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	later := regexp.MustCompile(`(?m)^(\s+version(?:Min|Max)\s+= )\d+$`).ReplaceAll(source, []byte("${1}99"))
	if strings.Count(string(later), "= 99\n") != 2 {
		t.Fatal("hello.go does not have the versions where they are expected")
	}
	dir := t.TempDir()
	instead, overlay := filepath.Join(dir, "hello.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: instead}})
	if err = errors.Join(err, os.WriteFile(instead, later, 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		t.Fatal(err)
	}
	return buildIn(t, root, "-overlay", overlay)
}

// TestClusterOfIncompatibleVersions has a node that speaks only a later version of the protocol between nodes: it is not linked to, both
// say so, and each serves its players.
func TestClusterOfIncompatibleVersions(t *testing.T) {
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	t.Parallel()
	n := startCluster(t, []string{"", ofLaterVersion(t)}, "alice", "bob")
	for _, s := range n {
		line, err := s.log.await("incompatible-version")
		if err != nil || !strings.Contains(line, "99 to 99") {
			t.Errorf("%s: %v", line, err)
		}
	}
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		out, err := n[0].command("cluster", "status", "-api", n[0].api)
		if err == nil && strings.Contains(out, "refused") && strings.Contains(out, "an island") {
			break
		}
		if time.Since(begun) > patience {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	alice, bob := n[0].raw(t, "alice", "game"), n[1].raw(t, "bob", "game")
	alice.say("<message to='%s' type='chat'><body>waits</body></message>", bob.full)
	if said := alice.barrier(); strings.Contains(said, "type='error'") {
		t.Errorf("a message for bob came back: %s", said)
	}
}
