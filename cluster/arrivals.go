package cluster

import (
	"hash/maphash"
	"sync"
)

const (
	// workerCount is how many goroutines deal with what arrives. What is for one user is dealt with by one of
	// them, in order; that one may have to wait for the store.
	workerCount = 64
	// maxArrived is how many bytes may wait for one worker. More is refused: if the link stood still instead, the
	// store's trouble would look like the node's end.
	maxArrived = 4 << 20
)

// Arrivals are taken off the links' goroutines, which must not block.
type arrivals struct {
	seed    maphash.Seed
	workers [workerCount]worker
	ended   sync.WaitGroup
}

// A worker deals with its share of what arrives, on a goroutine of its own.
type worker struct {
	mu      sync.Mutex
	come    sync.Cond // jobs or stopped have changed
	jobs    []job
	text    []byte // the jobs' payloads, one behind the other
	stopped bool
}

// A job is one frame.
type job struct {
	kind byte
	size int
}

// A dealer deals with frames on one worker's goroutine.
type dealer interface {
	// deal takes one frame. The payload is a view.
	deal(kind byte, payload []byte)
	// flush comes when nothing more is at hand.
	flush()
}

// start begins the workers, each with a dealer of its own. They run until stop.
func (a *arrivals) start(newDealer func() dealer) {
	a.seed = maphash.MakeSeed()
	for i := range a.workers {
		w := &a.workers[i]
		w.come.L = &w.mu
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

// put gives a frame to the worker of a user and reports whether there was room. It copies the payload.
func (a *arrivals) put(user []byte, kind byte, payload []byte) bool {
	w := &a.workers[maphash.Bytes(a.seed, user)%workerCount]
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || len(w.text)+len(payload) > maxArrived {
		return false
	}
	w.jobs = append(w.jobs, job{kind, len(payload)})
	w.text = append(w.text, payload...)
	w.come.Signal()
	return true
}

func (w *worker) run(d dealer) {
	var jobs []job
	var text []byte
	for {
		w.mu.Lock()
		for len(w.jobs) == 0 && !w.stopped {
			w.come.Wait()
		}
		if len(w.jobs) == 0 {
			w.mu.Unlock()
			return
		}
		jobs, w.jobs = w.jobs, jobs[:0]
		text, w.text = w.text, text[:0]
		w.mu.Unlock()
		at := 0
		for _, j := range jobs {
			d.deal(j.kind, text[at:at+j.size])
			at += j.size
		}
		d.flush()
		if cap(text) > maxArrived/16 { // of a burst
			jobs, text = nil, nil
		}
	}
}
