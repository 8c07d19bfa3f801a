package chatd_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/store/riak/riaktest"
	"chatd/store/storetest/mariadb"
)

// killsVariable says how often TestKills kills chatd and the database of each backend; without it often enough to notice.
const killsVariable = "CHATD_TEST_KILLS"

// A mortal is a database under a chatd that is killed. Its functions are for the test's goroutine.
type mortal struct {
	settings map[string]string // of chatd
	kill     func(srv *server)
	restart  func()
}

var mortals = map[string]func(t *testing.T) mortal{"sqlite": mortalSQLite, "mysql": mortalMySQL, "riak": mortalRiak}

// mortalSQLite lives in chatd's process and dies with it. Besides that another process can keep chatd from writing.
func mortalSQLite(t *testing.T) mortal {
	var conn *sql.Conn
	var db *sql.DB
	do := func(text string) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	return mortal{
		kill: func(srv *server) {
			var err error
			if db, err = sql.Open("sqlite", "file:"+filepath.Join(srv.dir, "data", "chatd.db")); err != nil {
				t.Fatal(err)
			}
			if conn, err = db.Conn(t.Context()); err != nil {
				t.Fatal(err)
			}
			do("PRAGMA busy_timeout=10000; BEGIN IMMEDIATE")
		},
		restart: func() {
			do("ROLLBACK")
			conn.Close()
			db.Close()
		},
	}
}

func mortalMySQL(t *testing.T) mortal {
	db := mariadb.Start(t)
	return mortal{
		settings: map[string]string{"store.driver": `"mysql"`, "store.dsn": strconv.Quote(db.Database(t))},
		kill:     func(*server) { db.Kill() },
		restart:  func() { db.Restart(t) },
	}
}

// mortalRiak loses in turn a node, the sight of each other, and all nodes.
func mortalRiak(t *testing.T) mortal {
	double := riaktest.Start(t, riaktest.Config{Types: map[string]string{"chatd": `{"props":{"n_val":3,"allow_mult":true}}`}, Lag: 20 * time.Millisecond})
	deaths := 0
	return mortal{
		settings: map[string]string{"store.driver": `"riak"`, "store.dsn": strconv.Quote(strings.Join(double.Addrs(), ","))},
		kill: func(*server) {
			switch deaths++; deaths % 3 {
			case 0:
				double.Kill(deaths / 3 % 3)
			case 1:
				for i := range double.Addrs() {
					double.Kill(i)
				}
			case 2:
				double.Partition([]int{0}, []int{1, 2})
			}
		},
		restart: func() {
			double.Heal()
			for i := range double.Addrs() {
				double.Restart(i)
			}
		},
	}
}

// TestKills: chatd and its database are killed in turn while users send to others who are away, who are there, and who come and
// go, and while they make friends. Every message that was acknowledged (XEP-0198 §4) arrives, but for one that was on its way to a
// connection that broke as chatd was killed; none arrives twice but with the same stanza-id (XEP-0359 §3.1); those of one sender
// to one who is away arrive in their order; every friendship that was acknowledged stands.
func TestKills(t *testing.T) {
	kills := 2
	if text := os.Getenv(killsVariable); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(killsVariable+":", err)
		}
	}
	for name, open := range mortals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, api := open(t), freeAddress(t, "127.0.0.1")
			settings := steadySettings(api)
			maps.Copy(settings, map[string]string{"message.offline_max": "1000000", "roster.max_contacts": "100000", "c2s.limits.bytes_per_second": "0"})
			maps.Copy(settings, db.settings)
			k := newKillTest(t, startServer(t, settings), api)
			begun := time.Now()
			for i := range kills {
				k.killChatd(db, i%4 == 3)
				k.killDatabase(db)
			}
			k.end()
			t.Logf("%s: %d kills of chatd, %d of the database, %.0f s\n%s", name, kills, kills, time.Since(begun).Seconds(), k.report())
		})
	}
}

// A killTest is the load on one server, and what is known of it.
type killTest struct {
	*testing.T
	srv       *server
	api       string
	ledger    ledger
	recipient []*recipient
	friends   *befriender
	kills     []killed // of chatd
	underway  int      // messages that were lost with a connection whose end chatd did not live to notice

	ctx     context.Context // ends with the load
	stop    context.CancelFunc
	running sync.WaitGroup
}

