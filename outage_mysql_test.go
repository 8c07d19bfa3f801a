package chatd_test

import (
	"strconv"
	"testing"

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
