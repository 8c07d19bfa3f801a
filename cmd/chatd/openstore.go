package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"chatd/store"
	"chatd/store/riak"
	"chatd/store/sqlstore"
)

// A database is an open store, and what main needs of it besides.
type database interface {
	store.Store
	// Waiting is how many changes are queued. Any goroutine may ask.
	Waiting() int
	// ChangedElsewhere reports whether another process may have removed accounts since the last call. One goroutine may call it.
	ChangedElsewhere(context.Context) (bool, error)
}

// openStore opens the configured store; the data's folder exists.
func openStore(ctx context.Context, cfg *Config, log *slog.Logger) (database, error) {
	switch cfg.Store.Driver {
	case "sqlite":
		return sqlstore.Open(ctx, sqlstore.Config{Path: databaseFile(cfg), Durability: cfg.Store.Durability, Log: log})
	case "mysql":
		m := cfg.mysql()
		m.Log = log
		return sqlstore.OpenMySQL(ctx, m)
	case "riak":
		nodes, err := riak.ParseNodes(cfg.Store.DSN)
		if err != nil {
			return nil, err
		}
		return riak.Open(ctx, riak.Config{Nodes: nodes, Log: log})
	}
	return nil, fmt.Errorf("store.driver = %q is not supported by this version", cfg.Store.Driver)
}

// mysql is what the keys of store say for that driver.
func (c *Config) mysql() sqlstore.MySQL {
	return sqlstore.MySQL{
		DSN: c.Store.DSN, Connections: c.Store.Connections,
		CAFile: c.Store.TLSCAFile, CertFile: c.Store.TLSCertFile, KeyFile: c.Store.TLSKeyFile,
	}
}

// storeConflicts leaves files to checkStoreFiles. No text has the DSN in it, which is a secret.
func (c *Config) storeConflicts(fail func(key, what string)) {
	if c.Store.Driver != "sqlite" && c.Store.DSN == "" {
		fail("store.driver", fmt.Sprintf("%q needs store.dsn", c.Store.Driver))
		return
	}
	var without []string // keys
	switch c.Store.Driver {
	case "sqlite":
		without = mysqlKeys
		if strings.Contains(c.Store.DSN, "@tcp(") || strings.Contains(c.Store.DSN, "@unix(") {
			fail("store.dsn", `is one of MySQL: it needs store.driver = "mysql"`)
		}
	case "mysql":
		without = []string{"store.durability"}
		m := sqlstore.MySQL{DSN: c.Store.DSN, Connections: c.Store.Connections}
		if err := m.Check(); err != nil {
			fail("store.dsn", err.Error())
		}
		switch cert, key := c.Store.TLSCertFile != "", c.Store.TLSKeyFile != ""; {
		case cert && !key:
			fail("store.tls_cert_file", "needs store.tls_key_file")
		case key && !cert:
			fail("store.tls_key_file", "needs store.tls_cert_file")
		}
	case "riak":
		without = append([]string{"store.durability"}, mysqlKeys...)
		if _, err := riak.ParseNodes(c.Store.DSN); err != nil {
			fail("store.dsn", "is not of the form host:port[,host:port]")
		}
	}
	for _, key := range without {
		if c.lines[key] != 0 {
			fail(key, fmt.Sprintf("has no effect where store.driver = %q", c.Store.Driver))
		}
	}
}

// mysqlKeys are those that other drivers have no use for.
var mysqlKeys = []string{"store.connections", "store.tls_ca_file", "store.tls_cert_file", "store.tls_key_file"}

// checkStoreFiles looks at the files that the keys of store name.
func (c *Config) checkStoreFiles(fail func(key, what string)) {
	switch c.Store.Driver {
	case "mysql":
		theirs, ours := c.mysql(), c.mysql()
		theirs.CertFile, theirs.KeyFile, ours.CAFile = "", "", ""
		if err := theirs.Check(); err != nil {
			fail("store.tls_ca_file", err.Error())
		}
		if err := ours.Check(); err != nil {
			fail("store.tls_cert_file", err.Error())
		}
	case "sqlite":
		if c.Store.DSN == "" {
			return
		}
		path := databaseFile(c)
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			fail("store.dsn", err.Error())
		} else if info, err := os.Stat(path); err == nil && info.IsDir() {
			fail("store.dsn", path+" is a directory")
		}
	}
}

func (c *Config) warnOfStore(log *slog.Logger) {
	m := c.mysql()
	if c.Store.Driver == "mysql" && m.Readable() {
		log.Warn("whoever is on the way to the database can read everything: use TLS", "key", "store.dsn")
	}
}
