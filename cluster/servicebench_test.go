package cluster

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// arrivedAt is a session that says when it was sent something.
type arrivedAt struct {
	*fakeSession
	came chan time.Time
}

func (a arrivedAt) Send(*router.Batch, *stanza.Stanza) bool {
	a.came <- time.Now()
	return true
}

// BenchmarkServiceRoute sends a message at a time from a client of one node to one of each other in turn, over real links on loopback, from
// the router there to the router here: median and 99th percentile of the time, which must not grow with the number of nodes.
func BenchmarkServiceRoute(b *testing.B) {
	for _, nodes := range []int{2, 4, 8, 16, 30} {
		b.Run(fmt.Sprint("nodes=", nodes), func(b *testing.B) {
			var all []*site
			var join []string
			sessions := make(map[int]arrivedAt)
			for i := range nodes {
				cfg := Config{Node: simName(i), Gossip: "127.0.0.1:0", Link: "127.0.0.1:0", Join: join, Secret: testSecret, Log: quiet(simName(i))}
				r := router.New(stanza.MustJID("chat.test"), cfg.Log)
				s := &site{Router: r, Service: New(r, cfg), of: new(sites), name: cfg.Node}
				r.Spool, r.Presence, r.Copies, r.Users = s, noPresence{}, wrapped{}, anybody{}
				s.About = func() []byte { return nil }
				s.Sessions = Sessions{
					Look: s.look, Lost: func(context.Context, func(stanza.JID) []stanza.JID) {}, Found: func(context.Context, string) {}, Appeared: func(stanza.JID) func(context.Context) { return nil },
				}
				if err := s.Start(b.Context(), cfg); err != nil {
					b.Fatal(err)
				}
				defer s.node.Close()
				join = []string{s.node.Status().Gossip}
				all = append(all, s)
				f := arrivedAt{&fakeSession{jid: stanza.MustJID(fmt.Sprintf("user%d@chat.test/game", i)), site: s}, make(chan time.Time, 1)}
				f.state.Begun = s.Now()
				s.Table.Bind(f, true)
				s.Table.SetPresence(f, true, 0)
				sessions[i] = f
			}
			eventually(b, "all know all", time.Minute, func() bool {
				return !slices.ContainsFunc(all, func(s *site) bool { return s.rows.Len() != nodes-1 })
			})
			alice := sessions[0]
			var took []time.Duration
			used := cpu()
			for i := 0; b.Loop(); i++ {
				to := sessions[1+i%(nodes-1)]
				begun := time.Now()
				alice.say("<message to='%s' type='chat'><body>hello, a message of an ordinary length</body></message>", to.jid)
				took = append(took, (<-to.came).Sub(begun))
			}
			b.ReportMetric(float64(cpu()-used)/float64(len(took)), "cpu-ns/op")
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}
