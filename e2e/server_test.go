package e2e

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	domain   = "chat.test" // of all servers but the one in development mode
	password = "correct horse"
	apiToken = "of the private API"

	// patience is for what takes milliseconds on an idle machine.
	patience = 30 * time.Second
)

var buildDir string // removed by TestMain

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "chatd-e2e"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if database.server != nil {
		database.server.Kill()
	}
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// binary is the chatd under test, built once, with the race detector when the
// tests have it. CHATD_TEST_BINARY names another.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("CHATD_TEST_BINARY"); path != "" {
		return path, nil
	}
	if err := noteSources(); err != nil {
		return "", err
	}
	path := filepath.Join(buildDir, "chatd")
	args := []string{"build", "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "chatd/cmd/chatd")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build chatd/cmd/chatd: %w\n%s", err, out)
	}
	return path, nil
})

// noteSources looks at all that the tests are made of, so that go test does not
// answer from its cache when the server or a script has changed: it
// knows what a test has looked at, but not what it has built or run.
func noteSources() error {
	return filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // gone meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "node_modules" || name == ".git" {
				return filepath.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".go", ".sql", ".mod", ".sum", ".py", ".js", ".json":
			_, err = os.Stat(path)
		}
		return err
	})
}

// A server is one chatd with its own data and configuration. Its process may
// come and go; the rest stays. It belongs to the test's goroutine.
type server struct {
	t               *testing.T
	dir             string // where it runs, with its data
	program         string // that serves; "": the one under test
	domain          string
	flags           []string          // what names the data, to every command
	host            string            // what it listens on
	c2s             map[string]string // keys of [c2s], as TOML values
	web             string            // http.tls, as a TOML value
	api             string            // address of the private API, known once it runs; "": there is none
	apiScopes       []string          // of the token apiToken; none: there is no private API
	starttls, tls   string            // addresses, known once it runs
	http            string            //
	sections        string            // more of the configuration
	cmd             *exec.Cmd
	dsn             string        // of the database, if it is not SQLite
	exited          chan struct{} // closed when the process has been waited for
	log             *journal
	certificateFile string // what clients are to trust
	relay           *relay // between some of the clients and the server; nil without
	relayed         string // the scheme of what it relays: xmpp to starttls, ws to http
}

// newServer starts a chatd with these accounts, all with the same password.
func newServer(t *testing.T, users ...string) *server {
	t.Helper()
	return newServerOn(t, "127.0.0.1", users...)
}

func newServerOn(t *testing.T, host string, users ...string) *server {
	t.Helper()
	return newServerWith(t, host, `"on"`, users...)
}

// newServerWith is newServerOn with http.tls as a TOML value.
func newServerWith(t *testing.T, host, web string, users ...string) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	s := &server{t: t, dir: t.TempDir(), domain: domain, host: host, web: web}
	return s.begin(users)
}

// newServerWithAPI is newServer with the private API and a token for it.
func newServerWithAPI(t *testing.T, scopes []string, users ...string) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	s := &server{t: t, dir: t.TempDir(), domain: domain, host: "127.0.0.1", web: `"on"`, apiScopes: scopes}
	return s.begin(users)
}

func (s *server) begin(users []string) *server {
	s.t.Helper()
	s.flags = []string{"-config", s.config()}
	s.certificateFile = filepath.Join(s.dir, "cert.pem")
	s.c2s = map[string]string{
		"tls":                      `"required"`,
		"cert_file":                `"cert.pem"`,
		"key_file":                 `"key.pem"`,
		"registration":             "true",
		"registrations_per_minute": "0",
	}
	s.must("", s.writeCertificate())
	s.writeConfig()
	s.start()
	s.t.Cleanup(s.end)
	s.addUsers(users)
	return s
}

// newServerBehind is newServer with a relay before it.
func newServerBehind(t *testing.T, users ...string) *server {
	t.Helper()
	s := newServer(t, users...)
	s.relay, s.relayed = newRelay(t, s.starttls), "xmpp"
	return s
}

// newServerBehindWeb is newServer without TLS over HTTP, and with a relay before that.
func newServerBehindWeb(t *testing.T, users ...string) *server {
	t.Helper()
	s := newServerWith(t, "127.0.0.1", `"off"`, users...)
	s.relay, s.relayed = newRelay(t, s.http), "ws"
	return s
}

func (s *server) addUsers(users []string) {
	s.t.Helper()
	for _, u := range users {
		s.must(s.command("user", "add", u+"@"+s.domain, "-password", password))
	}
}

func (s *server) config() string { return filepath.Join(s.dir, "chatd.toml") }

