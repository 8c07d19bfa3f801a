package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"chatd/store/riak/riaktest"
)

// TestRiak: accounts are made and removed by commands, here or on another machine, a server on the same Riak heeds it, a message waits,
// and none of that minds a node of Riak that is dead.
func TestRiak(t *testing.T) {
	double := riaktest.Start(t, riaktest.Config{Types: map[string]string{"chatd": `{"props":{"n_val":3,"allow_mult":true}}`}})
	nodes := strings.Join(double.Addrs(), ",")
	store := fmt.Sprintf("[store]\ndriver = \"riak\"\ndsn = %q\n", nodes)
	config, elsewhere := testConfig(t, store), testConfig(t, store)
	for _, c := range []struct{ config, args, output string }{
		{config, "check", "ok"},
		{config, "user add -password secret juliet", "juliet@chat.test: added"},
		{elsewhere, "user list", "juliet@chat.test"},
		{elsewhere, "user add -password secret juliet", "juliet@chat.test exists already"},
		{elsewhere, "user add -password secret romeo", "romeo@chat.test: added"},
	} {
		if _, stdout, stderr := call(t, "", append(strings.Fields(c.args), "-config", c.config)...); !strings.Contains(stdout+stderr, c.output) {
			t.Fatalf("%s: %s%s", c.args, stdout, stderr)
		}
	}
	i := startServe(t, config)
	double.Kill(1)
	if status, body := i.get("/readyz", ""); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}
	romeo := i.plainLogin("romeo", "secret")
	fmt.Fprint(romeo, "<message to='juliet@chat.test' type='chat'><body>It is the east</body></message><iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
	readUntil(t, romeo, "id='p'")
	conn := i.plainLogin("juliet", "secret")
	fmt.Fprint(conn, "<presence/>")
	readUntil(t, conn, "It is the east")
	if code, _, stderr := call(t, "", "user", "remove", "juliet", "-config", elsewhere); code != exitOK {
		t.Fatal(stderr)
	}
	readUntil(t, conn, "<not-authorized")

	copied := "sqlite:" + filepath.Join(t.TempDir(), "copy.db")
	if code, stdout, stderr := call(t, "", "store", "copy", "--from", "riak:"+nodes, "--to", copied); code != exitOK || !strings.Contains(stdout, "have the same") {
		t.Fatal(stdout, stderr)
	}
}
