package cluster

import (
	"fmt"
	"testing"
	"time"

	"chatd/stanza"
)

// BenchmarkHad is what a message of another node costs: for 10,000 users in turn, with as many remembered as 50,000 a second make.
func BenchmarkHad(b *testing.B) {
	var h had
	p, full := new(Peer), hadUsers(10_000)
	ids := make([]stanza.ID, 1<<18)
	for i := range ids {
		ids[i] = stanza.NewID()
	}
	now, n := time.Now(), 0
	b.ReportAllocs()
	for b.Loop() {
		id, to := ids[n%len(ids)], full[n%len(full)]
		h.add(id, to, p, now)
		h.took(id, to)
		now = now.Add(20 * time.Microsecond)
		n++
	}
}

// BenchmarkHadBy is what a session that moves costs while all is remembered that can be, of 10,000 users.
func BenchmarkHadBy(b *testing.B) {
	s, p, full, now := new(Service), new(Peer), hadUsers(10_000), time.Now()
	fill := func(n int) {
		for i := range n {
			id := stanza.NewID()
			s.had.add(id, full[i%len(full)], p, now)
			s.had.took(id, full[i%len(full)])
		}
	}
	for range hadMost / hadRecent {
		fill(hadRecent)
		s.had.down(p)
	}
	fill(hadRecent)
	n, found := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		found += len(s.HadBy(full[n%len(full)]))
		n++
	}
	b.ReportMetric(float64(found)/float64(n), "found/op")
}

func hadUsers(n int) []stanza.JID {
	all := make([]stanza.JID, n)
	for i := range all {
		all[i] = stanza.MustJID(fmt.Sprintf("player%05d@chat.test/game", i))
	}
	return all
}
