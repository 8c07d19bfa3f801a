package c2s

import (
	"os"
	"sync"
	"syscall"
)

// A watch waits for input on the sockets of sessions that sleep, with one goroutine for all of
// them. It is an epoll instance that Go's poller watches in turn.
type watch struct {
	file *os.File
	raw  syscall.RawConn

	mu    sync.Mutex
	wires []*wire // by descriptor; nil where none is watched
}

// sleepEvents are reported once each time that a wire goes to sleep. Input that is there already counts.
const sleepEvents = syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT

// newWatch is nil if the kernel has no epoll instance left: then nobody sleeps.
func newWatch() *watch {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	_ = syscall.SetNonblock(fd, true) // so that os.NewFile leaves the waiting to Go's poller
	k := &watch{file: os.NewFile(uintptr(fd), "epoll")}
	if k.raw, err = k.file.SyscallConn(); err != nil {
		k.close()
		return nil
	}
	return k
}

// run wakes the wires that have input, until close.
func (k *watch) run() {
	events := make([]syscall.EpollEvent, 128)
	for {
		n := 0
		err := k.raw.Read(func(fd uintptr) bool {
			n, _ = syscall.EpollWait(int(fd), events, 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			if w := k.wire(int(e.Fd)); w != nil {
				w.getUp()
			}
		}
	}
}

func (k *watch) close() { _ = k.file.Close() }

func (k *watch) wire(fd int) *wire {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wires[fd]
}

// add has w got up at its next input. It is called for each sleep.
func (k *watch) add(w *wire) (err error) {
	control := func(epoll, fd uintptr) error {
		op := syscall.EPOLL_CTL_MOD
		if k.enter(int(fd), w) {
			op = syscall.EPOLL_CTL_ADD
		}
		return syscall.EpollCtl(int(epoll), op, int(fd), &syscall.EpollEvent{Events: sleepEvents, Fd: int32(fd)})
	}
	failed := k.raw.Control(func(epoll uintptr) {
		if e := w.raw.Control(func(fd uintptr) { err = control(epoll, fd) }); e != nil {
			err = e
		}
	})
	if failed != nil {
		return failed
	}
	return err
}

// enter notes whose descriptor fd is, and reports whether that is new.
func (k *watch) enter(fd int, w *wire) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if fd >= len(k.wires) {
		k.wires = append(k.wires, make([]*wire, fd+1-len(k.wires))...)
	}
	known := k.wires[fd] == w
	k.wires[fd] = w
	return !known
}

// remove forgets w, whose descriptor is about to be closed, which takes it out of the epoll instance.
func (k *watch) remove(w *wire) {
	_ = w.raw.Control(func(fd uintptr) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if int(fd) < len(k.wires) && k.wires[fd] == w {
			k.wires[fd] = nil
		}
	})
}
