package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"

	"chatd/store"
	"chatd/store/storetest"
	"chatd/store/storetest/mariadb"
)

func openDSN(t testing.TB, dsn string) *Store {
	t.Helper()
	s, err := OpenMySQL(t.Context(), MySQL{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestMySQL(t *testing.T) {
	server := mariadb.Start(t)
	storetest.Run(t, func(t *testing.T) store.Store { return openDSN(t, server.Database(t)) })
}

// TestMySQLTLSRequired: where a certificate is named, no DSN lets the connection fall back to plain text.
func TestMySQLTLSRequired(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, parameters := range []string{"", "?tls=false", "?tls=preferred", "?tls=skip-verify", "?allowFallbackToPlaintext=true"} {
		m := MySQL{DSN: "chatd:secret@tcp(db.chat.test:3306)/chatd" + parameters, CAFile: ca}
		cfg, err := m.config()
		if err != nil {
			t.Fatal(err)
		}
		if cfg.TLS == nil || cfg.TLS.InsecureSkipVerify || cfg.TLS.ServerName != "db.chat.test" || cfg.AllowFallbackToPlaintext || m.Readable() {
			t.Errorf("%q: plain text is possible", parameters)
		}
	}
}

// TestMySQLConnectFails: whatever the driver calls it, a connection that is not made leaves the database unreachable, unless the server
// has refused it or the caller has given up.
func TestMySQLConnectFails(t *testing.T) {
	given, giveUp := context.WithCancel(t.Context())
	giveUp()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		lost bool
	}{
		{"an error that the driver does not export", t.Context(), errors.New("bad connection"), true},
		{"refused by the server", t.Context(), &mysql.MySQLError{Number: 1045, Message: "Access denied"}, false},
		{"given up", given, context.Canceled, false},
	} {
		db := sql.OpenDB(reaching{failing{c.err}})
		err := db.PingContext(c.ctx)
		if !errors.Is(err, c.err) || isLost(err) != c.lost {
			t.Errorf("%s: %v, lost: %v", c.name, err, isLost(err))
		}
		db.Close()
	}
}

// A failing connector never connects.
type failing struct{ err error }

func (f failing) Connect(context.Context) (driver.Conn, error) { return nil, f.err }
func (f failing) Driver() driver.Driver                        { return mysql.MySQLDriver{} }
