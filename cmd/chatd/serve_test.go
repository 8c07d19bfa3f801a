package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatd/store/guard"
	"chatd/store/memory"
)

const testToken = `
[[api.tokens]]
name = "test"
hash = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0" # s3cret
scopes = ["metrics"]
`

// get is the status of a request to the private API.
func (i *instance) get(path, token string) (status int, body string) {
	i.t.Helper()
	req, err := http.NewRequest("GET", "http://"+i.addr["api"]+path, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestServe(t *testing.T) {
	i := startServe(t, testConfig(t, testToken))
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ok"} {
		if status, body := i.get(path, ""); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := i.get("/metrics", "wrong"); status != 401 {
		t.Errorf("metrics with a wrong token: %d", status)
	}
	status, body := i.get("/metrics", "s3cret")
	for _, name := range []string{"go_goroutines", "process_open_fds", "go_build_info", "chatd_stanzas_routed_total", "chatd_sessions"} {
		if status != 200 || !strings.Contains(body, "\n"+name) {
			t.Errorf("metrics: %d without %s", status, name)
		}
	}
	documented, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (chatd_\w+)`).FindAllStringSubmatch(body, -1) {
		if !strings.Contains(string(documented), "| `"+m[1]+"` |") {
			t.Errorf("docs/operations.md lacks %s", m[1])
		}
	}
	checkDashboard(t, body)
	conn, err := net.Dial("tcp", i.addr["starttls"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if answer := openStream(t, conn); !strings.Contains(answer, "urn:ietf:params:xml:ns:xmpp-tls") {
		t.Errorf("stream features %q", answer)
	}
}

// openStream sends a stream header and returns what comes back, to the end of the stream features.
func openStream(t *testing.T, conn net.Conn) string {
	t.Helper()
	fmt.Fprint(conn, "<?xml version='1.0'?><stream:stream to='chat.test' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
	var answer bytes.Buffer
	for !strings.Contains(answer.String(), "</stream:features>") {
		b := make([]byte, 4096)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, answer.String())
		}
		answer.Write(b[:n])
	}
	return answer.String()
}

// TestWeb: the public HTTP has the certificate of the clients' sockets, and a reload changes
// what it says and whether it has TLS.
func TestWeb(t *testing.T) {
	const section = "[http]\nlisten = [\"127.0.0.1:0\"]\n"
	config := testConfig(t, section)
	i := startServe(t, config)
	trusting := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ask := func(scheme string) string {
		t.Helper()
		resp, err := trusting.Get(scheme + "://" + i.addr["http"] + "/.well-known/host-meta.json")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, err)
		}
		return string(body)
	}
	if got, want := ask("https"), "wss://"+i.addr["http"]+"/xmpp-websocket"; !strings.Contains(got, want) {
		t.Errorf("host-meta %s, want %s in it", got, want)
	}
	conn, err := tls.Dial("tcp", i.addr["http"], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	direct, err := tls.Dial("tcp", i.addr["directtls"], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if !conn.ConnectionState().PeerCertificates[0].Equal(direct.ConnectionState().PeerCertificates[0]) {
		t.Error("another certificate than on c2s.listen_tls")
	}

	write(t, config, configText(section+"tls = \"proxy\"\nurl = \"https://chat.test\"\n"))
	i.await("msg=reloaded")
	if got, want := ask("http"), "wss://chat.test/xmpp-websocket"; !strings.Contains(got, want) {
		t.Errorf("host-meta %s, want %s in it", got, want)
	}
}

func TestStartFailures(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	notDir := filepath.Join(t.TempDir(), "file")
	write(t, notDir, "")
	damaged := t.TempDir()
	write(t, filepath.Join(damaged, decoyFile), "short")
	const address = `"127.0.0.1:0"`
	for _, tt := range []struct{ name, config, data, want string }{
		{"port in use", strings.Replace(configText(""), address, strconv.Quote(taken.Addr().String()), 1), "", "api.listen: " + taken.Addr().String() + " is in use already"},
		{"not our address", strings.Replace(configText(""), address, `"192.0.2.1:1"`, 1), "", "api.listen: "},
		{"no certificate", configText("cert_file = \"no.pem\"\nkey_file = \"no.pem\"\n"), "", "certificate: "},
		{"data is a file", configText(""), notDir, notDir},
		{"damaged secret", configText(""), damaged, "remove it to have it made anew"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "chatd.toml")
			write(t, config, tt.config)
			args := []string{"serve", "-config", config, "-log-level", "error"}
			if tt.data != "" {
				args = append(args, "-data", tt.data)
			}
			code, _, stderr := call(t, "", args...)
			if code != exitFailed || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("code %d, said %q; want 1 and one line with %q", code, stderr, tt.want)
			}
		})
	}
}

func TestDataIsLocked(t *testing.T) {
	config := testConfig(t, "")
	startServe(t, config)
	code, _, stderr := call(t, "", "serve", "-config", config, "-log-level", "error")
	if code != exitFailed || !strings.Contains(stderr, "in use by another chatd") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("second server: code %d, %q", code, stderr)
	}
	if code, _, stderr := call(t, "", "user", "add", "alice", "-password", "x", "-config", config); code != exitOK {
		t.Errorf("user while the server runs: code %d, %q", code, stderr)
	}
}

func TestReload(t *testing.T) {
	config := testConfig(t, "")
	i := startServe(t, config)
	conn, err := net.Dial("tcp", i.addr["starttls"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	check := func(want int) {
		t.Helper()
		if status, _ := i.get("/metrics", "s3cret"); status != want {
			t.Errorf("metrics: %d, want %d", status, want)
		}
	}
	check(401)

	write(t, config, configText(testToken)) // the change is noticed
	i.await("msg=reloaded")
	check(200)

	write(t, config, configText("registration = 5\nlisten_tsl = []\n")) // as it was
	if line := i.await("level=ERROR"); !strings.Contains(line, "chatd.toml:8: c2s.listen_tsl: unknown key") || !strings.Contains(line, "c2s.registration: must be true or false") {
		t.Errorf("said %s", line)
	}
	check(200)

	write(t, config, strings.Replace(configText(""), "chat.test", "other.test", 1))
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	i.await("msg=reloaded")
	check(401)
	if line := i.await("level=WARN"); !strings.Contains(line, "keys=domain") {
		t.Errorf("said %s", line)
	}

	// What the file says does not go with a socket that stays open.
	write(t, config, configText("tls = \"off\"\n"))
	if line := i.await("level=ERROR"); !strings.Contains(line, "c2s.listen_tls: needs TLS") {
		t.Errorf("said %s", line)
	}

	if answer := openStream(t, conn); !strings.Contains(answer, "from='chat.test'") {
		t.Errorf("connection from before the reloads: %q", answer)
	}
}

func TestDirectTLS(t *testing.T) {
	i := startServe(t, testConfig(t, ""))
	for _, tt := range []struct {
		name  string
		alpn  []string
		max   uint16
		works bool
	}{
		{"no ALPN", nil, 0, true},
		{"ALPN", []string{"xmpp-client"}, 0, true},
		{"one of several", []string{"http/1.1", "xmpp-client"}, 0, true},
		{"other protocol", []string{"http/1.1"}, 0, false},
		{"TLS 1.2", nil, tls.VersionTLS12, true},
		{"TLS 1.1", nil, tls.VersionTLS11, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", i.addr["directtls"], &tls.Config{
				InsecureSkipVerify: true, NextProtos: tt.alpn, MaxVersion: tt.max, MinVersion: tls.VersionTLS10,
			})
			if (err == nil) != tt.works {
				t.Fatalf("%v, want success %v", err, tt.works)
			}
			if err == nil {
				conn.Close()
			}
		})
	}
}

func TestReady(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	db := guard.New(memory.New(), guard.Config{Patience: time.Second, Log: quiet})
	check := ready(ctx, db)
	if err := check(context.Background()); err != nil {
		t.Error(err)
	}
	cancel()
	if err := check(context.Background()); err == nil {
		t.Error("ready while it stops")
	}
	check = ready(context.Background(), db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := check(context.Background()); err == nil {
		t.Error("ready without a store")
	}
}

// checkDashboard holds docs/grafana.json to the metrics that there are.
func checkDashboard(t *testing.T, metrics string) {
	t.Helper()
	file, err := os.ReadFile("../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	counters, err := os.ReadFile("../../c2s/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(file, &dashboard); err != nil {
		t.Fatal(err)
	}
	exists := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\w+) (\w+)`).FindAllStringSubmatch(metrics, -1) {
		exists[m[1]] = true
		if m[2] == "histogram" {
			exists[m[1]+"_bucket"], exists[m[1]+"_count"], exists[m[1]+"_sum"] = true, true, true
		}
	}
	used := make(map[string]bool)
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			for _, name := range regexp.MustCompile(`\b(?:chatd|go|process)_\w+`).FindAllString(target.Expr, -1) {
				used[name] = true
				// A counter with labels is not shown before it has counted.
				if !exists[name] && !strings.Contains(string(counters), `"`+name+`"`) {
					t.Errorf("docs/grafana.json: %q uses %s, which does not exist", p.Title, name)
				}
			}
		}
	}
	if len(used) < 20 {
		t.Errorf("docs/grafana.json uses %d metrics only", len(used))
	}
}
