package sqlstore

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// MySQL says where a database of MySQL or MariaDB is. The zero values of all but DSN are usable.
type MySQL struct {
	// DSN is github.com/go-sql-driver/mysql's, as in name:password@tcp(host:3306)/database?tls=true. The database has to be there.
	DSN string
	// CAFile has the certificates, in PEM, by which the server's is verified, in place of the system's. CertFile and KeyFile are what this
	// client shows. Any of them makes TLS required.
	CAFile, CertFile, KeyFile string
	// Connections is how many there are at most, at least 2; one in eight writes, and one at least. 0: 16.
	Connections int
	Log         *slog.Logger
}

const (
	defaultConnections = 16
	dialTime           = 3 * time.Second  // to connect
	answerTime         = 10 * time.Second // for one statement
	connectionLife     = time.Hour        // then it is made anew, perhaps to where the name points to now
	idleLife           = 5 * time.Minute
	// forgetWriters is after how long nothing can be left of a writer that was not closed.
	forgetWriters = 7 * 24 * time.Hour
)

// Check reports what is wrong with it as far as that shows without the server. No password is in the error.
func (m *MySQL) Check() error {
	_, err := m.config()
	return err
}

// Readable reports whether what is sent can be read by others on the way: it leaves the machine, and not by TLS.
func (m *MySQL) Readable() bool {
	cfg, err := m.config()
	if err != nil || cfg.TLS != nil && !cfg.AllowFallbackToPlaintext || cfg.Net == "unix" {
		return false
	}
	host, _, err := net.SplitHostPort(cfg.Addr)
	ip := net.ParseIP(host)
	return err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// config is what the driver is told: what this package rests on is not left to the DSN.
func (m *MySQL) config() (*mysql.Config, error) {
	cfg, err := mysql.ParseDSN(m.DSN)
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "invalid DSN"):
		return nil, err
	case err != nil || cfg.Net != "tcp" && cfg.Net != "unix":
		// What the driver says, or takes for a network, may be a part of the password.
		return nil, errors.New("not of the form name:password@tcp(host:port)/database?name=value, or with a value that the driver does not know")
	case cfg.DBName == "":
		return nil, errors.New("no database named: it ends in /database")
	case m.Connections == 1 || m.Connections < 0:
		return nil, fmt.Errorf("%d connections are not enough: one writes, others read", m.Connections)
	}
	if m.CAFile != "" || m.CertFile != "" || m.KeyFile != "" {
		if cfg.TLS, err = m.tls(cfg.Addr); err != nil {
			return nil, err
		}
		cfg.AllowFallbackToPlaintext = false
	}
	cfg.ParseTime, cfg.MultiStatements, cfg.AllowAllFiles, cfg.ColumnsWithAlias = false, false, false, false
	cfg.ClientFoundRows = true   // an UPDATE counts as in SQLite
	cfg.InterpolateParams = true // one round trip for a statement
	cfg.RejectReadOnly = true    // a server that is no longer the primary is left
	cfg.CheckConnLiveness = true
	cfg.MaxAllowedPacket = 0 // the server is asked; what is larger costs its own write, and not the connection
	cfg.Collation = "binary"
	cfg.Logger = &mysql.NopLogger{} // each fault comes back as an error
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = orTime(cfg.Timeout, dialTime), orTime(cfg.ReadTimeout, answerTime), orTime(cfg.WriteTimeout, answerTime)
	if cfg.Params == nil {
		cfg.Params = make(map[string]string)
	}
	delete(cfg.Params, "charset")
	cfg.Params["sql_mode"] = "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
	return cfg, nil
}

func orTime(t, or time.Duration) time.Duration {
	if t > 0 {
		return t
	}
	return or
}

// tls is what the files say, whatever the DSN does.
func (m *MySQL) tls(addr string) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("TLS needs a host: %w", err)
	}
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if m.CAFile != "" {
		pem, err := os.ReadFile(m.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate in PEM", m.CAFile)
		}
	}
	if m.CertFile != "" || m.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(m.CertFile, m.KeyFile)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// OpenMySQL opens a database of MySQL or MariaDB and brings its schema up to date. It waits for other nodes that do
// the same.
func OpenMySQL(ctx context.Context, m MySQL) (*Store, error) {
	cfg, err := m.config()
	if err != nil {
		return nil, fmt.Errorf("sqlstore: mysql: %w", err)
	}
	s, err := openMySQL(ctx, cfg, m)
	if err != nil {
		return nil, fmt.Errorf("sqlstore: open %s at %s: %w", cfg.DBName, cfg.Addr, wrap(err))
	}
	return s, nil
}

func openMySQL(ctx context.Context, cfg *mysql.Config, m MySQL) (*Store, error) {
	if m.Log == nil {
		m.Log = slog.New(slog.DiscardHandler)
	}
	if m.Connections == 0 {
		m.Connections = defaultConnections
	}
	maria, err := prepareMySQL(ctx, cfg, m.Log)
	if err != nil {
		return nil, err
	}
	// More of them would make the batches smaller, and each costs the server the same.
	writing := max(1, m.Connections/8)
	reads, err := openPool(cfg, m.Connections-writing)
	if err != nil {
		return nil, err
	}
	cfg = cfg.Clone()
	cfg.Params["autocommit"] = "0"
	cfg.Params["innodb_lock_wait_timeout"] = "2"
	if maria {
		// Else what a node had locked that nobody hears of any more stays so until TCP gives it up.
		cfg.Params["idle_transaction_timeout"] = "2" // less than batchPatience, so that others do not fail for it
	}
	writes, err := openPool(cfg, writing)
	if err != nil {
		return nil, errors.Join(err, reads.Close())
	}
	s := &Store{dialect: &mysqlDialect, reads: reads, seed: maphash.MakeSeed()}
	for range writing {
		b := &mysqlBatches{db: writes, id: make([]byte, 16), tx: tx{returning: maria}}
		rand.Read(b.id)
		s.writers = append(s.writers, startWriter(b))
	}
	s.version = s.accountChanges
	s.close = sync.OnceValue(func() (err error) {
		var wg sync.WaitGroup
		errs := make([]error, len(s.writers))
		for i, w := range s.writers {
			wg.Go(func() { errs[i] = w.stop() })
		}
		wg.Wait()
		return errors.Join(append(errs, writes.Close(), reads.Close())...)
	})
	if _, err := s.ChangedElsewhere(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// accountChanges is how many changes of accounts there were by others.
func (s *Store) accountChanges(ctx context.Context) (n int64, err error) {
	own := s.ownChanges.Load()
	err = s.queryRow(ctx, []any{&n}, "SELECT number FROM account_changes")
	return n - own, err
}

// openPool opens nothing yet.
func openPool(cfg *mysql.Config, connections int) (*sql.DB, error) {
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(reaching{connector})
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxLifetime(connectionLife)
	db.SetConnMaxIdleTime(idleLife)
	return db, nil
}

// reaching marks what comes of connecting as errConnect: the driver has errors of its own for connections that break before they are made.
type reaching struct{ driver.Connector }

func (r reaching) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := r.Connector.Connect(ctx)
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%w: %w", errConnect, err)
	}
	return conn, err
}
