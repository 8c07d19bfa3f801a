package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"chatd/cluster"
)

// callWithToken is call with CHATD_API_TOKEN.
func callWithToken(t *testing.T, token string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := func(name string) string {
		if name == "CHATD_API_TOKEN" {
			return token
		}
		return testEnv(name)
	}
	code = run(t.Context(), append([]string{"chatd", "cluster"}, args...), env, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// aNode is the private API of a node, which answers with a status and a body to those who have the token.
func aNode(t *testing.T, method, path string, status int, body string) (at string) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			w.WriteHeader(http.StatusUnauthorized)
			w.Write([]byte(`{"detail":"no such token"}`))
		case r.Method != method || r.URL.Path != path:
			t.Errorf("asked for %s %s, want %s %s", r.Method, r.URL, method, path)
		default:
			w.WriteHeader(status)
			w.Write([]byte(body))
		}
	}))
	t.Cleanup(web.Close)
	return web.URL
}

func TestClusterStatus(t *testing.T) {
	o := cluster.Overview{
		Status: cluster.Status{Node: "n1", Link: "10.0.0.1:5270", Members: []cluster.Member{
			{Name: "n2", State: cluster.StateAlive, Since: time.Now().Add(-90 * time.Second), Link: "10.0.0.2:5270", RoundTrip: 123456 * time.Nanosecond, Queued: 3, Lag: 1500 * time.Microsecond},
			{Name: "n3", State: cluster.StateSuspect, Link: "10.0.0.3:5270"},
			{Name: "n4", State: cluster.StateAlive, Link: "10.0.0.4:5270"},
			{Name: "n5", State: cluster.StateRefused, Link: "10.0.0.5:5270", Error: "incompatible-version"},
		}},
		Sessions: 7, Remote: 11, Epoch: 5, Buckets: map[string]int{"n1": 200, "n2": 56},
		Replicas: []cluster.ReplicaView{
			{Node: "n2", Sessions: 9, Complete: true, Agrees: true}, {Node: "n3", Sessions: 2, Complete: true, Differing: 4}, {Node: "n4", Complete: true},
		},
		Drift: 6, Repaired: 5, Gaps: 2, Twice: 1,
	}
	for _, tt := range []struct {
		island bool
		state  string
	}{{false, "whole"}, {true, "an island: not all nodes are reached"}} {
		o.Island = tt.island
		body, err := json.Marshal(&o)
		if err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := callWithToken(t, "secret", "status", "-api", aNode(t, http.MethodGet, "/cluster", http.StatusOK, string(body))+"/")
		if code != exitOK || stderr != "" {
			t.Fatalf("code %d: %s", code, stderr)
		}
		want := []string{
			"NODE STATE SINCE SESSIONS LINK RTT QUEUED LAG TABLES BUCKETS",
			"n1 this 7 10.0.0.1:5270 200",
			"n2 alive 1m30s 9 10.0.0.2:5270 120µs 3 2ms agree 56",
			"n3 suspect 2 10.0.0.3:5270 0s 0 0s 4 differ 0",
			"n4 alive 0 10.0.0.4:5270 0s 0 0s not compared 0",
			"n5 refused 0 10.0.0.5:5270 0s 0 0s incomplete 0 incompatible-version",
			"",
			tt.state + "; 7 sessions here, 11 elsewhere; epoch 5; repaired 5 of 6 differing segments, 2 gaps, 1 resources bound twice",
			"",
		}
		lines := strings.Split(stdout, "\n")
		for i, line := range lines {
			if got := strings.Join(strings.Fields(line), " "); i >= len(want) || got != want[i] {
				t.Errorf("line %d of %d is %q", i, len(want), got)
			}
		}
	}
}

func TestClusterLeave(t *testing.T) {
	code, stdout, stderr := callWithToken(t, "secret", "leave", "-api", aNode(t, http.MethodPost, "/drain", http.StatusAccepted, "draining\n"))
	if code != exitOK || stdout != "draining\n" || stderr != "" {
		t.Errorf("code %d, printed %q and %q", code, stdout, stderr)
	}
}

