package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// call runs chatload within the test.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, environment{strings.NewReader(""), &out, &errs})
	return code, out.String(), errs.String()
}

func TestWrongUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":                                       "Usage:",
		"chatt":                                  `unknown command "chatt"`,
		"help chatt":                             "there are chat, idle",
		"chat extra":                             "no argument",
		"chat -nonsense":                         "not defined: -nonsense",
		"chat -rate x":                           "rate",
		"chat -rate -1":                          "-rate",
		"chat -tls maybe":                        "-tls",
		"chat -mech MD5":                         "-mech",
		"chat -user-format load":                 "-user-format",
		"chat -user-format load%d%d":             "-user-format",
		"chat -user-format %s":                   "-user-format",
		"chat -pid 1,x":                          "-pid",
		"chat -pairs 0":                          "number of users",
		"chat -size 20":                          "-size",
		"chat -inflight 0":                       "-inflight",
		"chat -duration 0s":                      "-duration",
		"chat -pairs 2 -processes 3":             "-processes 3 is more",
		"chat -pairs 9 -processes 9 -messages 5": "-messages 5 is fewer",
		"chat -friends 3":                        "-friends",
		"idle -sessions 50000 -processes 1":      "need -processes",
		"idle -sessions 2000000":                 "from 1 to 1000000",
		"idle -domain=":                          "-domain",
		"presence -users 100 -friends 6":         "multiple of -friends + 1, which is 7",
		"presence -friends 0":                    "-friends",
		"offline -messages 0":                    "-messages",
		"storm -addr nonsense":                   "host:port",
		"chat -addr 192.0.2.1:5222":              "-remote",
		"relay -listen 192.0.2.1:0":              "-remote",
		"rooms -create -rate 5":                  "-create is without",
		"relay x":                                "no argument",
	} {
		code, stdout, stderr := call(t, strings.Fields(args)...)
		if code != exitUsage || !strings.Contains(stderr, want) || stdout != "" {
			t.Errorf("%q: code %d, %q, want %q", args, code, stderr, want)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"help", "-h", "--help", "help chat", "chat -h", "storm -help", "help relay"} {
		code, stdout, stderr := call(t, strings.Fields(args)...)
		if code != exitOK || !strings.Contains(stdout, "Usage:") || stderr != "" {
			t.Errorf("%q: code %d, %q", args, code, stderr)
		}
	}
	for mode, text := range helps {
		if mode != "relay" && !strings.Contains(text, "Example") {
			t.Errorf("%s has no example", mode)
		}
	}
}

// TestShares has each user in one process, with all of the same group.
func TestShares(t *testing.T) {
	for _, o := range []options{{Users: 10, Group: 1, Processes: 3}, {Users: 22, Group: 11, Processes: 2}, {Users: 14, Group: 2, Processes: 4, Messages: 9}} {
		next, messages := 0, 0
		for i := range o.Processes {
			first, count := o.share(i)
			if first != next || first%o.Group != 0 || count < o.Group {
				t.Errorf("%+v: process %d has %d from %d on", o, i, count, first)
			}
			next += count
			messages += o.part(o.Messages, i)
		}
		if next != o.Users || messages != o.Messages {
			t.Errorf("%+v: %d users and %d messages are shared", o, next, messages)
		}
	}
}

func TestProcesses(t *testing.T) {
	for _, test := range []struct{ users, group, given, want int }{
		{1000, 1, 0, 1}, {18000, 1, 0, 1}, {18001, 1, 0, 2}, {40000, 2, 0, 3}, {40000, 2, 5, 5}, {18000, 11, 0, 2},
	} {
		o := options{Users: test.users, Group: test.group, Processes: test.given}
		if err := o.checkProcesses(19900); err != nil || o.Processes != test.want {
			t.Errorf("%+v: %d processes, %v", test, o.Processes, err)
		}
	}
}

func TestTarget(t *testing.T) {
	for addr, want := range map[string]string{"127.0.0.1:1": "127.0.0.1:1", "localhost:2": "127.0.0.1:2", "[::1]:3": "[::1]:3", ":4": "127.0.0.1:4"} {
		o := options{Addr: addr, Timeout: 1e9}
		if err := o.checkTarget(context.Background()); err != nil || o.Addr != want {
			t.Errorf("%s: %s %v", addr, o.Addr, err)
		}
	}
	o := options{Addr: "192.0.2.1:5", Timeout: 1e9, Remote: true}
	if err := o.checkTarget(context.Background()); err != nil || o.Addr != "192.0.2.1:5" {
		t.Errorf("with -remote: %s %v", o.Addr, err)
	}
}
