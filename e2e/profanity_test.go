package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProfanity is what two people see: they log in from a terminal, accept the
// self-signed certificate, become friends and talk. With CHATD_TRANSCRIPT set
// their screens are written to the file of that name; the README shows them.
func TestProfanity(t *testing.T) {
	need(t, "profanity", installed("profanity", "--version"))
	need(t, "tmux", installed("tmux", "-V"))
	t.Parallel()
	s := newServer(t, "alice", "bob")
	alice, bob := s.profanity("alice"), s.profanity("bob")

	alice.types("/roster add bob@chat.test Bob")
	alice.sees("Roster item added: bob@chat.test")
	alice.types("/sub request bob@chat.test")
	bob.sees("Received authorization request from alice@chat.test")
	bob.types("/sub allow alice@chat.test")
	bob.sees("Accepted subscription for alice@chat.test")
	alice.sees("Bob (profanity.", ") is online")
	bob.types("/sub request alice@chat.test")
	alice.sees("Received authorization request from bob@chat.test")
	alice.types("/sub allow bob@chat.test")
	bob.sees("alice@chat.test (profanity.", ") is online")

	alice.types("/msg bob@chat.test Hello Bob, are you there?")
	alice.sees("me: Hello Bob, are you there?")
	bob.sees("<< chat message: alice@chat.test")
	bob.types("/msg alice@chat.test Yes! <3 & welcome")
	bob.sees("alice@chat.test", ": Hello Bob, are you there?", "me: Yes! <3 & welcome")
	alice.sees("Bob", ": Yes! <3 & welcome")

	alice.types(`/status set away "gone for tea"`)
	bob.sees("alice@chat.test [away]")
	transcribe(alice, bob)
	alice.types("/disconnect")
	bob.sees("alice@chat.test [offline]")
}

// TestProfanityRoom is what two people see of a room that one of them makes, configures and ends.
func TestProfanityRoom(t *testing.T) {
	need(t, "profanity", installed("profanity", "--version"))
	need(t, "tmux", installed("tmux", "-V"))
	t.Parallel()
	s := newServer(t, "alice", "bob")
	alice, bob := s.profanity("alice"), s.profanity("bob")

	alice.joins("verona", "Alice")
	alice.sees("You have joined the room as Alice, role: moderator, affiliation: owner", "Room locked, requires configuration.")
	alice.types("/room config")
	alice.sees("verona@conference.chat.test config", "Use '/form submit' to save changes.")
	alice.types("/field12 on") // muc#roomconfig_persistentroom, by its place in the form
	alice.sees("[field12] The room stays when it is empty: TRUE")
	alice.types("/form submit")
	alice.sees("Room configuration successful")

	alice.types("/invite send bob@chat.test the bridge at nine")
	bob.sees("From : alice@chat.test", "Room : verona@conference.chat.test", "Message: the bridge at nine")
	alice.types(`/subject set "Ready for the next round?"`)
	bob.joins("verona", "Bob")
	bob.sees("You have joined the room as Bob, role: participant, affiliation: none", "2 occupants: Alice, Bob",
		"*Alice has set the room subject: Ready for the next round?")
	alice.sees("-> Bob has joined the room, role: participant, affiliation: none")
	alice.types("hello Bob")
	bob.sees("Alice: hello Bob")
	bob.types("Yes! <3 & welcome")
	alice.sees("Bob: Yes! <3 & welcome")
	bob.types("/nick Robert")
	alice.sees("** Bob is now known as Robert")
	alice.types("/affiliation set member bob@chat.test")
	alice.sees("Robert's affiliation has been changed to: member, by: Alice")
	bob.sees("Your affiliation has been changed to: member, by: Alice")
	transcribe(alice, bob)

	alice.types("/kick Robert for a while")
	bob.sees("Kicked from verona@conference.chat.test by Alice, reason: for a while")
	bob.joins("verona", "Bob")
	bob.sees("You have joined the room as Bob, role: participant, affiliation: member", "Alice: hello Bob", "Bob: Yes! <3 & welcome")
	alice.types("/room destroy")
	alice.sees("Room destroyed: verona@conference.chat.test")
	bob.sees("Room destroyed: verona@conference.chat.test")
}

// transcribe keeps two screens for people.
func transcribe(alice, bob *terminal) {
	alice.t.Helper()
	if path := os.Getenv("CHATD_TRANSCRIPT"); path != "" {
		text := "alice's screen\n\n" + alice.screen() + "\n\nbob's screen\n\n" + bob.screen() + "\n"
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			alice.t.Error(err)
		}
	}
}

// A terminal is profanity in a tmux session of its own.
type terminal struct {
	t      *testing.T
	socket string
}

// profanity starts the client and logs in.
func (s *server) profanity(user string) *terminal {
	s.t.Helper()
	home := filepath.Join(s.dir, user)
	if err := os.MkdirAll(home, 0o700); err != nil {
		s.t.Fatal(err)
	}
	tm := &terminal{t: s.t, socket: filepath.Join(home, "tmux")}
	tm.tmux("-f", "/dev/null", "new-session", "-d", "-x", "84", "-y", "16",
		"env", "-i", "HOME="+home, "XDG_CONFIG_HOME="+home+"/config", "XDG_DATA_HOME="+home+"/data",
		"PATH="+os.Getenv("PATH"), "TERM=screen", "LANG=C.UTF-8", "profanity")
	s.t.Cleanup(func() { tm.tmux("kill-server") })

	host, port, err := net.SplitHostPort(s.starttls)
	if err != nil {
		s.t.Fatal(err)
	}
	tm.sees("Profanity.", "[offline]")
	tm.types("/roster hide") // its column would break lines
	tm.types(fmt.Sprintf("/connect %s@%s server %s port %s", user, domain, host, port))
	tm.sees("Enter password:")
	tm.types(password)
	tm.sees("Use '/tls allow' to accept this certificate.")
	tm.types("/tls allow")
	tm.sees(user+"@"+domain+"/profanity.", "logged in successfully", "[TLS] [online]")
	tm.types("/clear")
	return tm
}

// joins enters a room under a nick, where it says who comes and goes, and has no column for occupants, which would break lines.
func (tm *terminal) joins(room, nick string) {
	tm.t.Helper()
	tm.types("/presence room all")
	tm.types("/occupants default hide")
	tm.types("/clear")
	tm.types("/join " + room + "@conference." + domain + " nick " + nick)
}

func (tm *terminal) tmux(args ...string) string {
	tm.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", tm.socket}, args...)...).CombinedOutput()
	if err != nil {
		tm.t.Fatalf("tmux %q: %v %s", args, err, out)
	}
	return string(out)
}

// types enters a line, as it is: tmux would take some words for keys.
func (tm *terminal) types(line string) {
	tm.t.Helper()
	tm.tmux("send-keys", "-l", line)
	tm.tmux("send-keys", "Enter")
}

func (tm *terminal) screen() string {
	tm.t.Helper()
	return strings.TrimRight(tm.tmux("capture-pane", "-p"), "\n")
}

// sees waits until all the words are on the screen, wherever lines break.
func (tm *terminal) sees(words ...string) {
	tm.t.Helper()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-look.C {
		if containsAll(strings.Join(strings.Fields(tm.screen()), " "), words) {
			return
		}
	}
	tm.t.Fatalf("%q is not on the screen:\n%s", words, tm.screen())
}
