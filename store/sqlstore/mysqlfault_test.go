package sqlstore

import (
	"math/rand/v2"
	"testing"

	"chatd/store/storetest"
	"chatd/store/storetest/faultproxy"
	"chatd/store/storetest/mariadb"
)

// TestMySQLFaults has a network between the store and its server that fails. Half of the cuts lose answers to what the server has
// done, before or in the place of those to COMMIT.
func TestMySQLFaults(t *testing.T) {
	t.Parallel()
	server := mariadb.Start(t)
	storetest.RunFaults(t, func(t *testing.T) storetest.Faulty {
		dsn := server.Database(t)
		proxy := faultproxy.Start(t, server.Addr())
		return storetest.Faulty{
			Store: openDSN(t, mariadb.Via(t, dsn, proxy.Addr())),
			Cut: func() {
				if rand.N(2) == 0 {
					proxy.Cut()
				} else {
					proxy.LoseAnswers()
				}
			},
			Stall: proxy.Stall,
			Mend:  proxy.Mend,
		}
	})
}

// TestMySQLKilled has a server that is killed, and one that is stopped for a moment.
func TestMySQLKilled(t *testing.T) {
	t.Parallel()
	storetest.RunFaults(t, func(t *testing.T) storetest.Faulty {
		server := mariadb.Start(t)
		paused, killed := false, false
		return storetest.Faulty{
			Store: openDSN(t, server.Database(t)),
			Cut:   func() { server.Kill(); killed = true },
			Stall: func() { server.Pause(t); paused = true },
			Mend: func() {
				switch {
				case killed:
					server.Restart(t)
				case paused:
					server.Continue(t)
				}
				paused, killed = false, false
			},
		}
	})
}
