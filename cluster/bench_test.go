package cluster

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatd/stanza"
)

// million is how many rows the benchmarks of rows have.
const million = 1_000_000

func benchJID(i int) stanza.JID {
	return stanza.MustJID(fmt.Sprintf("player%07d@chat.test/game%03d", i, i%1000))
}

const rusageThread = 1 // getrusage(2)

// cpuTime is what the process has used of all processors.
func cpuTime() time.Duration { return usage(syscall.RUSAGE_SELF) }

func usage(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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

func heapBytes() uint64 {
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
		before := heapBytes()
		r := NewRows("")
		o := fill(b, r, "b", 0, million)
		text := float64(len(benchJID(0).String()))
		b.ReportMetric(float64(heapBytes()-before)/million-text, "B/row")
		start := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms/GC")
		rng := rand.New(rand.NewPCG(1, 1))
		for _, i := range rng.Perm(million) {
			r.unset(o, benchJID(i))
			r.set(o, Row{JID: benchJID(million + i)})
		}
		b.ReportMetric(float64(heapBytes()-before)/million-text, "B/row-churned")
		runtime.KeepAlive(r)
	}
}

// BenchmarkRowLookup looks up users among a million rows, quiet and while 100,000 rows a second change.
func BenchmarkRowLookup(b *testing.B) {
	r := NewRows("")
	o := fill(b, r, "b", 0, million)
	users := make([]stanza.JID, 1<<16)
	var text strings.Builder // one after another, as what a stanza is to is at hand
	for range users {
		text.WriteString(benchJID(rand.IntN(million)).Bare().String())
	}
	for i, size := 0, text.Len()/len(users); i < len(users); i++ {
		users[i] = stanza.Restore(text.String()[i*size : (i+1)*size])
	}
	for _, rate := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("changes=%d", rate), func(b *testing.B) {
			stop, stopped := make(chan struct{}), make(chan int)
			go func() { stopped <- change(r, o, rate, stop) }()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			start, cpu := time.Now(), usage(rusageThread)
			b.ReportAllocs()
			buf := make([]RemoteRow, 0, 4)
			for i := 0; b.Loop(); i++ {
				if buf = r.Append(buf[:0], users[i%len(users)]); len(buf) == 0 {
					b.Fatal("not found")
				}
			}
			b.ReportMetric(float64((usage(rusageThread)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/lookup")
			close(stop)
			b.ReportMetric(float64(<-stopped)/time.Since(start).Seconds(), "changes/s")
		})
	}
}

// change changes rows at a rate until it is stopped, and counts them.
func change(r *Rows, o *Owner, rate int, stop chan struct{}) (done int) {
	jids := make([]stanza.JID, 1<<16)
	for i := range jids {
		jids[i] = benchJID(i * 7919 % million)
	}
	var rec record
	start := time.Now()
	for {
		select {
		case <-stop:
			return done
		case <-time.After(time.Millisecond):
		}
		for ; done < int(time.Since(start).Seconds()*float64(rate)); done++ {
			rec.Row = Row{JID: jids[done%len(jids)], Bound: int64(done), Priority: int8(done), Available: true}
			rec.enc = rec.append(rec.enc[:0])
			r.enter(o, &rec)
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
		cpu := cpuTime()
		r.reclaim(o)
		b.ReportMetric(float64((cpuTime() - cpu).Milliseconds()), "cpu-ms")
	}
}

// million rows of a, and a link to b that carries frames at once.
func benchTwin(b *testing.B, rows int) *twin {
	w := newTwin(ReplicaConfig{}, ReplicaConfig{}, 0)
	for i := range rows {
		w.a.Changed(Row{JID: benchJID(i), Bound: int64(i), Available: true})
	}
	return w
}

func waitFor(ok func() bool) {
	for !ok() {
		time.Sleep(time.Millisecond)
	}
}

// BenchmarkSnapshot has two nodes with a million rows each send them to one another, from PeerUp until all are seen.
func BenchmarkSnapshot(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w := benchTwin(b, million)
		for i := range million {
			w.b.Changed(Row{JID: benchJID(million + i), Bound: int64(i), Available: true})
		}
		runtime.GC()
		cpu := cpuTime()
		b.StartTimer()
		w.up()
		waitFor(func() bool { return w.b.Rows.Len() == million && w.a.Rows.Len() == million })
		b.StopTimer()
		b.ReportMetric(float64((cpuTime()-cpu).Milliseconds())/2, "cpu-ms/snapshot")
		w.stop()
		b.StartTimer()
	}
	b.ReportMetric(2*million*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkDeltas changes rows among a million as fast as they can be made, sent and applied, all of which it does.
func BenchmarkDeltas(b *testing.B) {
	w := benchTwin(b, million)
	defer w.stop()
	w.up()
	waitFor(func() bool { return w.b.Rows.Len() == million })
	cpu := cpuTime()
	b.ResetTimer()
	b.ReportAllocs()
	for i := range b.N {
		w.a.Changed(Row{JID: benchJID(i * 7919 % million), Bound: int64(i), Priority: int8(i), Available: true})
		for i%1024 == 0 && w.a.log.last.Load()-w.b.Stats().DeltasApplied > 50_000+million {
			time.Sleep(100 * time.Microsecond)
		}
	}
	waitFor(func() bool { return w.b.Stats().DeltasApplied == w.a.log.last.Load()-million })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deltas/s")
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	if s := w.b.Stats(); s.SnapshotsApplied != 1 {
		b.Fatalf("%+v", s)
	}
}

// BenchmarkChanged is what a change costs who makes it.
func BenchmarkChanged(b *testing.B) {
	r := NewReplica(ReplicaConfig{Node: "a", Log: silent()})
	jids := make([]stanza.JID, 1<<16)
	for i := range jids {
		jids[i] = benchJID(i)
		r.Changed(Row{JID: jids[i]})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.Changed(Row{JID: jids[i%len(jids)], Bound: int64(i)})
	}
}