func (s *server) writeConfig() {
	s.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "domain = %q\ndata = %q\n\n[c2s]\n", s.domain, filepath.Join(s.dir, "data"))
	fmt.Fprintf(&b, "listen = [\"%[1]s:0\"]\nlisten_tls = [\"%[1]s:0\"]\n", s.host)
	for _, key := range slices.Sorted(maps.Keys(s.c2s)) {
		fmt.Fprintf(&b, "%s = %s\n", key, s.c2s[key])
	}
	fmt.Fprintf(&b, "\n[http]\nlisten = [\"%s:0\"]\ntls = %s\n", s.host, s.web)
	if len(s.apiScopes) == 0 {
		b.WriteString("\n[api]\nlisten = []\n")
	} else {
		fmt.Fprintf(&b, "\n[api]\nlisten = [\"%s:0\"]\n[[api.tokens]]\nname = \"test\"\nhash = \"%x\"\nscopes = [\"%s\"]\n",
			s.host, sha256.Sum256([]byte(apiToken)), strings.Join(s.apiScopes, `", "`))
	}
	b.WriteString(s.sections)
	s.replaceFile(s.config(), []byte(b.String()))
}

// addConfig adds to the configuration file.
func (s *server) addConfig(text string) {
	s.t.Helper()
	config, err := os.ReadFile(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	s.replaceFile(s.config(), append(config, text...))
}

// replaceFile puts a file in place at once, as an editor does.
func (s *server) replaceFile(path string, data []byte) {
	s.t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		s.t.Fatal(err)
	}
}

// start runs chatd and waits until it listens.
func (s *server) start() {
	s.t.Helper()
	s.launch(append([]string{"serve"}, s.flags...)...)
	s.starttls = s.listening("starttls")
	s.tls = s.listening("directtls")
	s.http = s.listening("http")
	if len(s.apiScopes) > 0 {
		s.api = s.listening("api")
	}
	if _, err := s.log.await("msg=ready"); err != nil {
		s.t.Fatalf("%v\n%s", err, s.log)
	}
	switch s.relayed {
	case "xmpp":
		s.relay.aim(s.starttls)
	case "ws":
		s.relay.aim(s.http)
	}
}

func (s *server) launch(args ...string) {
	s.t.Helper()
	path, err := s.program, error(nil)
	if path == "" {
		path, err = binary()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(path, args...)
	s.cmd.Dir = s.dir
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.log, s.exited = newJournal(), make(chan struct{})
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, log *journal, exited chan struct{}) {
		defer close(exited)
		log.fill(stderr)
		cmd.Wait() //nolint:errcheck // ProcessState has the outcome
	}(s.cmd, s.log, s.exited)
}

var addrPattern = regexp.MustCompile(`\baddr="?([^\s"]+)`)

// listening waits for the log line that names the address of a listener.
func (s *server) listening(kind string) string {
	s.t.Helper()
	line, err := s.log.await("msg=listening", "kind="+kind)
	if err != nil {
		s.t.Fatalf("no %s listener: %v\n%s", kind, err, s.log)
	}
	return addrPattern.FindStringSubmatch(line)[1]
}

// stop sends a signal and waits for the end. It returns the exit code, -1 when
// the signal killed the process.
func (s *server) stop(sig syscall.Signal) (int, error) {
	if err := s.cmd.Process.Signal(sig); err != nil {
		return 0, err
	}
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("chatd runs on after %v", sig)
	}
}

// end is the test's clean-up: chatd must end well, and its log tells about a
// test that failed.
func (s *server) end() {
	select {
	case <-s.exited:
	default:
		if code, err := s.stop(syscall.SIGTERM); err != nil || code != 0 {
			s.t.Errorf("chatd ended with code %d, %v", code, err)
			s.cmd.Process.Kill() //nolint:errcheck // it may have ended after all
			<-s.exited
		}
	}
	if s.t.Failed() {
		s.t.Logf("log of chatd:\n%s", s.log)
	}
}

// command runs another chatd command on the same data.
func (s *server) command(args ...string) (string, error) {
	path, err := binary()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(path, append(args, s.flags...)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "CHATD_API_TOKEN="+apiToken)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("chatd %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (s *server) must(out string, err error) string {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// A journal is a process's log as it grows.
type journal struct {
	mu    sync.Mutex
	lines []string
	grown chan struct{} // closed and replaced at every line
	ended bool
}

func newJournal() *journal { return &journal{grown: make(chan struct{})} }

func (j *journal) fill(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		j.mu.Lock()
		j.lines = append(j.lines, lines.Text())
		j.wake()
		j.mu.Unlock()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	j.wake()
}

func (j *journal) wake() {
	close(j.grown)
	j.grown = make(chan struct{})
}

// len is how many lines there are, to await one after them.
func (j *journal) len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines)
}

// await waits for a line that contains all the words.
func (j *journal) await(words ...string) (string, error) { return j.awaitAfter(0, words...) }

func (j *journal) awaitAfter(from int, words ...string) (string, error) {
	return j.awaitWithin(patience, from, words...)
}

func (j *journal) awaitWithin(limit time.Duration, from int, words ...string) (string, error) {
	timeout := time.After(limit)
	for {
		j.mu.Lock()
		grown, ended, lines := j.grown, j.ended, j.lines[from:]
		j.mu.Unlock()
		for _, line := range lines {
			if containsAll(line, words) {
				return line, nil
			}
		}
		if ended {
			return "", errors.New("chatd has ended")
		}
		select {
		case <-grown:
		case <-timeout:
			return "", fmt.Errorf("no log line with %q in time", words)
		}
	}
}

func containsAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}
