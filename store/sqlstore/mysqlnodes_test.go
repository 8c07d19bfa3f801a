package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"chatd/store"
	"chatd/store/storetest/faultproxy"
	"chatd/store/storetest/mariadb"
)

// TestMySQLNodes: two nodes write what belongs to the same users at once. What each was told holds for both.
func TestMySQLNodes(t *testing.T) {
	server := mariadb.Start(t)
	dsn := server.Database(t)
	nodes := []*Store{openDSN(t, dsn), openDSN(t, dsn)}
	const each = 60
	ctx := t.Context()
	var wg sync.WaitGroup
	var made, refused sync.Map
	for n, s := range nodes {
		for w := range 4 {
			wg.Go(func() {
				last := int64(0)
				for i := range each {
					user := fmt.Sprint("user", i%3)
					seq, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{Stanza: fmt.Appendf(nil, "%d %d %d", n, w, i)}, 0)
					if err != nil || seq <= last {
						t.Errorf("seq %d after %d: %v", seq, last, err)
					}
					last = seq
					// All of them count in one note, in one item's name and in one element of private XML.
					count := func(notes []store.Note) ([]store.Note, error) {
						if len(notes) == 0 {
							notes = []store.Note{{JID: "n@x"}}
						}
						notes[0].Text += "x"
						return notes, nil
					}
					if err := s.UpdateNotes(ctx, user, count); err != nil {
						t.Error(err)
					}
					if _, err := s.UpdateItem(ctx, user, "bob@x", 1, func(item *store.RosterItem, _ bool) (store.Verdict, error) {
						item.Name += "x"
						return store.Keep, nil
					}); err != nil {
						t.Error(err)
					}
					// One of them makes the account.
					account := fmt.Sprint("account", i)
					switch err := s.CreateAccount(ctx, store.Account{User: account}); {
					case err == nil:
						if _, twice := made.LoadOrStore(account, true); twice {
							t.Errorf("%s was made twice", account)
						}
					case err != store.ErrExists:
						t.Error(err)
					}
					// Ten find room.
					if err := s.Block(ctx, "list", []string{fmt.Sprint(n, w, i, "@x")}, 10); err != nil && err != store.ErrFull {
						t.Error(err)
					} else if err != nil {
						refused.Store(fmt.Sprint(n, w, i), true)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, s := range nodes {
		expectInOrder(t, s, "anna", len(nodes)*4*each)
		for _, user := range []string{"user0", "user1", "user2"} {
			notes, err := s.Notes(ctx, user)
			if want := len(nodes) * 4 * each / 3; err != nil || len(notes) != 1 || len(notes[0].Text) != want {
				t.Errorf("notes of %s: %v %v, want %d", user, notes, err, want)
			}
			r, err := s.Roster(ctx, user)
			if want := len(nodes) * 4 * each / 3; err != nil || len(r.Items) != 1 || len(r.Items[0].Name) != want {
				t.Errorf("roster of %s: %v %v, want %d", user, r, err, want)
			}
		}
		if b, err := s.Blocklist(ctx, "list"); err != nil || len(b) != 10 {
			t.Errorf("%d blocked, %v", len(b), err)
		}
	}
}

// expectInOrder: each writer's messages are there once and in its order.
func expectInOrder(t *testing.T, s *Store, user string, count int) {
	t.Helper()
	page, err := s.OfflinePage(t.Context(), user, 0, 2*count)
	if n, errCount := s.CountOffline(t.Context(), user); err != nil || errCount != nil || len(page) != count || n != count {
		t.Fatalf("%d messages, counted %d, want %d: %v %v", len(page), n, count, err, errCount)
	}
	next := make(map[[2]int]int)
	for _, m := range page {
		var n, w, i int
		if _, err := fmt.Sscan(string(m.Stanza), &n, &w, &i); err != nil || next[[2]int{n, w}] != i {
			t.Fatalf("%q, want %d of it: %v", m.Stanza, next[[2]int{n, w}], err)
		}
		next[[2]int{n, w}]++
	}
}

// TestMySQLHandOver: one node appends while the other hands over and removes.
func TestMySQLHandOver(t *testing.T) {
	server := mariadb.Start(t)
	dsn := server.Database(t)
	from, to := openDSN(t, dsn), openDSN(t, dsn)
	const users, each = 4, 150
	var wg sync.WaitGroup
	for u := range users {
		user := fmt.Sprint("user", u)
		wg.Go(func() {
			for i := range each {
				if err := from.appendText(t.Context(), user, fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for next := 0; next < each && !t.Failed(); {
				page, err := to.OfflinePage(t.Context(), user, 0, 20)
				if err != nil {
					t.Error(err)
					return
				}
				var seqs []int64
				for _, m := range page {
					if string(m.Stanza) != fmt.Sprint(next) {
						t.Errorf("got %s, want %d", m.Stanza, next)
					}
					next++
					seqs = append(seqs, m.Seq)
				}
				if err := to.RemoveOffline(t.Context(), user, seqs); err != nil {
					t.Error(err)
				}
			}
			if n, err := to.CountOffline(t.Context(), user); n != 0 || err != nil {
				t.Errorf("%d wait, %v", n, err)
			}
		})
	}
	wg.Wait()
}

// TestMySQLOpenTogether: several nodes start at once on an empty database.
func TestMySQLOpenTogether(t *testing.T) {
	dsn := mariadb.Start(t).Database(t)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			s, err := OpenMySQL(t.Context(), MySQL{DSN: dsn, Connections: 2})
			if err != nil {
				t.Error(err)
				return
			}
			err = errors.Join(s.appendText(t.Context(), "anna", fmt.Sprint(i)), s.Close())
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n, err := openDSN(t, dsn).CountOffline(t.Context(), "anna"); n != 6 || err != nil {
		t.Errorf("count %d %v", n, err)
	}
}

// TestMySQLMigrationInterrupted: a node dies before or after any of the statements of a migration, and the next one goes on.
func TestMySQLMigrationInterrupted(t *testing.T) {
	server := mariadb.Start(t)
	files, err := migrationFiles()
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	for _, file := range files {
		text, err := migrations.ReadFile(file.name)
		if err != nil {
			t.Fatal(err)
		}
		steps += len(splitStatements(string(text)))
	}
	if steps < 15 {
		t.Fatalf("only %d statements", steps)
	}
	want := ""
	for stop := range 2 * steps {
		dsn := server.Database(t)
		db := mariadb.Open(t, dsn)
		migrateUntil(t, db, files, stop/2, stop%2 == 1)
		if err := openDSN(t, dsn).Close(); err != nil {
			t.Fatal(err)
		}
		got := schemaOf(t, db)
		if want == "" {
			want = got
		}
		if got != want {
			t.Fatalf("stopped at %d of %d, the schema is\n%s\nwant\n%s", stop, 2*steps, got, want)
		}
	}
}

// migrateUntil applies some statements; half: and one more, which it takes no note of.
func migrateUntil(t *testing.T, db *sql.DB, files []migration, statements int, half bool) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	at, err := readProgress(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := migrations.ReadFile(file.name)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range splitStatements(mysqlDialect.words.Replace(string(text))) {
			if statements == 0 {
				if half {
					at.begun = true
					if err := errors.Join(at.write(t.Context(), conn), run(t.Context(), conn, statement)); err != nil {
						t.Fatal(err)
					}
				}
				return
			}
			if err := at.runStep(t.Context(), conn, statement); err != nil {
				t.Fatal(err)
			}
			statements--
		}
		at = progress{version: file.version}
		if err := at.write(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	}
}

// schemaOf is all tables and columns.
func schemaOf(t *testing.T, db *sql.DB) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT CONCAT_WS(' ', table_name, ordinal_position, column_name, column_type, is_nullable, column_key)
		FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		all = append(all, line)
	}
	if err := rows.Err(); err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	return strings.Join(all, "\n")
}

// TestMySQLOpenFails: a database that is not chatd's, or of a later version, is left alone.
func TestMySQLOpenFails(t *testing.T) {
	server := mariadb.Start(t)
	foreign := server.Database(t)
	if _, err := mariadb.Open(t, foreign).ExecContext(t.Context(), "CREATE TABLE account (id BIGINT)"); err != nil {
		t.Fatal(err)
	}
	newer := server.Database(t)
	if err := openDSN(t, newer).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := mariadb.Open(t, newer).ExecContext(t.Context(), "UPDATE schema_version SET version = 9999"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ dsn, want string }{
		{foreign, "already exists"},
		{foreign, "already exists"}, // as before: nothing was taken for done
		{newer, "schema version 9999 is newer than the newest that this program knows"},
	} {
		_, err := OpenMySQL(t.Context(), MySQL{DSN: test.dsn})
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), mariadb.Password) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
}

// TestMySQLHalfOpen: the server has not noticed that a connection is gone in which names are locked.
func TestMySQLHalfOpen(t *testing.T) {
	server := mariadb.Start(t)
	dsn := server.Database(t)
	proxy := faultproxy.Start(t, server.Addr())
	stuck, other := openDSN(t, mariadb.Via(t, dsn, proxy.Addr())), openDSN(t, dsn)
	for _, s := range []*Store{stuck, other} {
		if err := s.SetVCard(t.Context(), "anna", []byte("<a/>")); err != nil {
			t.Fatal(err)
		}
	}
	inside := make(chan struct{})
	left := make(chan error)
	go func() {
		left <- stuck.write(context.Background(), "anna", func(tx *tx) error {
			select {
			case <-inside: // tried again
			default:
				proxy.Stall()
				close(inside)
			}
			_, err := tx.exec("REPLACE INTO vcard (user, xml) VALUES ('anna', '<b/>')")
			return err
		})
	}()
	<-inside
	// Others get along without anna, and with her when the server has given the silent one up, which they wait for.
	if err := other.SetVCard(t.Context(), "bob", []byte("<c/>")); err != nil {
		t.Error(err)
	}
	if err := other.SetVCard(t.Context(), "anna", []byte("<c/>")); err != nil {
		t.Fatal(err)
	}
	proxy.Mend()
	if err := <-left; err != nil {
		t.Error(err)
	}
	if xml, err := other.VCard(t.Context(), "anna"); err != nil || string(xml) != "<b/>" {
		t.Errorf("%s %v", xml, err)
	}
}

// TestMySQLChangedElsewhere: accounts that another node or command removes are noticed, and nothing else.
func TestMySQLChangedElsewhere(t *testing.T) {
	dsn := mariadb.Start(t).Database(t)
	s, other := openDSN(t, dsn), openDSN(t, dsn)
	ctx := t.Context()
	expect := func(want bool) {
		t.Helper()
		if changed, err := s.ChangedElsewhere(ctx); changed != want || err != nil {
			t.Errorf("changed %v %v, want %v", changed, err, want)
		}
	}
	for _, err := range []error{
		other.CreateAccount(ctx, store.Account{User: "anna"}), s.CreateAccount(ctx, store.Account{User: "bob"}), s.DeleteAccount(ctx, "bob"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	expect(false)
	if err := other.DeleteAccount(ctx, "anna"); err != nil {
		t.Fatal(err)
	}
	expect(true)
	expect(false)
}

// TestMySQLUndo: what a write of a batch has changed before it failed is undone, and its neighbours' is kept.
func TestMySQLUndo(t *testing.T) {
	s, err := OpenMySQL(t.Context(), MySQL{DSN: mariadb.Start(t).Database(t), Connections: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mine := errors.New("mine")
	errs := together(t, s,
		func() error { return s.appendText(t.Context(), "anna", "a") },
		func() error { return s.Block(t.Context(), "anna", []string{"a@x", "b@x"}, 1) },
		func() error { return s.appendText(t.Context(), "anna", "b") },
		s.appendThen("half", func(*tx) error { return mine }),
		func() error { return s.appendText(t.Context(), "bob", strings.Repeat("x", 20<<20)) }, // more than max_allowed_packet
		func() error { return s.appendText(t.Context(), "anna", "c") },
	)
	if errs[0] != nil || errs[2] != nil || errs[5] != nil || errs[1] != store.ErrFull || !errors.Is(errs[3], mine) || errs[4] == nil {
		t.Errorf("answers %v", errs)
	}
	expectWaiting(t, s, "anna", "a", "b", "c")
	expectWaiting(t, s, "bob")
	if b, err := s.Blocklist(t.Context(), "anna"); err != nil || len(b) != 0 {
		t.Errorf("blocked %q %v", b, err)
	}
}
