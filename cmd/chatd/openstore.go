package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

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

// storeConflicts leaves files to checkFiles.
func (c *Config) storeConflicts(fail func(key, what string)) {
	if c.Store.Driver != "sqlite" && c.Store.DSN == "" {
		fail("store.driver", fmt.Sprintf("%q needs store.dsn", c.Store.Driver))
		return
	}
	if c.Store.Driver == "riak" {
		if _, err := riak.ParseNodes(c.Store.DSN); err != nil {
			fail("store.dsn", err.Error())
		}
	}
	switch c.Store.Driver {
	case "mysql":
		m := sqlstore.MySQL{DSN: c.Store.DSN, Connections: c.Store.Connections}
		if err := m.Check(); err != nil {
			fail("store.dsn", err.Error())
		}
	default:
		for key, set := range map[string]bool{
			"store.connections":   c.lines["store.connections"] != 0,
			"store.tls_ca_file":   c.Store.TLSCAFile != "",
			"store.tls_cert_file": c.Store.TLSCertFile != "",
			"store.tls_key_file":  c.Store.TLSKeyFile != "",
		} {
			if set {
				fail(key, fmt.Sprintf("has no effect where store.driver = %q", c.Store.Driver))
			}
		}
	}
}

// checkStoreFiles looks at the files that the keys of store name.
func (c *Config) checkStoreFiles() error {
	switch {
	case c.Store.Driver == "mysql":
		m := c.mysql()
		return m.Check()
	case c.Store.Driver == "riak":
		return nil
	case c.Store.DSN != "":
		_, err := os.Stat(filepath.Dir(beside(c.File, c.Store.DSN)))
		return err
	}
	return nil
}

func (c *Config) warnOfStore(log *slog.Logger) {
	m := c.mysql()
	if c.Store.Driver == "mysql" && m.Readable() {
		log.Warn("whoever is on the way to the database can read everything: use TLS", "key", "store.dsn")
	}
}
