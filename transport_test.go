package chatd_test

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTransport logs in over every version of TLS that is served, in both ways,
// and over none that is not (RFC 7590 §3.1, RFC 8996).
func TestTransport(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	if err := srv.register("romeo", "secret"); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"starttls", "direct"} {
		for version, served := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			t.Run(kind+" "+tls.VersionName(version), func(t *testing.T) {
				c := srv.client(clientSpec{user: "romeo", domain: testDomain, password: "secret", mechanism: "SCRAM-SHA-256", tls: kind})
				c.version = version
				err := c.connect()
				if c.tcp != nil {
					defer c.tcp.Close()
				}
				if (err == nil) != served {
					t.Fatalf("connected: %v", err)
				}
				if served && kind == "direct" && c.tls.ConnectionState().NegotiatedProtocol != "xmpp-client" {
					t.Errorf("negotiated %q", c.tls.ConnectionState().NegotiatedProtocol) // XEP-0368 §3
				}
			})
		}
	}
}

// TestDirectTLSWithoutALPN: clients that know nothing of ALPN get in as well; those
// that ask for another protocol do not (XEP-0368 §3).
func TestDirectTLSWithoutALPN(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	for _, tt := range []struct {
		alpn []string
		ok   bool
	}{{nil, true}, {[]string{"xmpp-client"}, true}, {[]string{"http/1.1", "xmpp-client"}, true}, {[]string{"http/1.1"}, false}} {
		conn, err := tls.Dial("tcp", srv.direct, &tls.Config{InsecureSkipVerify: true, NextProtos: tt.alpn})
		if (err == nil) != tt.ok {
			t.Errorf("ALPN %v: %v", tt.alpn, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here")
	} else {
		l.Close()
	}
	srv := startServerOn(t, "::1", nil)
	if err := srv.login(t, "romeo", "x").ping(); err != nil {
		t.Error(err)
	}
}

// TestTLSOff: a server may be told to do without TLS on loopback; then SCRAM still
// logs in, and the password itself is never asked for (RFC 6120 §13.8.3).
func TestTLSOff(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"c2s.tls": `"off"`, "c2s.listen_tls": "[]"})
	c := srv.client(clientSpec{user: "romeo", domain: testDomain, resource: "x", password: "secret", mechanism: "SCRAM-SHA-256", tls: "none"})
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	defer c.tcp.Close()
	if c.features.child("starttls") != nil {
		t.Error("STARTTLS is offered")
	}
	for _, m := range c.offered() {
		if m == "PLAIN" {
			t.Error("PLAIN is offered")
		}
	}
	reply, err := c.request("<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>romeo</username><password>secret</password></query></iq>")
	if err != nil || reply.attr("type") != "result" {
		t.Fatalf("registration: %v, %v", reply, err)
	}
	if err := c.authenticate(); err != nil {
		t.Fatal(err)
	}
	if err := c.bind(); err != nil {
		t.Fatal(err)
	}
}

// TestTLSTickets: a TLS session is resumed over the other way to TLS, after a reload and after a restart, and
// not when the certificate has changed.
func TestTLSTickets(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	if err := srv.register("romeo", "secret"); err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		tickets := tls.NewLRUClientSessionCache(1)
		resumed := func(kind, mechanism string) bool {
			t.Helper()
			c := srv.client(clientSpec{user: "romeo", domain: testDomain, password: "secret", mechanism: mechanism, tls: kind})
			c.version, c.tickets = version, tickets
			if err := c.connect(); err != nil {
				t.Fatal(err)
			}
			defer c.tcp.Close()
			return c.tls.ConnectionState().DidResume
		}
		if resumed("starttls", "SCRAM-SHA-256") {
			t.Fatal("the first session is resumed")
		}
		for _, kind := range []string{"starttls", "direct", "starttls"} {
			if !resumed(kind, "SCRAM-SHA-256-PLUS") {
				t.Errorf("%s: not resumed", kind)
			}
		}
		if err := srv.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); !strings.Contains(srv.log.String(), "msg=reloaded"); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no reload")
			}
		}
		if !resumed("direct", "SCRAM-SHA-256") {
			t.Error("not resumed after a reload")
		}
		srv.restart(t)
		if !resumed("direct", "SCRAM-SHA-256") {
			t.Error("not resumed after a restart")
		}
		srv.stop(t)
		for _, name := range []string{"cert.pem", "key.pem"} {
			if err := os.Remove(filepath.Join(srv.dir, "data", name)); err != nil {
				t.Fatal(err)
			}
		}
		srv.start(t)
		if resumed("direct", "SCRAM-SHA-256") {
			t.Error("resumed with another certificate")
		}
		if !resumed("starttls", "SCRAM-SHA-256-PLUS") {
			t.Error("not resumed then")
		}
	}
}
