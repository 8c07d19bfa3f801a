package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// A link is how packets fare from one node to another.
type link struct {
	delay  time.Duration
	jitter time.Duration // more than delay, at most; packets keep their order
	loss   float64       // share of packets, at random
}

// A softSwitch carries packets between nodes in this process, where they can be late or get lost, which this kernel does not do: each namespace has a TUN
// device, to which its routes to other nodes lead.
type softSwitch struct {
	devices map[netip.Addr]*os.File // by the node's address
	work    sync.WaitGroup
}

// queued is how many packets wait on each way; more are lost.
const queued = 4096

// slow has all packets between two sets of nodes go by a switch.
func (l *lab) slow(from, to []int, how link) error {
	if l.soft == nil {
		l.soft = &softSwitch{devices: make(map[netip.Addr]*os.File)}
		for n := range l.nodes {
			f, err := l.newDevice(n)
			if err != nil {
				return err
			}
			l.soft.devices[netip.MustParseAddr(l.addr(n))] = f
		}
		for _, f := range l.soft.devices {
			l.soft.work.Go(func() { l.soft.carry(f, how) })
		}
	}
	var err error
	for _, a := range from {
		for _, b := range to {
			for _, way := range [][2]int{{a, b}, {b, a}} {
				err = errors.Join(err, sh("ip", "-n", l.namespace(way[0]), "route", "add", l.addr(way[1])+"/32", "dev", device, "src", l.addr(way[0])))
			}
		}
	}
	return err
}

const device = "lab0"

// An interfaceRequest is the kernel's struct ifreq.
type interfaceRequest struct {
	name  [syscall.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

// newDevice makes a TUN device and moves it into a node's namespace.
func (l *lab) newDevice(n int) (*os.File, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	name := fmt.Sprintf("clt%dn%d", os.Getpid(), n)
	req := interfaceRequest{flags: syscall.IFF_TUN | syscall.IFF_NO_PI}
	copy(req.name[:], name)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TUNSETIFF, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return nil, errors.Join(fmt.Errorf("TUNSETIFF: %w", errno), syscall.Close(fd))
	}
	f := os.NewFile(uintptr(fd), name)
	ns := l.namespace(n)
	for _, c := range [][]string{
		{"ip", "link", "set", name, "netns", ns},
		{"ip", "-n", ns, "link", "set", name, "name", device},
		{"ip", "-n", ns, "link", "set", device, "up"},
	} {
		if err := sh(c...); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// quick ends what slow began; the routes go with the devices.
func (l *lab) quick() (err error) {
	if l.soft == nil {
		return nil
	}
	for _, f := range l.soft.devices {
		err = errors.Join(err, f.Close())
	}
	l.soft.work.Wait()
	l.soft = nil
	return err
}

// A packet is one on its way.
type packet struct {
	due  time.Time
	data []byte
}

// carry takes what one node sends until its device is closed.
func (s *softSwitch) carry(from *os.File, how link) {
	ways := make(map[netip.Addr]chan packet)
	for to, f := range s.devices {
		way := make(chan packet, queued)
		ways[to] = way
		s.work.Go(func() {
			for p := range way {
				time.Sleep(time.Until(p.due))
				_, _ = f.Write(p.data) // the device may be closed by now
			}
		})
		defer close(way)
	}
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if n < 20 || buf[0]>>4 != 4 || rand.Float64() < how.loss {
			continue
		}
		to := netip.AddrFrom4([4]byte(buf[16:20]))
		due := time.Now().Add(how.delay + rand.N(how.jitter+1))
		select {
		case ways[to] <- packet{due, append([]byte(nil), buf[:n]...)}:
		default: // nobody's, or too many
		}
	}
}
