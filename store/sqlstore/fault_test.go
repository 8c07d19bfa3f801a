//go:build linux

package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"chatd/store"
	"chatd/store/storetest"
)

// smallDisk is a file system of its own.
func smallDisk(t *testing.T, size string) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts file systems")
	}
	dir = t.TempDir()
	if err := syscall.Mount("chatd-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("no file systems can be mounted here: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A disk is a full one if need be: a file takes what is left.
type disk struct {
	t    *testing.T
	file string
}

func (d disk) fill() {
	f, err := os.OpenFile(d.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = io.Copy(f, endless{})
		f.Close()
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Errorf("filling the disk: %v", err)
	}
}

func (d disk) free() {
	if err := os.Remove(d.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Error(err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// locker is another process that holds the write lock.
type locker struct {
	t    *testing.T
	conn *sql.Conn
	held bool
}

func newLocker(t *testing.T, path string) *locker {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &locker{t: t, conn: conn}
}

func (l *locker) run(text string) {
	if err := run(context.Background(), l.conn, text); err != nil {
		l.t.Errorf("%s: %v", text, err)
	}
}

func (l *locker) lock() {
	l.run("BEGIN IMMEDIATE")
	l.held = true
}

func (l *locker) unlock() {
	if l.held {
		l.run("ROLLBACK")
		l.held = false
	}
}

// TestFaults: cut is a full disk, and who answers nothing is another process that holds the lock.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	storetest.RunFaults(t, func(t *testing.T) storetest.Faulty {
		dir := smallDisk(t, "64m")
		s := openPath(t, filepath.Join(dir, "chatd.db"))
		d, other := disk{t, filepath.Join(dir, "filler")}, newLocker(t, s.path)
		return storetest.Faulty{
			Store: s,
			Cut: func() {
				other.unlock()
				for range 3 {
					d.fill()
					// The log is written over and over; without it each write needs new room.
					if err := run(context.Background(), other.conn, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil && !isUnavailable(err) {
						t.Error(err)
					}
				}
				d.fill()
			},
			Stall: other.lock,
			Mend: func() {
				other.unlock()
				d.free()
			},
		}
	})
}

// TestDiskFillsUp: when there is no room what cannot be kept is refused by an error that says that it may be tried again; what
// was kept stays and can be read; with room again the same store goes on.
func TestDiskFillsUp(t *testing.T) {
	dir := smallDisk(t, "4m")
	s, d := openPath(t, filepath.Join(dir, "chatd.db")), disk{t, filepath.Join(dir, "filler")}
	long := strings.Repeat("x", 2000)
	var kept []string
	appendOne := func() error {
		text := fmt.Sprint(len(kept), long)
		err := s.appendText(t.Context(), "anna", text)
		if err == nil {
			kept = append(kept, text)
		}
		return err
	}
	for range 10 {
		if err := appendOne(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		d.fill()
		var err error
		for i := 0; err == nil && i < 5000; i++ {
			err = appendOne()
		}
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "full") {
			t.Fatalf("full after %d messages: %v", len(kept), err)
		}
		// More than one writer in one batch: none of them is answered by mistake.
		for _, err := range together(t, s, appendOneMore(t, s, long), appendOneMore(t, s, long)) {
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("while full: %v", err)
			}
		}
		expectWaiting(t, s, "anna", kept...)
		d.free()
		for range 10 {
			if err := appendOne(); err != nil {
				t.Fatalf("with room again: %v", err)
			}
		}
		expectWaiting(t, s, "anna", kept...)
		if r, err := Check(t.Context(), s.path); err != nil || len(r.Faults) > 0 || r.Messages != len(kept) {
			t.Errorf("%+v %v", r, err)
		}
	}
}

func appendOneMore(t *testing.T, s *Store, text string) func() error {
	return func() error { return s.appendText(t.Context(), "bob", text+text+text+text) }
}

// TestBackupToFullDisk: there is no copy rather than half of one.
func TestBackupToFullDisk(t *testing.T) {
	dir := smallDisk(t, "100k")
	s := openTemp(t)
	for range 200 {
		if err := s.appendText(t.Context(), "anna", strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Backup(t.Context(), s.path, filepath.Join(dir, "copy.db"))
	files, _ := os.ReadDir(dir)
	if err == nil || len(files) > 0 {
		t.Errorf("%v, left behind: %v", err, files)
	}
	if err := s.appendText(t.Context(), "anna", "after"); err != nil {
		t.Error(err)
	}
}

// TestLockedTooLong: who has waited for another process for long enough is told, and the next write succeeds.
func TestLockedTooLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chatd.db")
	synctest.Test(t, func(t *testing.T) {
		s, other := openPath(t, path), newLocker(t, path)
		other.lock()
		begun := time.Now()
		err := s.appendText(t.Context(), "anna", "refused")
		if took := time.Since(begun); !errors.Is(err, store.ErrUnavailable) || took < lockPatience || took > 2*lockPatience {
			t.Errorf("after %v: %v", took, err)
		}
		expectWaiting(t, s, "anna")
		if _, err := Open(t.Context(), Config{Path: path}); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("opened while locked: %v", err)
		}
		other.unlock()
		if err := s.appendText(t.Context(), "anna", "kept"); err != nil {
			t.Error(err)
		}
		expectWaiting(t, s, "anna", "kept")
	})
}

// TestReadOnlyDisk: nothing is served from where nothing can be kept.
func TestReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t, "4m")
	s := openPath(t, filepath.Join(dir, "chatd.db"))
	copied := filepath.Join(dir, "copy.db")
	err := s.appendText(t.Context(), "anna", "x")
	if err == nil {
		_, err = Backup(t.Context(), s.path, copied)
	}
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("chatd-test", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=4m"); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	if s, err := Open(t.Context(), Config{Path: s.path}); err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("opened %v: %v", s, err)
	}
	if r, err := Check(t.Context(), copied); err != nil || len(r.Faults) > 0 || r.Messages != 1 {
		t.Errorf("a backup on such a disk can be checked: %+v %v", r, err)
	}
	remount(0)
	s = openPath(t, s.path)
	if err := s.appendText(t.Context(), "anna", "y"); err != nil {
		t.Error(err)
	}
	expectWaiting(t, s, "anna", "x", "y")
}

// TestDamagedFile: what cannot be read is an error that does not pass, never something else than what was written.
func TestDamagedFile(t *testing.T) {
	path := damaged(t)
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err) // its first half is whole
	}
	defer s.Close()
	page, err := s.OfflinePage(t.Context(), "anna", 0, 1000)
	if err == nil || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("%d messages, %v", len(page), err)
	}
	for _, m := range page {
		if text := string(m.Stanza); text != "one" && text != "two" && !bytes.Equal(m.Stanza, bytes.Repeat([]byte("x"), 1000)) {
			t.Errorf("message %d is %.20q", m.Seq, text)
		}
	}
}
