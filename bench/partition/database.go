package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/go-sql-driver/mysql"

	"chatd/store/storetest/mariadb"
)

// A database is a MariaDB on loopback, and a relay to it at an address that the nodes reach.
type database struct {
	server *mariadb.Server
	relay  net.Listener
	work   sync.WaitGroup
	addr   string
	count  int
}

func newDatabase(_ context.Context, dir, addr string) (*database, error) {
	server, err := mariadb.Run(dir)
	if err != nil {
		return nil, err
	}
	d := &database{server: server, addr: net.JoinHostPort(addr, databasePort)}
	if d.relay, err = net.Listen("tcp", d.addr); err != nil {
		server.Kill()
		return nil, err
	}
	d.work.Go(d.accept)
	return d, nil
}

func (d *database) accept() {
	for {
		conn, err := d.relay.Accept()
		if err != nil {
			return
		}
		go pass(conn, d.server.Addr()) // ends with the server
	}
}

// pass copies between a node and the server until one of them closes.
func pass(a net.Conn, addr string) {
	defer a.Close()
	b, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer b.Close()
	done := make(chan struct{}, 2)
	one := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src) // either end may go
		done <- struct{}{}
	}
	go one(a, b)
	go one(b, a)
	<-done
}

// create makes an empty database and returns its DSN for the nodes.
func (d *database) create(ctx context.Context) (string, error) {
	d.count++
	name := fmt.Sprintf("scenario%d", d.count)
	db, err := sql.Open("mysql", d.server.DSN(""))
	if err != nil {
		return "", err
	}
	_, err = db.ExecContext(ctx, "CREATE DATABASE "+name)
	if err = errors.Join(err, db.Close()); err != nil {
		return "", err
	}
	cfg, err := mysql.ParseDSN(d.server.DSN(name))
	if err != nil {
		return "", err
	}
	cfg.Addr = d.addr
	return cfg.FormatDSN(), nil
}

func (d *database) close() {
	d.relay.Close()
	d.work.Wait()
	d.server.Kill()
}
