package c2s

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// An addressKey is what counts as one place that connections come from: an
// IPv4 address, or the /64 of an IPv6 address, which one customer has whole.
type addressKey = netip.Prefix

func keyOf(a net.Addr) addressKey {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return addressKey{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// addressLimiterMax bounds how many addresses are remembered at once.
const addressLimiterMax = 10000

// An addressLimiter allows so many events a minute from each address. It is
// safe for concurrent use.
type addressLimiter struct {
	mu sync.Mutex
	by map[addressKey]*rate.Limiter
}

func newAddressLimiter() *addressLimiter {
	return &addressLimiter{by: make(map[addressKey]*rate.Limiter)}
}

// allow counts one event; perMinute 0 is unlimited. When too many addresses are
// remembered, those that have not used their allowance of late are forgotten, which
// changes nothing for them; if that frees nothing, new addresses are refused.
func (l *addressLimiter) allow(key addressKey, perMinute int) bool {
	if perMinute <= 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	lim := l.by[key]
	if lim == nil {
		if len(l.by) >= addressLimiterMax {
			l.forgetIdle(now)
		}
		if len(l.by) >= addressLimiterMax {
			return false
		}
		lim = rate.NewLimiter(rate.Limit(perMinute)/60, perMinute)
		l.by[key] = lim
	}
	if lim.Burst() != perMinute {
		lim.SetLimitAt(now, rate.Limit(perMinute)/60)
		lim.SetBurstAt(now, perMinute)
	}
	return lim.AllowN(now, 1)
}

func (l *addressLimiter) forgetIdle(now time.Time) {
	for k, lim := range l.by {
		if lim.TokensAt(now) >= float64(lim.Burst()) {
			delete(l.by, k)
		}
	}
}
