package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// TestBackupUnderLoad: what was answered before the backup began is in it, what is in it is whole, and writers go on.
func TestBackupUnderLoad(t *testing.T) {
	s := openTemp(t)
	fill(t, s)
	const writers = 16
	var answered [writers]atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := int64(1); ctx.Err() == nil; i++ {
				if err := s.appendText(context.Background(), fmt.Sprint("user", w), fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
				answered[w].Store(i)
			}
		})
	}
	for round := range 3 {
		for answered[0].Load() < int64(20*(round+1)) {
			if t.Failed() {
				t.FailNow()
			}
		}
		var before [writers]int64
		for w := range before {
			before[w] = answered[w].Load()
		}
		file := filepath.Join(t.TempDir(), "copy.db")
		r, err := Backup(t.Context(), s.path, file)
		if err != nil || len(r.Faults) > 0 || r.Accounts != 1 || r.Rooms != 1 {
			t.Fatalf("%+v %v", r, err)
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() != r.Bytes {
			t.Errorf("%v %v, %d bytes reported", info, err, r.Bytes)
		}
		copied := openPath(t, file)
		for w := range before {
			page, err := copied.OfflinePage(t.Context(), fmt.Sprint("user", w), 0, 1<<20)
			if err != nil || int64(len(page)) < before[w] {
				t.Fatalf("%d messages of writer %d, %d were answered: %v", len(page), w, before[w], err)
			}
			for i, m := range page {
				if string(m.Stanza) != fmt.Sprint(i+1) {
					t.Fatalf("message %d of writer %d is %s", i+1, w, m.Stanza)
				}
			}
		}
	}
	cancel()
	wg.Wait()
}

func TestBackupDoesNotOverwrite(t *testing.T) {
	s := openTemp(t)
	fill(t, s)
	dir := t.TempDir()
	for _, name := range []string{"full", "empty", "link"} {
		file := filepath.Join(dir, name)
		content := map[string]string{"full": "precious"}[name]
		var err error
		if name == "link" {
			err = os.Symlink("nowhere", file)
		} else {
			err = os.WriteFile(file, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Backup(t.Context(), s.path, file); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(file); string(got) != content {
			t.Errorf("%s became %q", name, got)
		}
	}
	if _, err := Backup(t.Context(), s.path, s.path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("onto itself: %v", err)
	}
	if _, err := Backup(t.Context(), s.path, filepath.Join(dir, "none", "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into no folder: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Backup(ended, s.path, filepath.Join(dir, "ended")); !errors.Is(err, context.Canceled) {
		t.Errorf("ended before it began: %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 3 {
		t.Errorf("left behind: %v %v", files, err)
	}
}

// TestBackupOldSchema: before an upgrade the database is copied as it is.
func TestBackupOldSchema(t *testing.T) {
	path := oldDatabase(t, 3)
	r, err := Backup(t.Context(), path, path+"?copy")
	if err != nil || r.Schema != 3 || r.Accounts != 1 || r.Messages != 2 {
		t.Fatalf("%+v %v", r, err)
	}
	for _, file := range []string{path, path + "?copy"} {
		if r, err := Check(t.Context(), file); err != nil || r.Schema != 3 {
			t.Errorf("%s: %+v %v", file, r, err)
		}
	}
}

// TestBackupOfCrashed: what is only in the log that a killed process left is copied too.
func TestBackupOfCrashed(t *testing.T) {
	s := openTemp(t)
	path := s.path
	s.Close()
	acknowledged := runAndKill(t, path, 500)
	file := path + ".copy"
	if _, err := Backup(t.Context(), path, file); err != nil {
		t.Fatal(err)
	}
	kept := keptMessages(t, openPath(t, file))
	for _, id := range acknowledged {
		if kept[id] == 0 {
			t.Fatalf("message %s was acknowledged and is missing", id)
		}
	}
}
