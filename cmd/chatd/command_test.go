package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.toml")
	write(t, bad, "domian = \"x\"\n")
	good := testConfig(t, "")
	for _, tt := range []struct {
		args           string
		code           int
		stdout, stderr string // parts
	}{
		{"help", exitOK, "development mode", ""},
		{"-help", exitOK, "development mode", ""},
		{"--help", exitOK, "development mode", ""},
		{"help user", exitOK, "chatd user add", ""},
		{"help nothing", exitUsage, "", `unknown command "nothing"; see: chatd help`},
		{"serve -help", exitOK, "Usage: chatd serve", ""},
		{"user -h", exitOK, "Usage: chatd user", ""},
		{"user help", exitOK, "Usage: chatd user", ""},
		{"user add -help", exitOK, "Usage: chatd user", ""},
		{"check --help", exitOK, "Usage: chatd check", ""},
		{"version -help", exitOK, "Usage: chatd version", ""},
		{"version", exitOK, "chatd ", ""},
		{"version now", exitUsage, "", "takes no argument"},
		{"srve", exitUsage, "", `unknown command "srve", did you mean "serve"?`},
		{"serve here", exitUsage, "", "serve takes no argument"},
		{"serve -confg x", exitUsage, "", "not defined: -confg"},
		{"-nonsense", exitUsage, "", "not defined: -nonsense"},
		{"serve -log-level loud", exitUsage, "", "loud"},
		{"serve -config no-such-file", exitFailed, "", "no-such-file"},
		{"serve -config " + bad, exitFailed, "", bad + `:1: domian: unknown key, did you mean "domain"?`},
		{"-config " + bad, exitFailed, "", "domian"},
		{"check", exitUsage, "", "check needs -config FILE"},
		{"check " + good, exitUsage, "", "takes no argument"},
		{"check -config " + bad, exitFailed, "", bad + `:1: domian: unknown key, did you mean "domain"?`},
		{"check -config " + good, exitOK, good + ": ok\n", ""},
		{"user", exitUsage, "", "user needs one of add, passwd, remove, list"},
		{"user ad", exitUsage, "", `unknown command "user ad", did you mean "add"?`},
		{"user add", exitUsage, "", "user add needs one JID"},
		{"user add a b", exitUsage, "", "user add needs one JID"},
		{"user list alice", exitUsage, "", "user list takes no JID"},
		{"user remove alice -password x", exitUsage, "", "not defined: -password"},
		{"user list -config " + bad, exitFailed, "", "domian"},
		{"store", exitUsage, "", "store needs one of backup, check, copy"},
		{"store help", exitOK, "Usage: chatd store backup", ""},
		{"store check -help", exitOK, "Usage: chatd store backup", ""},
		{"store bakup", exitUsage, "", `unknown command "store bakup", did you mean "backup"?`},
		{"store backup", exitUsage, "", "store backup needs one FILE"},
		{"store backup a b", exitUsage, "", "store backup needs one FILE"},
		{"store check a b", exitUsage, "", "store check needs one FILE, or -config or -data"},
		{"store check a -data b", exitUsage, "", "store check needs one FILE, or -config or -data"},
		{"store check no-such-file", exitFailed, "", "no such file"},
		{"store check -data no-such-folder", exitFailed, "", "there is no database no-such-folder/chatd.db: start chatd first"},
		{"store backup x -config " + good, exitFailed, "", "there is no database"},
		{"store check -config " + bad, exitFailed, "", "domian"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			code, stdout, stderr := call(t, "", strings.Fields(tt.args)...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			if code == exitOK && stderr != "" || code != exitOK && (stdout != "" || strings.Count(stderr, "\n") != 1) {
				t.Errorf("not one clear line: stdout %q, stderr %q", stdout, stderr)
			}
		})
	}
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "chatd.toml")
	write(t, filepath.Join(dir, "data"), "a file")
	write(t, config, configText("cert_file = \"no.crt\"\nkey_file = \"no.key\"\n"))
	code, _, stderr := call(t, "", "check", "-config", config)
	want := []string{config + ":2: data: " + filepath.Join(dir, "data") + " is not a directory", config + ":7: c2s.cert_file: open "}
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	slices.Sort(lines)
	if code != exitFailed || len(lines) != 2 || lines[0] != want[0] || !strings.HasPrefix(lines[1], want[1]) {
		t.Errorf("code %d, %q; want %q", code, stderr, want)
	}
}

// TestCheckStoreFiles: each file of the store is complained of by its own key.
func TestCheckStoreFiles(t *testing.T) {
	const mysql = "driver = \"mysql\"\ndsn = \"chatd:secret@tcp(127.0.0.1:3306)/chatd\"\n"
	for _, test := range []struct{ store, want string }{
		{mysql + `tls_ca_file = "no.pem"`, ":6: store.tls_ca_file: open "},
		{mysql + "tls_cert_file = \"no.pem\"\ntls_key_file = \"no.key\"", ":6: store.tls_cert_file: open "},
		{`dsn = "no/chatd.db"`, ":4: store.dsn: stat "},
		{`dsn = "."`, ":4: store.dsn: "},
	} {
		config := filepath.Join(t.TempDir(), "chatd.toml")
		write(t, config, "domain = \"chat.test\"\ndata = \"data\"\n[store]\n"+test.store+"\n")
		code, _, stderr := call(t, "", "check", "-config", config)
		if code != exitFailed || !strings.HasPrefix(stderr, config+test.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: code %d, %q", test.store, code, stderr)
		}
	}
}

func TestCheckLeavesNothing(t *testing.T) {
	config := testConfig(t, "")
	if code, _, stderr := call(t, "", "check", "-config", config); code != exitOK {
		t.Fatal(stderr)
	}
	entries, err := os.ReadDir(filepath.Dir(config))
	if err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	texts := []string{topHelp()}
	for _, c := range commands() {
		texts = append(texts, c.help)
	}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			if len(line) > 81 {
				t.Errorf("too wide: %q", line)
			}
		}
	}
}

func TestVersionOf(t *testing.T) {
	for _, tt := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{}, "(devel)"},
		{debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3"},
		{debug.BuildInfo{Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}}, "(devel) 0123456789ab+dirty"},
		{debug.BuildInfo{Settings: []debug.BuildSetting{
			{Key: "vcs.modified", Value: "false"}, {Key: "vcs.revision", Value: "0123456789abcdef"}}}, "(devel) 0123456789ab"},
	} {
		if got := versionOf(&tt.info); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestProgramName(t *testing.T) {
	for arg, want := range map[string]string{
		"/tmp/go-build123/b001/exe/chatd": "go run ./cmd/chatd",
		"./chatd":                         "./chatd",
		"/usr/bin/chatd":                  "/usr/bin/chatd",
	} {
		if got := programName(arg); got != want {
			t.Errorf("%s: %q, want %q", arg, got, want)
		}
	}
}