func TestClusterForget(t *testing.T) {
	code, stdout, stderr := callWithToken(t, "secret", "forget", "n2", "-api", aNode(t, http.MethodDelete, "/cluster/n2", http.StatusNoContent, ""))
	if code != exitOK || stdout != "" || stderr != "" {
		t.Errorf("code %d, printed %q and %q", code, stdout, stderr)
	}
}

func TestClusterCommandFails(t *testing.T) {
	node := func(status int, body string) string { return aNode(t, http.MethodGet, "/cluster", status, body) }
	deaf := httptest.NewServer(nil)
	deaf.Close()
	for name, tt := range map[string]struct {
		token  string
		args   []string
		code   int
		stderr string
	}{
		"nothing to do":     {"", nil, exitUsage, "cluster takes status, leave, or forget NODE"},
		"something else":    {"", []string{"join"}, exitUsage, "cluster takes status, leave, or forget NODE"},
		"too much":          {"", []string{"status", "leave"}, exitUsage, "cluster takes status, leave, or forget NODE"},
		"nobody to forget":  {"", []string{"forget"}, exitUsage, "forget NODE"},
		"one that is there": {"secret", []string{"forget", "n2", "-api", aNode(t, http.MethodDelete, "/cluster/n2", 409, `{"detail":"node n2 is there: have it leave"}`)}, exitFailed, "chatd: node n2 is there: have it leave\n"},
		"unknown flag":      {"", []string{"status", "-node", "n1"}, exitUsage, "-node"},
		"no token":          {"", []string{"status", "-api", node(200, "{}")}, exitFailed, "no such token; the token is to be in CHATD_API_TOKEN\n"},
		"no cluster":        {"secret", []string{"status", "-api", node(404, `{"detail":"this chatd is alone"}`)}, exitFailed, "chatd: this chatd is alone\n"},
		"a proxy's answer":  {"secret", []string{"status", "-api", node(502, "<html>")}, exitFailed, "chatd: 502 Bad Gateway\n"},
		"not JSON":          {"secret", []string{"status", "-api", node(200, "ok")}, exitFailed, "/cluster: invalid character"},
		"nobody there":      {"secret", []string{"leave", "-api", strings.TrimPrefix(deaf.URL, "http://")}, exitFailed, "connection refused"},
		"no address":        {"secret", []string{"status", "-api", "http://[::1"}, exitFailed, "missing ']'"},
		"no configuration":  {"secret", []string{"status", "-config", "/nowhere.toml"}, exitFailed, "/nowhere.toml"},
		"no API": {"secret", []string{"status", "-config", func() string {
			file := testConfig(t, "")
			write(t, file, strings.Replace(configText(""), `api.listen = ["127.0.0.1:0"]`, "api.listen = []", 1))
			return file
		}()}, exitFailed, "api.listen is empty"},
	} {
		code, stdout, stderr := callWithToken(t, tt.token, tt.args...)
		if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("%s: code %d, printed %q and %q", name, code, stdout, stderr)
		}
	}
}

// TestClusterCommandFindsTheAPI: an address on the command line, the configuration's first, or the default.
func TestClusterCommandFindsTheAPI(t *testing.T) {
	file := testConfig(t, "")
	write(t, file, strings.Replace(configText(""), "127.0.0.1:0", "127.0.0.1:5999", 1))
	e := environment{getenv: testEnv}
	for _, tt := range []struct{ at, config, want string }{
		{"", "", "http://127.0.0.1:5281"},
		{"", file, "http://127.0.0.1:5999"},
		{"n1:81", file, "http://n1:81"},
		{"https://n1/chat/", "", "https://n1/chat"},
	} {
		if got, err := apiAddress(e, tt.at, tt.config); err != nil || got != tt.want {
			t.Errorf("%q, %q: %q, %v", tt.at, tt.config, got, err)
		}
	}
}
