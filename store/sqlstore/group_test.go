package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"chatd/store"
)

// hold keeps the writer busy until release is called, so that what is queued
// meanwhile comes into one batch.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	busy, free, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- s.write(context.Background(), "anna", func(*tx) error {
			close(busy)
			<-free
			return nil
		})
	}()
	<-busy
	return func() {
		close(free)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// together runs the calls in one batch, in this order, and returns their errors.
func together(t *testing.T, s *Store, calls ...func() error) []error {
	t.Helper()
	release := hold(t, s)
	errs := make([]error, len(calls))
	done := make(chan struct{})
	for i, call := range calls {
		go func() {
			errs[i] = call()
			done <- struct{}{}
		}()
		waitQueued(t, s, i+1)
	}
	release()
	for range calls {
		<-done
	}
	return errs
}

func waitQueued(t *testing.T, s *Store, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(s.writers[0].queue) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d writes queued, not %d", len(s.writers[0].queue), n)
		}
		time.Sleep(50 * time.Microsecond)
	}
}

func (s *Store) appendText(ctx context.Context, user, text string) error {
	_, err := s.AppendOffline(ctx, user, store.OfflineMessage{Stanza: []byte(text)}, 0)
	return err
}

func expectWaiting(t *testing.T, s *Store, user string, want ...string) {
	t.Helper()
	page, err := s.OfflinePage(t.Context(), user, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range page {
		got = append(got, string(m.Stanza))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("waiting %q, want %q", got, want)
	}
	if n, err := s.CountOffline(t.Context(), user); n != len(want) || err != nil {
		t.Errorf("count %d %v, want %d", n, err, len(want))
	}
}

// appendThen appends a message and then does something else in the same write.
func (s *Store) appendThen(text string, then func(*tx) error) func() error {
	return func() error {
		return s.write(context.Background(), "anna", func(tx *tx) error {
			if err := reserveSeq(tx, "anna", math.MaxInt64); err != nil {
				return err
			}
			_, err := tx.exec(`INSERT INTO offline_message (user, seq, stored, stanza)
				SELECT user, last_seq, 0, ? FROM offline_queue WHERE user = 'anna'`, []byte(text))
			return errors.Join(err, then(tx))
		})
	}
}

func TestFailedWriteIsUndoneAlone(t *testing.T) {
	s := openTemp(t)
	mine := errors.New("mine")
	broken := func(tx *tx) error {
		_, err := tx.exec("INSERT INTO account (user, credentials, created) VALUES ('x', NULL, 0)")
		return err
	}
	errs := together(t, s,
		func() error { return s.appendText(t.Context(), "anna", "a") },
		s.appendThen("half", func(*tx) error { return mine }),
		func() error { return s.appendText(t.Context(), "anna", "b") },
		s.appendThen("half", broken),
		func() error { return s.appendText(t.Context(), "anna", "c") },
	)
	if errs[0] != nil || errs[2] != nil || errs[4] != nil {
		t.Errorf("neighbours failed too: %v", errs)
	}
	if !errors.Is(errs[1], mine) || errs[3] == nil || !strings.Contains(errs[3].Error(), "sqlstore: ") {
		t.Errorf("failures reported as %v and %v", errs[1], errs[3])
	}
	expectWaiting(t, s, "anna", "a", "b", "c")
}

func TestFailedCommitIsEverybodys(t *testing.T) {
	for name, cause := range map[string]func(*tx) error{
		// What SQLite does by itself after some I/O errors.
		"transaction lost": func(tx *tx) error {
			_, err := tx.exec("ROLLBACK")
			return err
		},
		// Fails at COMMIT, and leaves the transaction open.
		"commit refused": func(tx *tx) error {
			_, err := tx.exec("INSERT INTO child VALUES (1)")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTemp(t)
			for _, text := range []string{
				"PRAGMA foreign_keys = 1",
				"CREATE TABLE parent (id INTEGER PRIMARY KEY)",
				"CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
			} {
				if err := run(t.Context(), sqliteConn(s), text); err != nil {
					t.Fatal(err)
				}
			}
			errs := together(t, s,
				func() error { return s.appendText(t.Context(), "anna", "a") },
				s.appendThen("b", cause),
				func() error { return s.appendText(t.Context(), "anna", "c") },
			)
			for i, err := range errs {
				if err == nil {
					t.Errorf("write %d was answered as if it were kept", i)
				}
			}
			expectWaiting(t, s, "anna")
			if err := s.appendText(t.Context(), "anna", "again"); err != nil {
				t.Fatal(err)
			}
			expectWaiting(t, s, "anna", "again")
		})
	}
}

