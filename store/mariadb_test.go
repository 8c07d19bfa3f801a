package store_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"chatd/store/storetest/mariadb"
)

// BenchmarkMariaDBDirect is what the server can do: the rows of BenchmarkAppendOffline and nothing else, as many in one statement and
// one commit as 256 writers can have ready, shared by some connections.
func BenchmarkMariaDBDirect(b *testing.B) {
	for _, connections := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) { insertDirectly(b, connections, 256/connections) })
	}
}

func insertDirectly(b *testing.B, connections, rows int) {
	server := mariadb.Start(b, mariadb.Durable)
	db := mariadb.Open(b, server.Database(b)+"?interpolateParams=true&collation=binary")
	db.SetMaxIdleConns(connections)
	_, err := db.ExecContext(b.Context(), `CREATE TABLE message (user VARBINARY(1023) NOT NULL, seq BIGINT NOT NULL, stored BIGINT NOT NULL,
		stanza LONGBLOB NOT NULL, PRIMARY KEY (user, seq)) ENGINE=InnoDB`)
	if err != nil {
		b.Fatal(err)
	}
	text := "INSERT INTO message (user, seq, stored, stanza) VALUES " + strings.Repeat("(?,?,?,?),", rows-1) + "(?,?,?,?)"
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range connections {
		wg.Go(func() {
			for {
				first := next.Add(int64(rows)) - int64(rows)
				if first >= int64(b.N) {
					return
				}
				var args []any
				for i := first; i < first+int64(rows); i++ {
					args = append(args, fmt.Sprintf("user%d", i*7919%10000), i, message.Stored.UnixMilli(), message.Stanza)
				}
				if _, err := db.ExecContext(b.Context(), text, args...); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}
