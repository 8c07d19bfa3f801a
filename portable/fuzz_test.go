package portable

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"chatd/store"
	"chatd/store/memory"
)

// FuzzImport: whatever is in a file, what was taken from it can be written, and read again as the same.
func FuzzImport(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.xml")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	how := Importing{Domain: "chat.test", Refused: func(string, error) {}}
	f.Fuzz(func(t *testing.T, text []byte) {
		name := filepath.Join(t.TempDir(), "in.xml")
		must(t, os.WriteFile(name, text, 0o600))
		first := memory.New()
		if _, err := Import(t.Context(), first, name, how); err != nil {
			return
		}
		var file bytes.Buffer
		users, err := Export(t.Context(), first, "chat.test", &file)
		must(t, err)
		must(t, os.WriteFile(name, file.Bytes(), 0o600))
		second := memory.New()
		report, err := Import(t.Context(), second, name, how)
		must(t, err)
		if report.Imported != users || len(report.Skipped) != 0 {
			t.Fatalf("%d users, %+v\n%s", users, report, &file)
		}
		names, err := first.ListAccounts(t.Context(), "", 1000)
		must(t, err)
		for _, name := range names {
			got, want := record(t, second, name), record(t, first, name)
			for _, r := range []*store.Record{&got, &want} {
				r.Account.Created = r.Account.Created.UTC()
			}
			expectSame(t, got, want)
			if a, b := waiting(t, first, name), waiting(t, second, name); len(a) != len(b) {
				t.Fatalf("%d messages, were %d", len(b), len(a))
			}
		}
	})
}
