package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chatd/store"
)

func TestUser(t *testing.T) {
	config := testConfig(t, "")
	data := filepath.Join(filepath.Dir(config), "data")
	at := func(line string) []string { return append(strings.Fields(line), "-config", config) }
	long := strings.Repeat("x", maxPasswordLine+1)
	for _, tt := range []struct {
		stdin  string
		args   []string
		code   int
		output string // all of what is printed, wherever
	}{
		{"secret\n", at("user add alice@chat.test"), exitOK, "alice@chat.test: added\n"},
		{"secret\n", at("user add alice"), exitFailed, "chatd: alice@chat.test exists already\n"},
		{"secret\n", at("user add Alice"), exitFailed, "chatd: alice@chat.test exists already\n"},
		{"no newline", at("user add bob"), exitOK, "bob@chat.test: added\n"},
		{"", at("user add -password x carol"), exitOK, "carol@chat.test: added\n"},
		{"", at("user add dave -password x"), exitOK, "dave@chat.test: added\n"},
		{"", append(at("user add -password x"), "--", "-eve"), exitOK, "-eve@chat.test: added\n"},
		{"", at("user list"), exitOK, "-eve@chat.test\nalice@chat.test\nbob@chat.test\ncarol@chat.test\ndave@chat.test\n"},
		{"", at("user add frank"), exitFailed, "chatd: no password: give it with -password or as one line on the standard input\n"},
		{"\n", at("user add frank"), exitFailed, "chatd: no password: give it with -password or as one line on the standard input\n"},
		{long, at("user add frank"), exitFailed, "chatd: the password is too long\n"},
		{"", append(at("user add frank"), "-password", ""), exitFailed, "chatd: the password is empty or has characters that are not allowed\n"},
		{"x\n", at("user add frank@other.test"), exitFailed, "chatd: frank@other.test is not of this server's domain, chat.test\n"},
		{"x\n", at("user add frank@chat.test/phone"), exitFailed, "chatd: \"frank@chat.test/phone\" has a resource: the account is frank@chat.test\n"},
		{"x\n", at("user add @chat.test"), exitFailed, "chatd: \"@chat.test\" is not a JID like alice@chat.test\n"},
		{"x\n", at("user add a:b"), exitFailed, "chatd: \"a:b\" is not a JID like alice@chat.test\n"},
		{"new\r\n", at("user passwd bob"), exitOK, "bob@chat.test: password changed\n"},
		{"new\n", at("user passwd nobody"), exitFailed, "chatd: there is no account nobody@chat.test\n"},
		{"", at("user remove bob@chat.test"), exitOK, "bob@chat.test: removed\n"},
		{"", at("user remove bob"), exitFailed, "chatd: there is no account bob@chat.test\n"},
		{"", []string{"user", "list", "-data", data}, exitOK, "-eve@localhost\nalice@localhost\ncarol@localhost\ndave@localhost\n"},
	} {
		code, stdout, stderr := call(t, tt.stdin, tt.args...)
		if code != tt.code || stdout+stderr != tt.output {
			t.Errorf("%s: code %d, printed %q; want %d, %q", strings.Join(tt.args, " "), code, stdout+stderr, tt.code, tt.output)
		}
	}
}

func TestUserWithoutServer(t *testing.T) {
	t.Chdir(t.TempDir())
	code, _, stderr := call(t, "", "user", "list")
	if code != exitFailed || !strings.Contains(stderr, "there is no data in ./chatd-data") {
		t.Errorf("code %d, %q", code, stderr)
	}
	for _, args := range []string{"list", "passwd alice -password x", "remove alice"} {
		code, _, stderr := call(t, "", strings.Fields("user "+args+" -data elsewhere")...)
		if code != exitFailed || !strings.Contains(stderr, "there is no data in elsewhere") {
			t.Errorf("%s: code %d, %q", args, code, stderr)
		}
	}
	if exists("chatd-data") || exists("elsewhere") {
		t.Error("made a data directory that nobody asked for")
	}
	if code, _, stderr := call(t, "", "user", "add", "alice", "-password", "x", "-data", "here"); code != exitOK {
		t.Error(stderr)
	}
	if info, err := os.Stat("here"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v", info, err)
	}
}

// TestRemoveEndsFriendships: who gets the name next must not inherit them.
func TestRemoveEndsFriendships(t *testing.T) {
	ctx := context.Background()
	config := testConfig(t, "")
	for _, name := range []string{"alice", "bob"} {
		if code, _, stderr := call(t, "", "user", "add", name, "-password", "x", "-config", config); code != exitOK {
			t.Fatal(stderr)
		}
	}
	cfg, err := loadConfig(config, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	db, err := openStore(ctx, cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for user, contact := range map[string]string{"alice": "bob@chat.test", "bob": "alice@chat.test"} {
		_, err := db.UpdateItem(ctx, user, contact, 0, func(item *store.RosterItem, _ bool) (store.Verdict, error) {
			item.Sub = store.SubBoth
			return store.Keep, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if code, _, stderr := call(t, "", "user", "remove", "bob", "-config", config); code != exitOK {
		t.Fatal(stderr)
	}
	list, err := db.Roster(ctx, "alice")
	if err != nil || len(list.Items) != 1 || list.Items[0].Sub != store.SubNone {
		t.Errorf("alice's friends: %+v, %v", list.Items, err)
	}
	if list, err := db.Roster(ctx, "bob"); err != nil || len(list.Items) != 0 {
		t.Errorf("bob's friends: %+v, %v", list.Items, err)
	}
}

func TestAskTwice(t *testing.T) {
	fault := errors.New("no terminal")
	for _, tt := range []struct {
		name     string
		typed    []string
		err      error
		password string
		said     string // part of the error
	}{
		{"same", []string{"a b", "a b"}, nil, "a b", ""},
		{"slip", []string{"secret", "secert"}, nil, "", "the passwords differ"},
		{"fault", nil, fault, "", "no terminal"},
		{"fault the second time", []string{"secret"}, fault, "", "no terminal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var prompts []string
			got, err := askTwice("alice@chat.test", func(prompt string) (string, error) {
				prompts = append(prompts, prompt)
				if len(tt.typed) < len(prompts) {
					return "", tt.err
				}
				return tt.typed[len(prompts)-1], nil
			})
			if got != tt.password || (err == nil) != (tt.said == "") || err != nil && !strings.Contains(err.Error(), tt.said) {
				t.Errorf("%q, %v", got, err)
			}
			if want := []string{"Password for alice@chat.test: ", "Again: "}; !slices.Equal(prompts, want[:len(prompts)]) {
				t.Errorf("asked %q", prompts)
			}
		})
	}
}