func TestDiskFull(t *testing.T) {
	s := openTemp(t)
	if err := s.appendText(t.Context(), "anna", "before"); err != nil {
		t.Fatal(err)
	}
	limitPages := func(n int) {
		t.Helper()
		if err := run(t.Context(), sqliteConn(s), fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	limitPages(40)
	large := string(bytes.Repeat([]byte("x"), 256<<10))
	errs := together(t, s,
		func() error { return s.appendText(t.Context(), "anna", "beside") },
		func() error { return s.appendText(t.Context(), "anna", large) },
		func() error { return s.SetVCard(t.Context(), "anna", []byte(large)) },
	)
	if errs[1] == nil || errs[2] == nil || !errors.Is(errs[1], store.ErrUnavailable) || !strings.Contains(errs[1].Error(), "full") {
		t.Fatalf("a full disk is reported as %v and %v", errs[1], errs[2])
	}
	kept := []string{"before"}
	if errs[0] == nil {
		kept = append(kept, "beside")
	}
	expectWaiting(t, s, "anna", kept...)
	if _, err := s.VCard(t.Context(), "anna"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("vCard: %v", err)
	}
	limitPages(1 << 20)
	if err := s.appendText(t.Context(), "anna", "after"); err != nil {
		t.Fatal(err)
	}
	expectWaiting(t, s, "anna", append(kept, "after")...)
}

func TestQueuedWriteHonoursContext(t *testing.T) {
	s := openTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	release := hold(t, s)
	left := make(chan error)
	go func() { left <- s.appendText(ctx, "anna", "given up") }()
	waitQueued(t, s, 1)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("left with %v", err)
	}
	release()
	if err := s.appendText(t.Context(), "anna", "kept"); err != nil {
		t.Fatal(err)
	}
	expectWaiting(t, s, "anna", "kept")
}

func TestQueueIsBounded(t *testing.T) {
	s := openTemp(t)
	release := hold(t, s)
	errs := make(chan error, maxQueued)
	for range maxQueued {
		go func() { errs <- s.appendText(context.Background(), "anna", "x") }()
	}
	waitQueued(t, s, maxQueued)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.appendText(ctx, "anna", "no room"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a full queue: %v", err)
	}
	release()
	for range maxQueued {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n, err := s.CountOffline(t.Context(), "anna"); n != maxQueued || err != nil {
		t.Errorf("count %d %v", n, err)
	}
}

func TestCloseFlushes(t *testing.T) {
	s := openTemp(t)
	release := hold(t, s)
	errs := make(chan error)
	const n = 50
	for range n {
		go func() { errs <- s.appendText(context.Background(), "anna", "x") }()
	}
	waitQueued(t, s, n)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	<-s.writers[0].closing
	release()
	for range n {
		if err := <-errs; err != nil {
			t.Errorf("queued before Close: %v", err)
		}
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if got, err := openPath(t, s.path).CountOffline(t.Context(), "anna"); got != n || err != nil {
		t.Errorf("after reopening %d wait, %v", got, err)
	}
}

// TestBrokenQueueFailsAlone: a message that cannot be stored, since the database is damaged there, fails by itself, and leaves nothing.
func TestBrokenQueueFailsAlone(t *testing.T) {
	s := openTemp(t)
	for _, user := range []string{"anna", "broken"} {
		if err := s.appendText(t.Context(), user, "before"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.write(t.Context(), "broken", func(tx *tx) error { // its next number is taken
		_, err := tx.exec("UPDATE offline_queue SET last_seq = 0 WHERE user = 'broken'")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	text := func(user, text string) func() error {
		return func() error { return s.appendText(t.Context(), user, text) }
	}
	full := func() error {
		_, err := s.AppendOffline(t.Context(), "anna", store.OfflineMessage{Stanza: []byte("over")}, 1)
		return err
	}
	errs := together(t, s, text("anna", "a"), full, text("broken", "lost"), s.appendThen("b", func(*tx) error { return nil }), text("anna", "c"))
	for i, want := range []bool{true, false, false, true, true} {
		if want != (errs[i] == nil) {
			t.Errorf("write %d: %v", i, errs[i])
		}
	}
	if errs[1] != store.ErrFull || errs[2] == errHalf {
		t.Error(errs)
	}
	expectWaiting(t, s, "anna", "before", "a", "b", "c")
	expectWaiting(t, s, "broken", "before")
}