func newKillTest(t *testing.T, srv *server, api string) *killTest {
	k := &killTest{T: t, srv: srv, api: api, friends: &befriender{}, ledger: ledger{byKey: make(map[string]*sentMessage)}}
	k.ctx, k.stop = context.WithCancel(t.Context())
	t.Cleanup(func() { k.stop(); k.running.Wait() })
	for _, kind := range []presenceKind{away, here, leaving, breaking} {
		for i := range 2 {
			k.recipient = append(k.recipient, &recipient{killTest: k, user: fmt.Sprint(kind, i), kind: kind, got: make(map[string]string), last: make(map[string]int)})
		}
	}
	for _, r := range k.recipient {
		k.register(r.user)
		if r.kind != away {
			k.running.Go(r.run)
		}
	}
	for i := range 6 {
		s := &sender{killTest: k, user: fmt.Sprint("sender", i), next: make(map[string]int)}
		k.register(s.user)
		k.running.Go(s.run)
	}
	k.register("lover")
	k.running.Go(func() { k.friends.run(k) })
	return k
}

func (k *killTest) register(user string) {
	k.Helper()
	if err := k.srv.register(user, "secret"); err != nil {
		k.Fatal(err)
	}
}

// progress waits for so many more messages to be accepted, also for who is away: the load is under way, and all works.
func (k *killTest) progress(n int) {
	k.Helper()
	settle(k.T, "the store is not back", func() bool {
		resp, _ := ask(k.T, k.api, "GET", "/readyz")
		late, _ := metric(k.T, k.api, "chatd_messages_late")
		return resp.StatusCode == 200 && late == 0
	})
	before, stored := k.ledger.count(accepted), k.ledger.stored.Load()
	settle(k.T, "no message is accepted", func() bool { return k.ledger.count(accepted) >= before+n && k.ledger.stored.Load() > stored })
}

func (k *killTest) killChatd(db mortal, both bool) {
	k.Helper()
	k.progress(100 + rand.IntN(400))
	kill := killed{at: time.Now()}
	if err := k.srv.cmd.Process.Kill(); err != nil {
		k.Fatal(err)
	}
	if both { // at once
		db.kill(k.srv)
		db.restart()
	}
	<-k.srv.exited
	kill.dead = time.Now()
	k.kills = append(k.kills, kill)
	k.srv.start(k.T)
	k.srv.await(k.T, k.api)
}

// killDatabase leaves it dead for shorter and for longer than chatd has patience.
func (k *killTest) killDatabase(db mortal) {
	k.Helper()
	k.progress(100 + rand.IntN(400))
	db.kill(k.srv)
	select {
	case <-time.After(time.Duration(100+rand.IntN(2500)) * time.Millisecond):
	case <-k.ctx.Done():
	}
	db.restart()
}

// end stops the load and has everybody fetch what is left.
func (k *killTest) end() {
	k.Helper()
	k.progress(100)
	k.stop()
	k.running.Wait()
	for _, r := range k.recipient {
		r.fetch()
	}
	k.friends.check(k)
	for _, m := range k.ledger.sent {
		_, arrived := k.recipientOf(m.to).got[m.key()]
		switch {
		case m.state == accepted && !arrived && k.recipientOf(m.to).underway(m, k.kills):
			k.underway++
		case m.state == accepted && !arrived:
			k.Errorf("lost: %s, accepted at %s", m.key(), m.when.Format(time.StampMilli))
		case m.state == pending:
			k.Fatal("nobody knows of", m.key())
		}
	}
	for _, r := range k.recipient {
		for _, key := range r.overtaken {
			if r.kind == away {
				k.Errorf("out of order: %s", key)
			}
		}
	}
}

func (k *killTest) recipientOf(user string) *recipient {
	for _, r := range k.recipient {
		if r.user == user {
			return r
		}
	}
	k.Fatal("nobody is called", user)
	return nil
}

// report is what happened, to be read by people.
func (k *killTest) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s\n",
		"recipient", "accepted", "arrived", "returned", "arrived", "refused", "arrived", "unknown", "arrived", "again", "overtaken")
	for _, r := range k.recipient {
		var sent, arrived [states]int
		for _, m := range k.ledger.sent {
			if m.to != r.user {
				continue
			}
			sent[m.state]++
			if _, ok := r.got[m.key()]; ok {
				arrived[m.state]++
			}
		}
		fmt.Fprintf(&b, "%-10s", r.user)
		for _, s := range []state{accepted, returned, refused, unknown} {
			fmt.Fprintf(&b, " %9d %9d", sent[s], arrived[s])
		}
		fmt.Fprintf(&b, " %9d %9d\n", r.again, len(r.overtaken))
	}
	fmt.Fprintf(&b, "lost with a connection whose end chatd did not live to notice: %d\n", k.underway)
	fmt.Fprintf(&b, "friendships: %d acknowledged, %d broken off\n", len(k.friends.made), k.friends.broken)
	return b.String()
}
