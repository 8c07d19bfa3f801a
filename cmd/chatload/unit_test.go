package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for _, v := range []int64{0, 1, 127, 128, 255, 256, 257, 258, 511, 512, 1000, 1e6, 1e9, 60e9, 1 << 42, 1 << 60} {
		b := bucket(v)
		if b < last || b > maxBucket {
			t.Errorf("%d is in bucket %d, after %d", v, b, last)
		}
		last = b
		if v >= 1<<maxBits {
			continue
		}
		if top := bucketTop(b); top < v || top-v > v/128 {
			t.Errorf("%d counts as %d", v, top)
		}
		if b > 0 && bucketTop(b-1) >= v {
			t.Errorf("%d is in bucket %d, but would fit into the one before", v, b)
		}
	}
	if got := bucket(-5); got != 0 {
		t.Errorf("a negative duration is in bucket %d", got)
	}
}

func TestHistogramQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h, other histogram
	var all []int64
	for i := range 20000 {
		v := int64(r.ExpFloat64() * 1e6)
		all = append(all, v)
		[]*histogram{&h, &other}[i%2].add(v)
	}
	slices.Sort(all)
	var read histogram
	b, err := json.Marshal(&other)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &read); err != nil {
		t.Fatal(err)
	}
	h.merge(&read)
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))-1]
		if got := int64(h.quantile(q)); got < want || got-want > want/100 {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if want := all[len(all)-1]; h.highest != want || int64(h.quantile(1)) != want || h.total != uint64(len(all)) {
		t.Errorf("highest %d, quantile 1 %d, want %d; total %d", h.highest, h.quantile(1), want, h.total)
	}
	if m := h.mean(); m < 950*time.Microsecond || m > 1050*time.Microsecond {
		t.Errorf("mean %v, want about 1ms", m)
	}
	if new(histogram).quantile(0.5) != 0 || json.Unmarshal([]byte(`{"Buckets":[[9999,1]]}`), &read) == nil {
		t.Error("an empty histogram has a median, or a bucket that is none was taken")
	}
}

func TestSequence(t *testing.T) {
	for name, test := range map[string]struct {
		sent uint32
		seen []uint32
		want []verdict
		lost uint64
	}{
		"all":        {3, []uint32{0, 1, 2}, []verdict{inOrder, inOrder, inOrder}, 0},
		"none":       {3, nil, nil, 3},
		"gap":        {4, []uint32{0, 3}, []verdict{inOrder, inOrder}, 2},
		"late":       {3, []uint32{0, 2, 1}, []verdict{inOrder, inOrder, reordered}, 0},
		"twice":      {2, []uint32{0, 0, 1, 0}, []verdict{inOrder, duplicated, inOrder, duplicated}, 0},
		"late twice": {3, []uint32{2, 0, 0}, []verdict{inOrder, reordered, duplicated}, 1},
		"not sent":   {1, []uint32{1, 0}, []verdict{unexpected, inOrder}, 0},
	} {
		var s sequence
		for i, n := range test.seen {
			if got := s.see(n, test.sent); got != test.want[i] {
				t.Errorf("%s: %d is %d, want %d", name, n, got, test.want[i])
			}
		}
		if got := s.lost(test.sent); got != test.lost {
			t.Errorf("%s: %d lost, want %d", name, got, test.lost)
		}
	}
}

func TestMarker(t *testing.T) {
	want := marker{0xdeadbeef, 7, 0xffffffff, 1<<62 + 3}
	b := appendMarker([]byte("<message><body>"), want)
	if got, ok := findMarker(append(b, "</body></message>"...)); !ok || got != want {
		t.Errorf("got %v %v", got, ok)
	}
	for i := range b {
		if _, ok := findMarker(b[:i]); ok {
			t.Errorf("found a marker in %q", b[:i])
		}
	}
	if _, ok := findMarker(bytes.Replace(b, []byte("beef."), []byte("beeg."), 1)); ok {
		t.Error("found a marker with a digit that is none")
	}
}

func TestMessageSize(t *testing.T) {
	f := newMessageFill("load12345@chat.test/chatload", "chat", 250)
	if got := f.append(nil, marker{}); len(got) != 250 {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestParseUsage(t *testing.T) {
	const stat = "42 (a) (b) S 1 42 42 0 -1 4194560 500 0 0 0 150 50 7 7 20 0 9 0 100 1000 200 18446744073709551615\n"
	const status = "Name:\ta) (b\nVmPeak:\t  9 kB\nVmRSS:\t    1234 kB\nRssAnon:\t 1 kB\n"
	u, err := parseUsage([]byte(stat), []byte(status))
	if err != nil || u.cpu != 2*time.Second || u.rss != 1234<<10 {
		t.Errorf("got %v %v", u, err)
	}
	for _, bad := range [][2]string{{"42 (a) S 1", status}, {stat, "Name:\ta\n"}, {"", ""}} {
		if _, err := parseUsage([]byte(bad[0]), []byte(bad[1])); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if u, err := usageOf([]int{os.Getpid()}); err != nil || u.rss < 1<<20 {
		t.Errorf("of this process: %v %v", u, err)
	}
	if _, err := usageOf([]int{1 << 30}); err == nil {
		t.Error("a process that does not exist has no error")
	}
}

func TestSCRAM(t *testing.T) {
	for _, test := range []struct{ mechanism, nonce, server, final, verify string }{
		{ // RFC 5802 §5
			"SCRAM-SHA-1", "fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		}, { // RFC 7677 §3
			"SCRAM-SHA-256", "rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	} {
		var cache saltedKeys
		for range 2 { // the second time from the cache
			x := newScram(test.mechanism, "user", "pencil", &cache)
			x.nonce, x.firstBare = test.nonce, "n=user,r="+test.nonce
			if got, err := x.final(test.server); err != nil || got != test.final {
				t.Errorf("%s: got %s %v, want %s", test.mechanism, got, err, test.final)
			}
			if err := x.verify(test.verify); err != nil {
				t.Errorf("%s: %v", test.mechanism, err)
			}
			if x.verify("v=AAAA") == nil || x.verify("e=other-error") == nil {
				t.Errorf("%s: a wrong signature is right", test.mechanism)
			}
		}
		if len(cache.keys) != 1 {
			t.Errorf("%d keys in the cache", len(cache.keys))
		}
		for _, bad := range []string{"", "r=other,s=QUJD,i=1", test.server + "0000000", "r=" + test.nonce + "x,s=!,i=1"} {
			if _, err := newScram(test.mechanism, "user", "pencil", &cache).final(bad); err == nil {
				t.Errorf("%s: the challenge %q was taken", test.mechanism, bad)
			}
		}
	}
}
