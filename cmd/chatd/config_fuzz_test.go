package main

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzConfig: whatever the file says, the answer is a configuration or errors
// that point into the file, and a configuration passes its own checks.
func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/config/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		doc, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := parseConfig("fuzz.toml", doc, testEnv)
		if err == nil {
			if errs := c.check(); len(errs) > 0 {
				t.Errorf("taken, and yet %v", errs)
			}
			return
		}
		errs, ok := err.(configErrors)
		if !ok || len(errs) == 0 {
			t.Fatalf("%T %v", err, err)
		}
		for _, e := range errs {
			if e.what == "" || e.line < 0 {
				t.Errorf("%+v", e)
			}
		}
	})
}
