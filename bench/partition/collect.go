package main

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// enterNode connects to a node and logs in there.
func (c *client) enterNode(ctx context.Context, n *node) (net.Conn, *stream, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: answerTime}, Config: &tls.Config{InsecureSkipVerify: true, ServerName: domain, NextProtos: []string{"xmpp-client"}}}
	conn, err := d.DialContext(ctx, "tcp", n.addr())
	if err != nil {
		return nil, nil, err
	}
	s := &stream{conn: conn}
	if err := c.login(s); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, s, nil
}

// collectFrom logs in on a node without stream management, and takes what waits until there is nothing more.
func (c *client) collectFrom(ctx context.Context, n *node) error {
	conn, s, err := c.enterNode(ctx, n)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := s.ask("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>collector</resource></bind></iq>"); err != nil {
		return err
	}
	if err := s.write("<presence/>"); err != nil {
		return err
	}
	// What waits comes before the answers to what is sent after the presence; what was on its way just now a moment later.
	for range 2 {
		if err := s.write("<iq type='get' id='end'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
			return err
		}
		for {
			e, err := s.read(4 * answerTime)
			if err != nil {
				return err
			}
			if e.XMLName.Local == "message" {
				c.w.ledger.got(receipt{c.name, n.number, -1, 0}, e, true)
			}
			if e.XMLName.Local == "iq" && e.attr("id") == "end" {
				break
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return s.write("</stream:stream>")
}
