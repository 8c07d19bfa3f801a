package e2e

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDevelopmentMode is chatd without any argument, as the README has it: two
// people register and talk, an account is added from another terminal.
func TestDevelopmentMode(t *testing.T) {
	need(t, "slixmpp", installed(python, "-c", "import slixmpp"))
	need(t, "the ports of development mode", func() error {
		for _, addr := range []string{"127.0.0.1:5222", "127.0.0.1:5223", "127.0.0.1:5281"} {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return err
			}
			l.Close()
		}
		return nil
	})
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	t.Parallel() // nobody else uses those ports
	s := &server{t: t, dir: t.TempDir(), domain: "localhost"}
	s.certificateFile = filepath.Join(s.dir, "chatd-data", "cert.pem") // made by chatd
	s.launch()
	t.Cleanup(s.end)
	s.starttls, s.tls = s.listening("starttls"), s.listening("directtls")
	s.addUsers([]string{"carol"})
	s.slixmpp("development")
	if got, want := s.must(s.command("user", "list")), "alice@localhost\nbob@localhost\ncarol@localhost\n"; got != want {
		t.Errorf("user list printed %q, want %q", got, want)
	}
}

// TestOneServerPerData: a second server on the same data would deliver half of
// the messages to nobody.
func TestOneServerPerData(t *testing.T) {
	t.Parallel()
	s := newServer(t, "alice")
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(testContext(t), path, "serve", "-config", s.config()).CombinedOutput()
	if code := err.(*exec.ExitError).ExitCode(); code != 1 {
		t.Errorf("a second server ended with code %d, want 1", code)
	}
	if !strings.Contains(string(out), "another chatd") {
		t.Errorf("a second server said %q", out)
	}
	if got, want := s.must(s.command("user", "list")), "alice@chat.test\n"; got != want {
		t.Errorf("user list printed %q, want %q", got, want)
	}
}
