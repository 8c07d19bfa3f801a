package main

import (
	"bytes"
	"os"
)

// marks is where each node's log ends now.
func (w *world) marks() []int64 {
	marks := make([]int64, len(w.nodes))
	for i, n := range w.nodes {
		if info, err := os.Stat(n.logPath()); err == nil {
			marks[i] = info.Size()
		}
	}
	return marks
}

// logged reports whether each of some nodes has logged a line with all these words since the marks.
func (w *world) logged(marks []int64, nodes []int, words ...string) bool {
	for _, i := range nodes {
		text, err := os.ReadFile(w.nodes[i].logPath())
		if err != nil || !hasLine(text[min(int(marks[i]), len(text)):], words) {
			return false
		}
	}
	return true
}

func hasLine(text []byte, words []string) bool {
lines:
	for line := range bytes.Lines(text) {
		for _, word := range words {
			if !bytes.Contains(line, []byte(word)) {
				continue lines
			}
		}
		return true
	}
	return false
}
