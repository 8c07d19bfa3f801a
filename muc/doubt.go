package muc

import (
	"slices"
	"time"

	"chatd/router"
)

const (
	// doubtFor is how long a node may notice later than another that a third one is gone.
	doubtFor = 5 * time.Second
	// doubtBytes bounds what is kept for one room meanwhile. More is lost to the sessions here.
	doubtBytes = 256 << 10
)

// A doubt is what a node says for a room whose home, as known here, is another that can be reached: it knows already that that one is gone, or it is itself a home
// that is one no more.
type doubt struct {
	from string
	at   time.Time
	cast []byte // frameCast
}

// doubted keeps what a node says until it turns out whether it is the room's home, if it goes by a newer placement than the home that is known here.
func (s *Service) doubted(from, room string, token Token, cast []byte) {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.away[room]
	if a == nil || s.find(room) != nil || !token.fences(a.token) {
		return
	}
	size := len(cast)
	a.doubts = slices.DeleteFunc(a.doubts, func(d doubt) bool { return time.Since(d.at) > doubtFor })
	for _, d := range a.doubts {
		size += len(d.cast)
	}
	if size <= doubtBytes {
		a.doubts = append(a.doubts, doubt{from, time.Now(), slices.Clone(cast)})
	}
}

// believe deals with what the room's home has said before it was known here to be that. It runs among the room's frames, so that nothing that
// the home says later is before that.
func (s *Service) believe(b *router.Batch, room string) {
	sh := s.laneShard(room)
	sh.mu.Lock()
	a := sh.away[room]
	if a == nil || len(a.doubts) == 0 {
		sh.mu.Unlock()
		return
	}
	var said []doubt
	for _, d := range a.doubts {
		if d.from == a.home {
			said = append(said, d)
		}
	}
	a.doubts = slices.DeleteFunc(a.doubts, func(d doubt) bool { return d.from == a.home })
	sh.mu.Unlock()
	for _, d := range said {
		s.castTo(b, d.from, room, d.cast)
	}
}
