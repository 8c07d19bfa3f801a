package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A dialer logs users in. It is fixed before use, but for its cache; any number of
// goroutines may use it.
type dialer struct {
	options
	source     net.Addr // nil: any
	tlsConfig  *tls.Config
	keys       saltedKeys
	keepRoster bool
	back       sync.Map // user to *returning
}

func newDialer(o options, process int) *dialer {
	d := &dialer{options: o}
	d.tlsConfig = &tls.Config{
		ServerName:         o.Domain,
		InsecureSkipVerify: o.Insecure, //nolint:gosec // asked for
		NextProtos:         nil,
		// The same exchange with every server, whatever the newest its library knows.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
	}
	if o.TLS == tlsDirect {
		d.tlsConfig.NextProtos = []string{"xmpp-client"} // XEP-0368
	}
	// Each process has its own loopback address, and so its own 28,000 ports.
	if host, _, err := net.SplitHostPort(o.Addr); err == nil && process > 0 {
		if ip := net.ParseIP(host).To4(); ip != nil && ip.IsLoopback() {
			d.source = &net.TCPAddr{IP: net.IPv4(127, 0, byte(process>>8), byte(process+1))}
		}
	}
	return d
}

// address is a user's bare JID.
func (d *dialer) address(user int) string { return fmt.Sprintf(d.UserFormat, user) + "@" + d.Domain }

func (d *dialer) connect(ctx context.Context, addr string) (*socket, error) {
	nd := net.Dialer{Timeout: d.Timeout, LocalAddr: d.source, KeepAlive: -1}
	c, err := nd.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(d.Timeout)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &socket{Conn: c, fd: -1}, nil
}

// login connects a user: registered if so asked, authenticated, bound, with roster
// and presence (RFC 6121 §2.2, §4.2). Its socket is not detached yet.
func (d *dialer) login(ctx context.Context, user int) (*session, error) {
	sock, err := d.connect(ctx, d.Addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { sock.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // then the deadline ends it
	s, err := d.negotiate(sock, user)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, sock.Close())
	}
	return s, nil
}

// logout ends a session that no loop has, and waits until the server has ended it
// too (RFC 6120 §4.4).
func (d *dialer) logout(s *session) error {
	defer s.socket.Close()
	if err := s.socket.SetDeadline(time.Now().Add(d.Timeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(s.stream, "</stream:stream>"); err != nil {
		return err
	}
	io.Copy(io.Discard, s.stream) //nolint:errcheck // a reset is an end as well
	return nil
}
