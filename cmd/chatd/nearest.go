package main

import (
	"fmt"
	"strings"
)

// didYouMean is `, did you mean "x"?` with the known word that is nearest to
// the given one, or nothing if none is near.
func didYouMean(word string, known []string) string {
	best, near := "", max(2, len(word)/4)+1
	for _, k := range known {
		d := distance(word, k)
		if leaf(word) == leaf(k) {
			d = min(d, 1) // the right key in the wrong section
		}
		if d < near && d < len(k) {
			best, near = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

func leaf(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// distance is Levenshtein's: how many bytes to insert, remove or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
