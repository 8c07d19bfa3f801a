package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/sqlstore"
)

// TestStoreCopyKilled: a copy that is killed or interrupted again and again goes on where it was, and ends right.
func TestStoreCopyKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.db"), filepath.Join(dir, "to", "chatd.db")
	fillStore(t, from)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"store", "copy", "--from", "sqlite:" + from, "--to", "sqlite:" + to}
	size := func() (n int64) {
		for _, name := range []string{to, to + "-wal"} {
			if info, err := os.Stat(name); err == nil {
				n += info.Size()
			}
		}
		return n
	}
	broken := 0
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGKILL, syscall.SIGKILL} {
		cmd := exec.Command(path, args...)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		before := size()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		err := error(nil)
		for waiting := true; waiting; {
			select {
			case err = <-ended:
				ended, waiting = nil, false
			case <-time.After(time.Millisecond):
				waiting = size() < before+200_000 // it has written something
			}
		}
		if ended != nil {
			cmd.Process.Signal(signal) //nolint:errcheck // it may have ended
			err = <-ended
		}
		if err != nil {
			broken++
			if signal == syscall.SIGINT && !strings.Contains(out.String(), "--resume goes on") {
				t.Errorf("interrupted: %v\n%s", err, &out)
			}
		}
		if broken == 1 && len(args) == 6 {
			if out, err := exec.Command(path, args...).CombinedOutput(); err == nil || !strings.Contains(string(out), "not empty") {
				t.Fatalf("without --resume: %v\n%s", err, out)
			}
			args = append(args, "--resume")
		}
	}
	if broken < 2 {
		t.Fatalf("only %d copies were broken off", broken)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "The two stores have the same.") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// fillStore makes a store with many users and one whose messages are many pages.
func fillStore(t *testing.T, path string) {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: path, Durability: "normal"})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	const users, messages = 500, 5000
	for i := range users {
		name := fmt.Sprintf("user%03d", i)
		must(s.PutRecord(t.Context(), store.Record{User: name, Account: &store.Account{User: name}, LastSeq: messages,
			Roster: store.Roster{Version: 1, Items: []store.RosterItem{{JID: "a@x", Sub: store.SubBoth}, {JID: "b@x", Groups: []string{"g"}}}},
			VCard:  []byte("<vCard>" + strings.Repeat("x", 500) + "</vCard>")}))
	}
	for first := int64(1); first <= messages; first += 100 {
		var page []store.OfflineMessage
		for seq := first; seq < first+100; seq++ {
			page = append(page, store.OfflineMessage{Seq: seq, Stored: time.UnixMilli(seq), Stanza: fmt.Appendf(nil, "<message><body>%d</body></message>", seq)})
		}
		must(s.PutOffline(t.Context(), "user250", page))
	}
	must(s.Close())
}
