package riak

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
)

// A stamp says when something was written, and by whom: ticks of 16 µs since 2020, then 16 bits that this process drew at
// random. It is a hybrid logical clock in one number: it follows the clock of the wall, never stands still or goes
// back in one process, and is greater than every stamp that its writer had seen. It is also what versions of rosters and numbers of
// messages are made of. The ticks last until 2091.
type stamp int64

const (
	tick      = 16 * time.Microsecond
	actorBits = 16
)

var stampEpoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// time is when the stamp was given, as far as clocks agree.
func (s stamp) time() time.Time { return stampEpoch.Add(time.Duration(s>>actorBits) * tick) }

// key is the stamp as a part of keys, which sorts as the stamp does.
func (s stamp) key() string { return string(binary.BigEndian.AppendUint64(nil, uint64(s))) }

// stampOf is the stamp at the beginning of what key returned.
func stampOf(key string) stamp {
	if len(key) < 8 {
		return 0
	}
	return stamp(binary.BigEndian.Uint64([]byte(key[:8])))
}

// A clock gives stamps.
type clock struct {
	now   func() time.Time
	actor stamp

	mu   sync.Mutex
	last int64 // tick
}

func newClock(now func() time.Time) *clock {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	return &clock{now: now, actor: stamp(binary.BigEndian.Uint16(b[:]))}
}

// next is a stamp that no other call gets, greater than after and than all given before.
func (c *clock) next(after stamp) stamp {
	now := int64(c.now().Sub(stampEpoch) / tick)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(now, c.last+1, int64(after>>actorBits)+1)
	return stamp(c.last)<<actorBits | c.actor
}
