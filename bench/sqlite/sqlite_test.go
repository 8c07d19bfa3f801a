package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// A driver is one to measure.
type driver struct {
	label      string
	registered string
	reading    string // parameters of a connection that reads
}

// A database has one connection that writes and several that read, as in store/sqlstore.
type database struct {
	b      *testing.B
	writes *sql.Conn
	stmts  map[string]*sql.Stmt
	reads  *sql.DB
}

func eachDriver(b *testing.B, run func(b *testing.B, db *database)) {
	for _, d := range drivers {
		b.Run("driver="+d.label, func(b *testing.B) { run(b, open(b, d)) })
	}
}

func open(b *testing.B, d driver) *database {
	b.Helper()
	file := "file:" + filepath.Join(b.TempDir(), "bench.db")
	writes, err := sql.Open(d.registered, file)
	if err != nil {
		b.Fatal(err)
	}
	conn, err := writes.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	reads, err := sql.Open(d.registered, file+d.reading)
	if err != nil {
		b.Fatal(err)
	}
	reads.SetMaxOpenConns(8)
	reads.SetMaxIdleConns(8)
	db := &database{b: b, writes: conn, stmts: make(map[string]*sql.Stmt), reads: reads}
	b.Cleanup(func() {
		reads.Close()
		conn.Close()
		writes.Close()
	})
	for _, text := range []string{"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"} {
		db.script(text)
	}
	migrations, err := filepath.Glob("../../store/sqlstore/migrations/*.sql")
	if err != nil || len(migrations) == 0 {
		b.Fatal("no migrations", err)
	}
	words := strings.NewReplacer("{localpart}", "TEXT", "{jid}", "TEXT", "{digest}", "BLOB", "{text}", "TEXT", "{bytes}", "BLOB",
		"{int}", "INTEGER", "{keyed}", "STRICT, WITHOUT ROWID", "{heap}", "STRICT")
	for _, file := range migrations {
		text, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		db.script(words.Replace(string(text)))
	}
	var synchronous int
	if err := conn.QueryRowContext(b.Context(), "PRAGMA synchronous").Scan(&synchronous); err != nil || synchronous != 2 {
		b.Fatal("not durable:", synchronous, err)
	}
	return db
}

func (db *database) script(text string) {
	db.b.Helper()
	if _, err := db.writes.ExecContext(context.Background(), text); err != nil {
		db.b.Fatal(err)
	}
}

func (db *database) prepared(text string) *sql.Stmt {
	stmt := db.stmts[text]
	if stmt == nil {
		var err error
		if stmt, err = db.writes.PrepareContext(context.Background(), text); err != nil {
			panic(err)
		}
		db.stmts[text] = stmt
	}
	return stmt
}

// exec runs on the goroutine that writes.
func (db *database) exec(text string, args ...any) int64 {
	result, err := db.prepared(text).ExecContext(context.Background(), args...)
	if err != nil {
		panic(err)
	}
	n, _ := result.RowsAffected()
	return n
}

// append is one message in the transaction that is open.
func (db *database) append(user string, stanza []byte) {
	db.exec("SAVEPOINT one")
	if db.exec("UPDATE offline_queue SET last_seq = last_seq + 1, waiting = waiting + 1 WHERE user = ? AND waiting < ?", user, 1000000) == 0 {
		db.exec("INSERT INTO offline_queue (user, last_seq, waiting) VALUES (?, 1, 1)", user)
	}
	var seq int64
	if err := db.prepared("SELECT last_seq FROM offline_queue WHERE user = ?").QueryRowContext(context.Background(), user).Scan(&seq); err != nil {
		panic(err)
	}
	db.exec("INSERT INTO offline_message (user, seq, stored, stanza, id) VALUES (?, ?, ?, ?, ?)", user, seq, int64(1700000000000), stanza, "GwIF2C1b0ojrrnwjyBxQ")
	db.exec("RELEASE one")
}

