package cluster

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"chatd/stanza"
)

// million is how many rows the benchmarks of rows have.
const million = 1_000_000

func benchJID(i int) stanza.JID {
	return stanza.MustJID(fmt.Sprintf("player%07d@chat.test/game%03d", i, i%1000))
}

// fill gives an owner n rows from the number from on.
func fill(tb testing.TB, r *Rows, node string, from, n int) *Owner {
	o := mustOpen(tb, r, node)
	for i := range n {
		r.set(o, Row{JID: benchJID(from + i), Bound: int64(i), Available: true})
	}
	r.swap(o, nil)
	return o
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkRowBytes measures the heap that a row takes beside its JID's text, fresh and after each row was replaced by
// one of another name, and what the garbage collector has to do.
func BenchmarkRowBytes(b *testing.B) {
	for b.Loop() {
		before := heap()
		r := NewRows("")
		o := fill(b, r, "b", 0, million)
		text := float64(len(benchJID(0).String()))
		b.ReportMetric(float64(heap()-before)/million-text, "B/row")
		start := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms/GC")
		rng := rand.New(rand.NewPCG(1, 1))
		for _, i := range rng.Perm(million) {
			r.unset(o, benchJID(i))
			r.set(o, Row{JID: benchJID(million + i)})
		}
		b.ReportMetric(float64(heap()-before)/million-text, "B/row-churned")
		runtime.KeepAlive(r)
	}
}

// BenchmarkRowLookup looks up users among a million rows, quiet and while 100,000 rows a second change.
func BenchmarkRowLookup(b *testing.B) {
	r := NewRows("")
	o := fill(b, r, "b", 0, million)
	users := make([]stanza.JID, 1<<16)
	for i := range users {
		users[i] = benchJID(rand.IntN(million)).Bare()
	}
	for _, rate := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("changes=%d", rate), func(b *testing.B) {
			stop, stopped := make(chan struct{}), make(chan int)
			go func() { stopped <- change(r, o, rate, stop) }()
			start := time.Now()
			b.ReportAllocs()
			buf := make([]RemoteRow, 0, 4)
			for i := 0; b.Loop(); i++ {
				if buf = r.Append(buf[:0], users[i%len(users)]); len(buf) == 0 {
					b.Fatal("not found")
				}
			}
			close(stop)
			b.ReportMetric(float64(<-stopped)/time.Since(start).Seconds(), "changes/s")
		})
	}
}

// change changes rows at a rate until it is stopped, and counts them.
func change(r *Rows, o *Owner, rate int, stop chan struct{}) (done int) {
	start := time.Now()
	for {
		select {
		case <-stop:
			return done
		case <-time.After(time.Millisecond):
		}
		for ; done < int(time.Since(start).Seconds()*float64(rate)); done++ {
			r.set(o, Row{JID: benchJID(done * 7919 % million), Bound: int64(done), Priority: int8(done), Available: true})
		}
	}
}

// BenchmarkPurge hides an owner's million rows beside another's million, and gives their memory back.
func BenchmarkPurge(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r := NewRows("")
		o := fill(b, r, "b", 0, million)
		fill(b, r, "c", million, million)
		b.StartTimer()
		start := time.Now()
		r.swap(nil, o)
		b.ReportMetric(float64(time.Since(start).Microseconds()), "us/hide")
		r.reclaim(o)
	}
}
