package xmlstream

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// text and value stop where skip does, at whatever offset, whatever stands beyond.
func TestRunsOfEightBytes(t *testing.T) {
	same := func(b []byte) {
		t.Helper()
		for i := range len(b) + 1 {
			if got, want := text(b, i), skip(b, i, classText); got != want {
				t.Fatalf("text(%q, %d) = %d, not %d", b, i, got, want)
			}
			if got, want := value(b, i), skip(b, i, classValue); got != want {
				t.Fatalf("value(%q, %d) = %d, not %d", b, i, got, want)
			}
		}
	}
	for _, around := range []byte{'a', ' ', '\n', 0x1f, ';', '=', '?', '%', '(', '!', '#', 0x7f} {
		for c := range 256 {
			for at := range 18 {
				b := bytes.Repeat([]byte{around}, 18)
				b[at] = byte(c)
				same(b)
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := make([]byte, random.IntN(40))
		for i := range b {
			b[i] = "abc \t\n<>&'\"\x00\x1f\x7f\x80\xc3\xa4]"[random.IntN(18)]
		}
		same(b)
	}
}
