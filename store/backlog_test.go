package store_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/sqlstore"
)

// A footprint is the memory of a process above what it was at the start: Go's heap, and all that is resident, as SQLite's
// is not in that heap.
type footprint struct{ heap, resident, mostHeap, mostResident int64 }

func newFootprint() *footprint {
	f := new(footprint)
	f.heap, f.resident = memoryNow()
	return f
}

func (f *footprint) look() {
	heap, resident := memoryNow()
	f.mostHeap, f.mostResident = max(f.mostHeap, heap-f.heap), max(f.mostResident, resident-f.resident)
}

func memoryNow() (heap, resident int64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var size, pages int64
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		fmt.Sscan(string(text), &size, &pages)
	}
	return int64(m.HeapAlloc), pages * int64(os.Getpagesize())
}

// appendAll gives anna n messages by several writers at once.
func appendAll(tb testing.TB, s store.Store, n int, m store.OfflineMessage) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if _, err := s.AppendOffline(context.Background(), "anna", m, 0); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// handOver takes n messages page by page, as a session does, and removes each page.
func handOver(tb testing.TB, s store.Store, n int, each func(page int)) {
	after, got := int64(0), 0
	for page := 0; ; page++ {
		messages, err := s.OfflinePage(context.Background(), "anna", after, 50)
		if err != nil {
			tb.Fatal(err)
		}
		if len(messages) == 0 {
			break
		}
		var seqs []int64
		for _, m := range messages {
			if m.Seq <= after {
				tb.Fatalf("message %d behind %d", m.Seq, after)
			}
			after, seqs = m.Seq, append(seqs, m.Seq)
		}
		if err := s.RemoveOffline(context.Background(), "anna", seqs); err != nil {
			tb.Fatal(err)
		}
		got += len(messages)
		each(page)
	}
	if left, err := s.CountOffline(context.Background(), "anna"); err != nil || got != n || left != 0 {
		tb.Errorf("%d messages of %d, %d left, %v", got, n, left, err)
	}
}

// BenchmarkBacklog gives one player all the messages and hands them over; then gives them again and removes them at once:
//
//	go test ./store -run '^$' -bench Backlog -benchtime 1000000x -timeout 30m
func BenchmarkBacklog(b *testing.B) {
	s, err := sqlstore.Open(b.Context(), sqlstore.Config{Path: filepath.Join(b.TempDir(), "bench.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	rate := func(unit string, begun time.Time) {
		b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), unit)
	}
	f, begun := newFootprint(), time.Now()
	appendAll(b, s, b.N, message)
	rate("appended/s", begun)
	f.look()
	begun = time.Now()
	handOver(b, s, b.N, func(page int) {
		if page%2000 == 0 {
			f.look()
		}
	})
	rate("handed-over/s", begun)
	b.ReportMetric(float64(f.mostHeap)/1e6, "heap-MB")
	b.ReportMetric(float64(f.mostResident)/1e6, "resident-MB")
	appendAll(b, s, b.N, message)
	begun = time.Now()
	if err := s.CreateAccount(b.Context(), store.Account{User: "anna"}); err != nil { // what waits under the name goes
		b.Fatal(err)
	}
	b.ReportMetric(float64(time.Since(begun).Milliseconds()), "removal-ms")
	f.look()
	b.ReportMetric(float64(f.mostResident)/1e6, "resident-MB-removal")
}

// TestBacklogMemory: 64 MB that wait for one player need a small part of that, while they come and while they go.
func TestBacklogMemory(t *testing.T) {
	const messages, size, bound = 4000, 16000, 16 << 20
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "chatd.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	large := store.OfflineMessage{Stanza: bytes.Repeat([]byte("x"), size), ID: strings.Repeat("i", 20)}
	appendAll(t, s, 300, large) // caches and stacks are what they will be
	handOver(t, s, 300, func(int) {})
	f := newFootprint()
	appendAll(t, s, messages, large)
	f.look()
	handOver(t, s, messages, func(page int) {
		if page%20 == 0 {
			f.look()
		}
	})
	t.Logf("%d bytes waited; heap +%d, resident +%d", messages*size, f.mostHeap, f.mostResident)
	if f.mostHeap > bound || f.mostResident > 3*bound { // the race detector's own is resident too
		t.Errorf("heap +%d, resident +%d bytes for a backlog of %d", f.mostHeap, f.mostResident, messages*size)
	}
}