var stanza = fmt.Appendf(nil, "<message from='anna@chat.test/phone' to='bob@chat.test' type='chat' id='%032d'><body>%0128d</body></message>", 1, 2)

// cpu is what the process has spent, in nanoseconds: on a machine with other work it says more than the time that went by.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkAppend has 256 writers wait for messages of 250 bytes that one goroutine commits together.
func BenchmarkAppend(b *testing.B) {
	const writers = 256
	eachDriver(b, func(b *testing.B, db *database) {
		type job struct {
			user string
			done chan struct{}
		}
		jobs := make(chan job, 1024)
		go func() {
			batch := make([]job, 0, 512)
			for first := range jobs {
				batch = append(batch[:0], first)
				for len(batch) < 512 && len(jobs) > 0 {
					batch = append(batch, <-jobs)
				}
				db.exec("BEGIN IMMEDIATE")
				for _, j := range batch {
					db.append(j.user, stanza)
				}
				db.exec("COMMIT")
				for _, j := range batch {
					j.done <- struct{}{}
				}
			}
		}()
		var next atomic.Int64
		var wg sync.WaitGroup
		b.ReportAllocs()
		b.ResetTimer()
		before := cpu(b)
		for range writers {
			wg.Go(func() {
				done := make(chan struct{}, 1)
				for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
					jobs <- job{fmt.Sprintf("user%d", i*7919%10000), done}
					<-done
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		close(jobs)
		b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	})
}

// BenchmarkPage50 reads 50 messages from the middle of 10,000.
func BenchmarkPage50(b *testing.B) {
	eachDriver(b, func(b *testing.B, db *database) {
		db.exec("BEGIN IMMEDIATE")
		for range 10000 {
			db.append("anna", stanza)
		}
		db.exec("COMMIT")
		read(b, db, 50, "SELECT seq, stored, stanza, id FROM offline_message WHERE user = ? AND seq > ? ORDER BY seq LIMIT ?", []any{"anna", 5000, 50},
			func() []any { return []any{new(int64), new(int64), new([]byte), new(sql.NullString)} })
	})
}

// BenchmarkRoster300 reads a friends list.
func BenchmarkRoster300(b *testing.B) {
	eachDriver(b, func(b *testing.B, db *database) {
		db.exec("BEGIN IMMEDIATE")
		db.exec("INSERT INTO roster (user, version) VALUES ('anna', 1)")
		for i := range 300 {
			db.exec(`INSERT INTO roster_item (user, digest, contact, name, in_groups, sub, flags, request, message, created)
				VALUES ('anna', ?, ?, 'A friend', ?, 3, 0, NULL, '', 1700000000)`, fmt.Appendf(nil, "%016d", i*7919%300), fmt.Sprintf("friend%d@chat.test", i), []byte("7:Friends"))
		}
		db.exec("COMMIT")
		read(b, db, 300, `SELECT r.version, i.contact, i.name, i.in_groups, i.sub, i.flags, i.request, i.message, i.created
			FROM roster r LEFT JOIN roster_item i ON i.user = r.user WHERE r.user = ?`, []any{"anna"},
			func() []any {
				return []any{new(int64), new(sql.NullString), new(sql.NullString), new([]byte), new(sql.NullInt64), new(sql.NullInt64), new([]byte),
					new(sql.NullString), new(sql.NullInt64)}
			})
	})
}

// read measures one question of which the answer has so many rows.
func read(b *testing.B, db *database, rows int, text string, args []any, row func() []any) {
	stmt, err := db.reads.PrepareContext(b.Context(), text)
	if err != nil {
		b.Fatal(err)
	}
	defer stmt.Close()
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		found, n := row(), 0
		result, err := stmt.QueryContext(context.Background(), args...)
		if err != nil {
			b.Fatal(err)
		}
		for result.Next() {
			if err := result.Scan(found...); err != nil {
				b.Fatal(err)
			}
			n++
		}
		if err := result.Err(); err != nil || n != rows {
			b.Fatal(n, err)
		}
		result.Close()
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}
