package chatd_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"chatd/store/storetest/faultproxy"
	"chatd/store/storetest/mariadb"
)

// TestOutageOfMySQL: the database server is gone, by connections that are refused, and by ones that answer nothing.
func TestOutageOfMySQL(t *testing.T) {
	db := mariadb.Start(t)
	for name, cut := range map[string]func(*faultproxy.Proxy){"cut": (*faultproxy.Proxy).Cut, "stalled": (*faultproxy.Proxy).Stall} {
		t.Run(name, func(t *testing.T) {
			proxy := faultproxy.Start(t, db.Addr())
			api := freeAddress(t, "127.0.0.1")
			settings := steadySettings(api)
			settings["store.driver"] = `"mysql"`
			settings["store.dsn"] = strconv.Quote(mariadb.Via(t, db.Database(t), proxy.Addr()))
			srv := startServer(t, settings)
			outage(t, srv, api, func() { cut(proxy) }, proxy.Mend, false)
		})
	}
}

// TestMinuteWithoutMySQL is the story of a server that is killed and comes back a minute later. It is told only where
// kills are asked for.
func TestMinuteWithoutMySQL(t *testing.T) {
	if os.Getenv(killsVariable) == "" {
		t.Skip("SKIPPED: takes more than a minute; set", killsVariable)
	}
	t.Parallel()
	db := mariadb.Start(t)
	api := freeAddress(t, "127.0.0.1")
	settings := steadySettings(api)
	settings["store.driver"], settings["store.dsn"] = `"mysql"`, strconv.Quote(db.Database(t))
	var back time.Time
	outage(t, startServer(t, settings), api, func() {
		db.Kill()
		back = time.Now().Add(time.Minute)
	}, func() {
		time.Sleep(time.Until(back))
		db.Restart(t)
	}, false)
}

// TestLostAnswersOfMySQL: the database does what it is asked to, and the connection ends before it says so. Nobody is to notice.
func TestLostAnswersOfMySQL(t *testing.T) {
	t.Parallel()
	db := mariadb.Start(t)
	proxy := faultproxy.Start(t, db.Addr())
	settings := steadySettings(freeAddress(t, "127.0.0.1"))
	settings["store.driver"], settings["store.patience_seconds"] = `"mysql"`, "5"
	settings["store.dsn"] = strconv.Quote(mariadb.Via(t, db.Database(t), proxy.Addr()))
	o := &outageTest{T: t, srv: startServer(t, settings)}
	w := o.writeTo("absent")
	for range 20 {
		before, lost := w.count.Load(), proxy.Lost()
		proxy.LoseAnswer()
		settle(t, "no answer is lost", func() bool { return proxy.Lost() > lost })
		settle(t, "nothing is accepted", func() bool { return w.count.Load() >= before+5 })
	}
	w.end()
	if w.refusals > 0 {
		t.Errorf("%d messages came back", w.refusals)
	}
}
