package mariadb

import (
	"testing"
)

// TestKill: what was committed is there after the server was killed.
func TestKill(t *testing.T) {
	s := Start(t)
	db := Open(t, s.Database(t))
	for _, text := range []string{"CREATE TABLE a (n BIGINT) ENGINE=InnoDB", "INSERT INTO a VALUES (7)"} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	addr := s.Addr()
	s.Kill()
	if err := db.PingContext(t.Context()); err == nil {
		t.Fatal("a killed server answers")
	}
	s.Restart(t)
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT n FROM a").Scan(&n); err != nil || n != 7 || s.Addr() != addr {
		t.Fatalf("read %d %v from %s, was at %s", n, err, s.Addr(), addr)
	}
}

func TestTLS(t *testing.T) {
	certs := NewCertificates(t)
	s := Start(t, certs.Options()...)
	if err := Open(t, s.DSN("")).PingContext(t.Context()); err == nil {
		t.Error("a connection without TLS is let in")
	}
	if err := Open(t, s.DSN("")+"?tls=skip-verify").PingContext(t.Context()); err != nil {
		t.Error("with TLS:", err)
	}
}
