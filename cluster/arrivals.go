package cluster

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// workerCount is how many goroutines deal with what arrives. What is for one user is dealt with by one of
	// them, in order; that one may have to wait for the store.
	workerCount = 64
	// maxArrived is how many bytes may wait for one worker. More is refused: if the link stood still instead, the
	// store's trouble would look like the node's end.
	maxArrived = 4 << 20
	// maxUnsure bounds the waits of a worker's. What comes over it is settled at once: who sent it may lose it with this process.
	maxUnsure = 16
)

// Arrivals are taken off the links' goroutines, which must not block. A frame is settled, and then acknowledged to who sent it, when it
// has been dealt with.
type arrivals struct {
	seed    maphash.Seed
	workers [workerCount]worker
	ended   sync.WaitGroup
}

// A worker deals with its share of what arrives, on a goroutine of its own.
type worker struct {
	mu      sync.Mutex
	come    sync.Cond // jobs, done or stopped have changed
	jobs    []job
	text    []byte   // the jobs' payloads, one behind the other
	done    []string // users who were waited for
	stopped bool

	unsure atomic.Int32       // how many waits of dealer.flush are under way
	waits  sync.WaitGroup     // for these
	parked map[string]*parked // by bare JID; the goroutine's own
	size   int                // bytes that are parked
}

// Parked is what has to wait for something that goes on for its user.
type parked struct {
	jobs []job
	text []byte
}

// A job is one frame.
type job struct {
	kind byte
	size int
	peer settler
	seq  uint64
}

// A settler is told what has been dealt with: a *Peer.
type settler interface{ Settled(seq uint64) }

// A dealer deals with frames on one worker's goroutine.
type dealer interface {
	// deal takes one frame. The payload is a view. If it returns a function, that is run on a goroutine of its own, and
	// what comes for the same user waits until it has ended; with again so does the frame itself, which has not been dealt with.
	deal(j job, payload []byte) (wait func(), again bool)
	// flush comes when nothing more is at hand. If it returns a function, that is run on a goroutine of its own, and what was dealt
	// with is settled when it has ended.
	flush() (wait func())
	// overflow takes a frame that there is no room for.
	overflow(kind byte, payload []byte)
}

// roomFor is how much may wait for a worker when a frame of a kind comes. All but stanzas are short, and nobody can be told that they are refused.
func roomFor(kind byte) int {
	if kind == kindStanza {
		return maxArrived
	}
	return 2 * maxArrived
}

// start begins the workers, each with a dealer of its own. They run until stop.
func (a *arrivals) start(newDealer func() dealer) {
	a.seed = maphash.MakeSeed()
	for i := range a.workers {
		w := &a.workers[i]
		w.come.L = &w.mu
		w.parked = make(map[string]*parked)
		d := newDealer()
		a.ended.Go(func() { w.run(d) })
	}
}

// stop ends the workers once they have dealt with what is there.
func (a *arrivals) stop() {
	for i := range a.workers {
		w := &a.workers[i]
		w.mu.Lock()
		w.stopped = true
		w.come.Signal()
		w.mu.Unlock()
	}
	a.ended.Wait()
}

// put gives a frame to the worker of a user and reports whether there was room. It copies the payload. What this node tells itself about its rooms is always taken: nobody else can be
// told that it was not, and there is no more of it than there is of rooms and of what waits for nodes that are gone.
func (a *arrivals) put(user []byte, j job, payload []byte) bool {
	w := &a.workers[maphash.Bytes(a.seed, user)%workerCount]
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || j.peer != nil && len(w.text)+len(payload) > roomFor(j.kind) {
		return false
	}
	j.size = len(payload)
	w.jobs = append(w.jobs, j)
	w.text = append(w.text, payload...)
	w.come.Signal()
	return true
}

func (w *worker) run(d dealer) {
	var jobs []job
	var text []byte
	defer w.waits.Wait()
	for {
		w.mu.Lock()
		for len(w.jobs) == 0 && len(w.done) == 0 && (!w.stopped || len(w.parked) > 0) {
			w.come.Wait()
		}
		if len(w.jobs) == 0 && len(w.done) == 0 {
			w.mu.Unlock()
			return
		}
		jobs, w.jobs = w.jobs, jobs[:0]
		text, w.text = w.text, text[:0]
		done := w.done
		w.done = nil
		w.mu.Unlock()
		for _, user := range done { // before what has come since
			p := w.parked[user]
			delete(w.parked, user)
			w.size -= len(p.text)
			w.dealAll(d, p.jobs, p.text)
		}
		w.dealAll(d, jobs, text)
		if cap(text) > maxArrived/16 { // of a burst
			jobs, text = nil, nil
		}
	}
}

// dealAll deals with frames, or parks them.
func (w *worker) dealAll(d dealer, jobs []job, text []byte) {
	for i, j := range jobs {
		payload := text[:j.size]
		text = text[j.size:]
		to, _, _ := cutTo(payload)
		if p := w.parked[string(bareOf(to))]; p != nil {
			if w.size+j.size <= roomFor(j.kind) {
				p.jobs, p.text = append(p.jobs, j), append(p.text, payload...)
				w.size += j.size
				jobs[i].peer = nil // settled later
				continue
			}
			d.overflow(j.kind, payload)
		} else if wait, again := d.deal(j, payload); wait != nil {
			p := w.park(string(bareOf(to)), wait)
			if again {
				p.jobs, p.text = append(p.jobs, j), append(p.text, payload...)
				w.size += j.size
				jobs[i].peer = nil
			}
		}
	}
	wait := d.flush()
	if wait == nil || w.unsure.Add(1) > maxUnsure {
		if wait != nil {
			w.unsure.Add(-1)
		}
		settle(jobs)
		return
	}
	jobs = slices.Clone(jobs)
	w.waits.Go(func() {
		wait()
		settle(jobs)
		w.unsure.Add(-1)
	})
}

func settle(jobs []job) {
	for _, j := range jobs {
		if j.peer != nil {
			j.peer.Settled(j.seq)
		}
	}
}

// park has everything for a user wait until a function has ended.
func (w *worker) park(user string, wait func()) *parked {
	p := &parked{}
	w.parked[user] = p
	go func() { // run waits for it
		wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done = append(w.done, user)
		w.come.Signal()
	}()
	return p
}
