package chatd_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestKillBehindSlowClient: chatd is killed while it has more for a client than that takes. All that was acknowledged to the sender arrives,
// from the network or from the store.
func TestKillBehindSlowClient(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{
		"c2s.limits.stanzas_per_second": "0", "c2s.limits.bytes_per_second": "0", "message.offline_max": "100000",
	})
	for _, user := range []string{"alice", "bob"} {
		if err := srv.register(user, "secret"); err != nil {
			t.Fatal(err)
		}
	}
	for _, slowFor := range []int{2, 20} { // acknowledgements, since there are copies of what bob does not read
		t.Run(fmt.Sprint(slowFor), func(t *testing.T) {
			f := &flow{t: t, srv: srv, from: "alice", to: "bob"}
			f.reader = f.login("bob")
			if err := f.reader.send("<presence/>"); err != nil {
				t.Fatal(err)
			}
			if err := f.reader.sync(); err != nil {
				t.Fatal(err)
			}
			f.sender = f.managed("alice")
			f.sendToSlow(slowFor)
			if err := srv.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-srv.exited
			f.hear()
			srv.start(t)
			f.sender.tcp.Close()
			live := len(f.heard)
			f.reader = f.login("bob")
			if err := f.reader.send("<presence/>"); err != nil {
				t.Fatal(err)
			}
			if err := f.reader.sync(); err != nil {
				t.Fatal(err)
			}
			f.hear()
			f.reader.tcp.Close()
			got := make(map[string]bool)
			for _, body := range f.heard {
				got[body] = true
			}
			for i := range f.acked {
				if !got[strconv.Itoa(i)] {
					t.Fatalf("message %d of %d that were acknowledged is lost; %d came from the network, %d from the store", i, f.acked, live, len(f.heard)-live)
				}
			}
			t.Logf("%d acknowledged, %d came from the network, %d from the store", f.acked, live, len(f.heard)-live)
			if len(f.heard) == live {
				t.Error("nothing was in the store: bob was not slow")
			}
		})
	}
}

// sendToSlow sends until the store has copies of what the recipient does not take, and so many acknowledgements have come since.
func (f *flow) sendToSlow(slow int) {
	f.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(f.srv.dir, "data", "chatd.db")+"?mode=ro")
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	padding := strings.Repeat("y", 10000)
	for sent := 0; slow > 0; {
		for range 5 {
			err := f.sender.send(fmt.Sprintf("<message type='chat' to='%s@%s'><body>%d</body><x xmlns='urn:test'>%s</x></message>", f.to, testDomain, sent, padding))
			if err != nil {
				f.t.Fatal(err)
			}
			sent++
		}
		ack, err := f.sender.exchanged("<r xmlns='"+nsSM+"'/>", func(n *node) bool { return n.is(nsSM, "a") })
		if err != nil {
			f.t.Fatal(err)
		}
		if f.acked, err = strconv.Atoi(ack.attr("h")); err != nil {
			f.t.Fatal(err)
		}
		f.sender.pending = nil
		var copied bool
		if err := db.QueryRow("SELECT EXISTS (SELECT * FROM offline_message)").Scan(&copied); err != nil {
			f.t.Fatal(err)
		}
		if copied { // for as long as he does not take it
			slow--
		}
		if sent > 5000 {
			f.t.Fatal("bob is not slow")
		}
	}
}

// hear reads what has come for the recipient, or all until the end of a connection that has broken.
func (f *flow) hear() {
	f.t.Helper()
	all := f.reader.pending
	f.reader.pending = nil
	for dead := f.srv.cmd.ProcessState != nil; dead; {
		n, err := readElement(f.reader.dec)
		if err != nil {
			break
		}
		all = append(all, n)
	}
	for _, n := range all {
		if n.is(nsClient, "message") {
			f.heard = append(f.heard, n.child("body").text)
		}
	}
}
