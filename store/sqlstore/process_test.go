package sqlstore

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatd/store"
)

// childEnv holds the database's path in a child process, which is this test
// binary run for one of the TestChild functions.
const childEnv = "SQLSTORE_TEST_CHILD"

func child(t *testing.T, test, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	return cmd
}

func childStore(t *testing.T) *Store {
	t.Helper()
	path := os.Getenv(childEnv)
	if path == "" {
		t.Skip("only as a child process")
	}
	return openPath(t, path)
}

// TestChildAppends prints the id of each message once it is kept, until it
// is killed.
func TestChildAppends(t *testing.T) {
	s := childStore(t)
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := strconv.Itoa(i*32 + w)
				if err := s.appendText(context.Background(), "user"+strconv.Itoa(i%7), id); err != nil {
					t.Error(err)
					return
				}
				os.Stdout.WriteString(id + "\n")
			}
		})
	}
	wg.Wait()
}

func TestKilledProcessLosesNothing(t *testing.T) {
	s := openTemp(t)
	path := s.path
	s.Close()
	var acknowledged []string
	for range 3 {
		acknowledged = append(acknowledged, runAndKill(t, path, 2000)...)
		s := openPath(t, path)
		kept := keptMessages(t, s)
		for _, id := range acknowledged {
			if kept[id]--; kept[id] < 0 {
				t.Fatalf("message %s was acknowledged and is missing", id)
			}
		}
		var report string
		if err := s.reads.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&report); err != nil || report != "ok" {
			t.Fatalf("integrity: %s %v", report, err)
		}
		s.Close()
	}
}

// runAndKill returns what the child acknowledged before it was killed.
func runAndKill(t *testing.T, path string, enough int) (ids []string) {
	t.Helper()
	cmd := child(t, "TestChildAppends", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		ids = append(ids, lines.Text())
		if len(ids) == enough {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the child was not killed: %v after %d messages", err, len(ids))
	}
	return ids
}

// keptMessages counts the messages by their text, page by page, and compares
// with the counter.
func keptMessages(t *testing.T, s *Store) map[string]int {
	t.Helper()
	kept := make(map[string]int)
	for u := range 7 {
		user, after, n := "user"+strconv.Itoa(u), int64(0), 0
		for {
			page, err := s.OfflinePage(t.Context(), user, after, 500)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, m := range page {
				kept[string(m.Stanza)]++
			}
			n += len(page)
			after = page[len(page)-1].Seq
		}
		if counted, err := s.CountOffline(t.Context(), user); counted != n || err != nil {
			t.Fatalf("%s: %d messages, counted %d %v", user, n, counted, err)
		}
	}
	return kept
}

// TestChildCreatesAccounts is what `chatd user add` does.
func TestChildCreatesAccounts(t *testing.T) {
	s := childStore(t)
	for i := range 5 {
		if err := s.CreateAccount(t.Context(), store.Account{User: fmt.Sprint("new", i)}); err != nil {
			t.Error(err)
		}
	}
}

// TestOtherProcessWritesUnderLoad: one process that writes all it can does
// not lock out another.
func TestOtherProcessWritesUnderLoad(t *testing.T) {
	s := openTemp(t)
	var written atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := s.appendText(ctx, fmt.Sprint("user", w), "x"); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				written.Add(1)
			}
		})
	}
	begun := time.Now()
	out, err := child(t, "TestChildCreatesAccounts", s.path).CombinedOutput()
	t.Logf("5 accounts beside %d messages in %v", written.Load(), time.Since(begun))
	cancel()
	wg.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	names, err := s.ListAccounts(t.Context(), "", 10)
	if len(names) != 5 || err != nil {
		t.Errorf("accounts of the other process: %q %v", names, err)
	}
}

// TestLockedByAnotherProcess: while another process holds the lock reads go
// on and writes wait.
func TestLockedByAnotherProcess(t *testing.T) {
	s := openTemp(t)
	if err := s.appendText(t.Context(), "anna", "before"); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := run(t.Context(), other, beginBatch); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.appendText(short, "anna", "given up"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while locked: %v", err)
	}
	waits := make(chan error)
	go func() { waits <- s.appendText(t.Context(), "anna", "waited") }()
	expectWaiting(t, s, "anna", "before")
	if err := run(t.Context(), other, rollbackBatch); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; err != nil {
		t.Error(err)
	}
	expectWaiting(t, s, "anna", "before", "waited")
}
