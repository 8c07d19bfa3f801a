package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"chatd/store"
)

// openConfigured opens a second time what a server has open.
func openConfigured(t *testing.T, file string) store.Store {
	t.Helper()
	cfg, err := loadConfig(file, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	db, err := openStore(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestBackupAndRestore is what docs/operations.md says: while a server runs and others write, make a backup; put it into another data
// directory; serve from it.
func TestBackupAndRestore(t *testing.T) {
	config := testConfig(t, "")
	startServe(t, config)
	if code, _, stderr := call(t, "", "user", "add", "alice", "-password", "x", "-config", config); code != exitOK {
		t.Fatal(stderr)
	}
	db := openConfigured(t, config)
	appendMessage := func(text string) error {
		_, err := db.AppendOffline(context.Background(), "alice", store.OfflineMessage{ID: text, Stanza: []byte(text)}, 0)
		return err
	}
	for i := range 100 {
		if err := appendMessage(fmt.Sprint("before ", i)); err != nil {
			t.Fatal(err)
		}
	}
	meanwhile, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for meanwhile.Err() == nil {
				if err := appendMessage("meanwhile"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	restored := filepath.Join(t.TempDir(), "chatd.toml")
	data := filepath.Join(filepath.Dir(restored), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(data, "chatd.db")
	code, stdout, stderr := call(t, "", "store", "backup", copied, "-config", config)
	stop()
	wg.Wait()
	if code != exitOK || !strings.HasPrefix(stdout, copied+": written and checked, accounts 1, messages that wait 1") {
		t.Fatalf("code %d, %q, %q", code, stdout, stderr)
	}
	if code, stdout, stderr := call(t, "", "store", "check", copied); code != exitOK || !strings.HasPrefix(stdout, copied+": ok, accounts 1, ") {
		t.Fatalf("code %d, %q, %q", code, stdout, stderr)
	}

	write(t, restored, configText(""))
	startServe(t, restored)
	if code, stdout, _ := call(t, "", "user", "list", "-config", restored); code != exitOK || stdout != "alice@chat.test\n" {
		t.Errorf("accounts %q", stdout)
	}
	page, err := openConfigured(t, restored).OfflinePage(t.Context(), "alice", 0, 1<<20)
	if err != nil || len(page) < 100 {
		t.Fatalf("%d messages, %v", len(page), err)
	}
	for i := range 100 {
		if want := fmt.Sprint("before ", i); page[i].ID != want || string(page[i].Stanza) != want {
			t.Errorf("message %d is %s %s", i, page[i].ID, page[i].Stanza)
		}
	}
	// And once more, over it.
	code, _, stderr = call(t, "", "store", "backup", copied, "-config", config)
	if want := "chatd: " + copied + " exists already: a backup is not written over anything\n"; code != exitFailed || stderr != want {
		t.Errorf("code %d, %q", code, stderr)
	}
}

func TestStoreCheckDamaged(t *testing.T) {
	config := testConfig(t, "")
	if code, _, stderr := call(t, "", "user", "add", "alice", "-password", "x", "-config", config); code != exitOK {
		t.Fatal(stderr)
	}
	file := filepath.Join(filepath.Dir(config), "data", "chatd.db")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copy(content[4096:], strings.Repeat("damage! ", 512))
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := call(t, "", "store", "check", "-config", config)
	if code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, "chatd: "+file+" is damaged: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
}

// TestDurabilityIsPassedOn: the store refuses what the configuration would not let through.
func TestDurabilityIsPassedOn(t *testing.T) {
	cfg := defaultConfig()
	cfg.Data, cfg.Store.Durability = t.TempDir(), "hopeful"
	db, err := openStore(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil {
		err = errors.Join(db.Close(), errors.New("opened"))
	}
	if !strings.Contains(err.Error(), `durability "hopeful"`) {
		t.Error(err)
	}
}
