package main

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// A poller is an epoll instance, level-triggered. Sessions wait in it without a
// goroutine and without a buffer.
type poller struct {
	fd     int
	events [128]syscall.EpollEvent
}

const errAgain = syscall.EAGAIN

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &poller{fd: fd}, os.NewSyscallError("epoll_create1", err)
}

func (p *poller) close() { syscall.Close(p.fd) } //nolint:errcheck // nothing is written to it

func (p *poller) add(fd int, token int32) error {
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP, Fd: token}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &ev))
}

func (p *poller) wantWrite(fd int, token int32, want bool) {
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP, Fd: token}
	if want {
		ev.Events |= syscall.EPOLLOUT
	}
	syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_MOD, fd, &ev) //nolint:errcheck // fails only for what is not in it
}

const sysEpollPwait2 = 441 // Linux 5.11, the same on all architectures

// wait calls back for each session that can be read or written, after at most
// that time.
func (p *poller) wait(timeout time.Duration, ready func(token int32, read, write bool)) error {
	n, err := p.poll(max(timeout, 0))
	if err == syscall.EINTR {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("epoll_wait", err)
	}
	for _, ev := range p.events[:n] {
		ready(ev.Fd, ev.Events&^uint32(syscall.EPOLLOUT) != 0, ev.Events&syscall.EPOLLOUT != 0)
	}
	return nil
}

// poll waits with the precision that an open loop needs, where the kernel can.
func (p *poller) poll(timeout time.Duration) (int, error) {
	if timeout == 0 {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd),
			uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)), 0, 0, 0)
		return result(n, errno)
	}
	ts := syscall.NsecToTimespec(int64(timeout))
	n, _, errno := syscall.Syscall6(sysEpollPwait2, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno == syscall.ENOSYS {
		return syscall.EpollWait(p.fd, p.events[:], int((timeout+time.Millisecond-1)/time.Millisecond))
	}
	return result(n, errno)
}

func result(n uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// readNow, writeNow are for non-blocking descriptors, whose calls return at
// once: RawSyscall spares the scheduler's preparation for one that does not.

func readNow(fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return result(n, errno)
}

func writeNow(fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return result(n, errno)
}

func closeNow(fd int) error { return os.NewSyscallError("close", syscall.Close(fd)) }

func duplicate(fd int) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	return result(n, errno)
}

// descriptorLimit is how many files this process may have open.
func descriptorLimit() int {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 1024
	}
	return int(min(r.Cur, 1<<20))
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
