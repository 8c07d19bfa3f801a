package main

import (
	"os"
	"slices"
)

// A watcher notices changes of files by looking at them now and then. It
// belongs to one goroutine.
type watcher struct {
	files   []string
	seen    []os.FileInfo // nil: the file was not there
	pending bool          // they have changed and may go on to
}

// watch replaces the files that are watched. Those that were watched before
// keep their history; of new ones it takes note as they are.
func (w *watcher) watch(files ...string) {
	seen := stat(files)
	for i, f := range files {
		if j := slices.Index(w.files, f); j >= 0 {
			seen[i] = w.seen[j]
		}
	}
	w.files, w.seen = files, seen
}

// note takes what the files are now as known.
func (w *watcher) note() { w.seen, w.pending = stat(w.files), false }

// changed looks at the files. It reports a change once they have been the same
// for two looks, so that a file that is being written, or a key that follows its
// certificate, is not read too early.
func (w *watcher) changed() bool {
	now := stat(w.files)
	moved := !slices.EqualFunc(w.seen, now, same)
	w.seen = now
	quiet := w.pending && !moved
	w.pending = moved
	return quiet
}

func stat(files []string) []os.FileInfo {
	infos := make([]os.FileInfo, len(files))
	for i, f := range files {
		infos[i], _ = os.Stat(f)
	}
	return infos
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}
