package main

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatd/store/storetest/mariadb"
)

// mysqlConfig makes a configuration whose store is a database of the server. The DSN is in a file beside it.
func mysqlConfig(t *testing.T, dsn string, certs *mariadb.Certificates) (file string) {
	t.Helper()
	file = testConfig(t, "[store]\ndriver = \"mysql\"\ndsn = \"file:dsn\"\nconnections = 4\ntls_ca_file = \""+certs.CA+"\"\n")
	write(t, filepath.Join(filepath.Dir(file), "dsn"), dsn+"\n")
	return file
}

// TestMySQL: accounts are made and removed by commands, here or on another machine, and a server on the same database heeds it.
func TestMySQL(t *testing.T) {
	certs := mariadb.NewCertificates(t)
	server := mariadb.Start(t, certs.Options()...)
	dsn := server.Database(t) + "?tls=true"
	config, elsewhere := mysqlConfig(t, dsn, certs), mysqlConfig(t, dsn, certs)
	for _, c := range []struct{ config, args, output string }{
		{config, "check", "ok"},
		{config, "user add -password secret juliet", "juliet@chat.test: added"},
		{elsewhere, "user list", "juliet@chat.test"},
		{elsewhere, "user add -password secret juliet", "juliet@chat.test exists already"},
	} {
		if _, stdout, stderr := call(t, "", append(strings.Fields(c.args), "-config", c.config)...); !strings.Contains(stdout+stderr, c.output) {
			t.Fatalf("%s: %s%s", c.args, stdout, stderr)
		}
	}
	i := startServe(t, config)
	if status, body := i.get("/readyz", ""); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}
	conn := i.plainLogin("juliet", "secret")
	if code, _, stderr := call(t, "", "user", "remove", "juliet", "-config", elsewhere); code != exitOK {
		t.Fatal(stderr)
	}
	readUntil(t, conn, "<not-authorized")
}

// plainLogin is one session, bound.
func (i *instance) plainLogin(user, password string) *tls.Conn {
	i.t.Helper()
	conn, err := tls.Dial("tcp", i.addr["directtls"], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	openStream(i.t, conn)
	fmt.Fprintf(conn, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>",
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	readUntil(i.t, conn, "<success")
	openStream(i.t, conn)
	fmt.Fprint(conn, "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	readUntil(i.t, conn, "</iq>")
	return conn
}

// TestMySQLRefused: whatever is wrong is said in one line, without the password.
func TestMySQLRefused(t *testing.T) {
	certs := mariadb.NewCertificates(t)
	server := mariadb.Start(t, certs.Options()...)
	dsn := server.Database(t)
	for _, test := range []struct{ name, dsn, ca, want string }{
		{"wrong password", strings.Replace(dsn, mariadb.Password, "wrong secret", 1), certs.CA, "Access denied"},
		{"no such database", server.DSN("none"), certs.CA, "Unknown database 'none'"},
		{"nobody there", mariadb.Via(t, dsn, "127.0.0.1:1"), certs.CA, "connection refused"},
		{"another's certificate", dsn, certs.Other, "certificate signed by unknown authority"},
	} {
		t.Run(test.name, func(t *testing.T) {
			certs := &mariadb.Certificates{CA: test.ca}
			code, _, stderr := call(t, "", "serve", "-config", mysqlConfig(t, test.dsn, certs))
			if lines := strings.Count(stderr, "\n"); code != exitFailed || !strings.Contains(stderr, test.want) || strings.Contains(stderr, "secret") || lines != 1 {
				t.Errorf("code %d, %q", code, stderr)
			}
		})
	}
}

// TestMySQLCheck: what can be known without the server is known to chatd check.
func TestMySQLCheck(t *testing.T) {
	certs := mariadb.NewCertificates(t)
	if err := os.WriteFile(certs.CA, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := call(t, "", "check", "-config", mysqlConfig(t, "chatd:secret@tcp(127.0.0.1:3306)/chatd", certs))
	if code != exitFailed || !strings.Contains(stderr, "has no certificate in PEM") || strings.Contains(stderr, "secret") {
		t.Errorf("code %d, %q", code, stderr)
	}
}
