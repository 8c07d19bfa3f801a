package sqlstore

import (
	"bytes"
	"slices"
	"testing"
)

func TestGroups(t *testing.T) {
	for _, groups := range [][]string{nil, {""}, {"", ""}, {"a"}, {"3:abc", "é", "\x00:"}} {
		got, err := splitTexts(joinTexts(groups))
		if err != nil || !slices.Equal(got, groups) {
			t.Errorf("%q came back as %q, %v", groups, got, err)
		}
	}
	for _, damaged := range []string{"x", "3", ":", "3:ab", "-1:a", "1:ab", "99999999999999999999:a"} {
		if got, err := splitTexts([]byte(damaged)); err == nil {
			t.Errorf("%q read as %q", damaged, got)
		}
	}
}

func TestDigest(t *testing.T) {
	seen := make(map[string][]string)
	for _, texts := range [][]string{{""}, {"a"}, {"A"}, {"", ""}, {"a", ""}, {"", "a"}, {"ab", "c"}, {"a", "bc"}} {
		d := digest(texts...)
		if len(d) != 16 || !bytes.Equal(d, digest(texts...)) {
			t.Errorf("digest of %q: %x", texts, d)
		}
		if other := seen[string(d)]; other != nil {
			t.Errorf("%q and %q have one digest", texts, other)
		}
		seen[string(d)] = texts
	}
}
