package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// scriptTime is how long one script may take on a busy machine.
const scriptTime = 3 * time.Minute

// run executes a script against the server and fails the test unless it ends
// with 0. What the script asks for is done on the test's goroutine.
func (s *server) run(program string, args ...string) {
	s.t.Helper()
	s.must("", s.script(program, args...))
}

// script is run for any goroutine, if the script asks for nothing.
func (s *server) script(program string, args ...string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(),
		"CHATD_DOMAIN="+s.domain, "CHATD_STARTTLS="+s.starttls, "CHATD_DIRECT="+s.tls, "CHATD_WEB="+s.http,
		"CHATD_CA="+s.certificateFile, "NODE_EXTRA_CA_CERTS="+s.certificateFile,
		"PYTHONDONTWRITEBYTECODE=1")
	if s.relay != nil {
		cmd.Env = append(cmd.Env, "CHATD_RELAY="+s.relayed+"://"+s.relay.address())
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	said := s.converse(stdout, stdin)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, said, stderr.String())
	}
	return nil
}

// converse reads what the script says until it ends, and does what it asks.
func (s *server) converse(stdout io.Reader, stdin io.Writer) string {
	s.t.Helper()
	var said strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		line := lines.Text()
		said.WriteString(line + "\n")
		request, ok := strings.CutPrefix(line, "ask ")
		if !ok {
			continue
		}
		answer, err := s.do(strings.Fields(request))
		if err != nil {
			answer = "failed: " + strings.Join(strings.Fields(err.Error()), " ")
		}
		said.WriteString("  " + answer + "\n")
		fmt.Fprintln(stdin, answer)
	}
	return said.String()
}

// do is what scripts can ask for.
func (s *server) do(words []string) (string, error) {
	verb, args := words[0], words[1:]
	switch verb {
	case "stop":
		return s.terminate()
	case "kill":
		_, err := s.stop(syscall.SIGKILL)
		return "done", err
	case "start":
		s.start()
		return "done " + s.starttls + " " + s.tls, nil
	case "configure":
		return "done", s.reconfigure(args[0], args[1], true)
	case "edit":
		return "done", s.reconfigure(args[0], args[1], false)
	case "certificate":
		return "done", s.newCertificate()
	case "cut", "hold":
		if verb == "cut" {
			s.relay.cut()
		} else {
			s.relay.hold()
		}
		return "done", nil
	case "user":
		_, err := s.command(words...)
		return "done", err
	}
	return "", fmt.Errorf("cannot %s", verb)
}

func (s *server) terminate() (string, error) {
	code, err := s.stop(syscall.SIGTERM)
	if err == nil && code != 0 {
		err = fmt.Errorf("chatd ended with code %d", code)
	}
	return "done", err
}

// reconfigure changes a key of [c2s] and returns when it has taken effect:
// by SIGHUP, or by nothing but the change of the file.
func (s *server) reconfigure(key, value string, hup bool) error {
	if value != "true" && value != "false" {
		value = fmt.Sprintf("%q", value)
	}
	s.c2s[key] = value
	before := s.log.len()
	s.writeConfig()
	return s.reloaded(before, hup)
}

func (s *server) reloaded(before int, hup bool) error {
	if hup {
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return err
		}
	}
	_, err := s.log.awaitAfter(before, "msg=reloaded")
	return err
}

// newCertificate gives chatd another certificate by its files alone.
func (s *server) newCertificate() error {
	before := s.log.len()
	if err := s.writeCertificate(); err != nil {
		return err
	}
	return s.reloaded(before, false)
}

func (s *server) writeCertificate() error {
	cert, key, err := selfSigned(s.domain)
	if err == nil {
		s.replaceFile(filepath.Join(s.dir, "key.pem"), key)
		s.replaceFile(s.certificateFile, cert)
	}
	return err
}

// need skips a test whose client is not installed; where everything is to be
// tested that is a failure.
func need(t *testing.T, what string, check func() error) {
	t.Helper()
	err := check()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: %v", what, err)
	}
	t.Skipf("%s is missing (run scripts/setup.sh): %v", what, err)
}

func installed(program string, args ...string) func() error {
	return func() error {
		out, err := exec.Command(program, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %s: %w %s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
		return nil
	}
}
