package main

// A sequence judges what one recipient gets of one sender, whose messages are
// numbered from 0. What is kept beside two numbers is the gaps alone.
type sequence struct {
	next    uint32              // one more than the greatest number seen
	missing map[uint32]struct{} // numbers below next that have not been seen
}

// A verdict is what a message turned out to be.
type verdict uint8

const (
	inOrder    verdict = iota
	reordered          // after one with a greater number
	duplicated         // seen before
	unexpected         // not sent, as far as the sender knows
)

// see takes note of number n, when sent numbers have been sent.
func (s *sequence) see(n, sent uint32) verdict {
	if n >= sent {
		return unexpected
	}
	if n >= s.next {
		if n > s.next && s.missing == nil {
			s.missing = make(map[uint32]struct{})
		}
		for ; s.next < n; s.next++ {
			s.missing[s.next] = struct{}{}
		}
		s.next++
		return inOrder
	}
	if _, ok := s.missing[n]; ok {
		delete(s.missing, n)
		return reordered
	}
	return duplicated
}

// lost is how many of the sent numbers have not been seen.
func (s *sequence) lost(sent uint32) uint64 {
	return uint64(sent-s.next) + uint64(len(s.missing))
}
