package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	nsSM       = "urn:xmpp:sm:3"
	answerTime = 30 * time.Second
	stampBytes = 19 // decimal nanoseconds
)

// A client is one session. One goroutine writes, another one reads.
type client struct {
	conn net.Conn
	full string
	buf  []byte // what has come and was not looked at; the reader's
	in   uint32 // stanzas that came since stream management began (XEP-0198 §4); the reader's

	mu     sync.Mutex
	begun  time.Time // of the window that is measured; what was sent before does not count
	took   []time.Duration
	acks   []time.Duration
	asked  []time.Time // when each message was sent that is not acknowledged
	acked  uint32
	broken error
}

// dial registers a user (XEP-0077), and logs in.
func dial(ctx context.Context, addr, user string) (*client, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: domain, NextProtos: []string{"xmpp-client"}}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn}
	if err := c.login(user); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", user, err)
	}
	return c, nil
}

func (c *client) login(user string) error {
	c.conn.SetDeadline(time.Now().Add(answerTime))
	defer c.conn.SetDeadline(time.Time{})
	header := "<stream:stream to='" + domain + "' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	for _, step := range []struct{ say, await string }{
		{header, "</stream:features>"},
		{"<iq type='set' id='reg'><query xmlns='jabber:iq:register'><username>" + user + "</username><password>" + password + "</password></query></iq>", "<iq [^>]*type='result'[^>]*>"},
		{"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plain + "</auth>", "<success[^>]*>"},
		{header, "</stream:features>"},
		{"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>game</resource></bind></iq>", "<jid>[^<]*</jid></bind></iq>"},
		{"<presence/>", "<presence [^>]*/>|<presence .*</presence>"},
	} {
		found, err := c.ask(step.say, step.await)
		if err != nil {
			return err
		}
		if _, jid, ok := strings.Cut(found, "<jid>"); ok {
			c.full, _, _ = strings.Cut(jid, "<")
		}
	}
	return nil
}

// ask says something and waits for what matches.
func (c *client) ask(say, await string) (string, error) {
	if _, err := c.conn.Write([]byte(say)); err != nil {
		return "", err
	}
	pattern := regexp.MustCompile(await)
	for {
		if at := pattern.FindIndex(c.buf); at != nil {
			found := string(c.buf[at[0]:at[1]])
			c.buf = c.buf[at[1]:]
			return found, nil
		}
		if err := c.more(); err != nil {
			return "", fmt.Errorf("waited for %s: %w; has %s", await, err, c.buf)
		}
	}
}

func (c *client) more() error {
	var b [16 << 10]byte
	n, err := c.conn.Read(b[:])
	c.buf = append(c.buf, b[:n]...)
	return err
}

// manage begins stream management (XEP-0198 §3). The reader must not run yet.
func (c *client) manage() error {
	c.conn.SetDeadline(time.Now().Add(answerTime))
	defer c.conn.SetDeadline(time.Time{})
	c.in = 0
	_, err := c.ask("<enable xmlns='"+nsSM+"'/>", "<enabled [^>]*/>")
	return err
}

// read takes what comes until the connection ends, or its deadline passes.
func (c *client) read() {
	for {
		for {
			end := bytes.IndexByte(c.buf, '>')
			if end < 0 {
				break
			}
			if err := c.tag(c.buf[:end+1], time.Now()); err != nil {
				c.fail(err)
				return
			}
			c.buf = c.buf[end+1:]
		}
		if err := c.more(); err != nil {
			if e, ok := err.(net.Error); !ok || !e.Timeout() {
				c.fail(err)
			}
			return
		}
	}
}

func (c *client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
}

// tag takes a tag with the text before it.
func (c *client) tag(b []byte, now time.Time) error {
	switch {
	case bytes.HasSuffix(b, []byte("</body>")) && len(b) > stampBytes:
		nanos, err := strconv.ParseInt(string(b[:stampBytes]), 10, 64)
		if err != nil {
			return err
		}
		c.note(&c.took, time.Unix(0, nanos), now)
	case bytes.HasPrefix(b, []byte("<message ")):
		if bytes.Contains(b, []byte("type='error'")) {
			return fmt.Errorf("came back: %s", b)
		}
		c.in++
	case bytes.HasPrefix(b, []byte("<iq ")), bytes.HasPrefix(b, []byte("<presence ")):
		c.in++
	case bytes.HasPrefix(b, []byte("<stream:error")):
		return fmt.Errorf("stream error: %s", c.buf)
	case bytes.HasPrefix(b, []byte("<r ")):
		_, err := fmt.Fprintf(c.conn, "<a xmlns='%s' h='%d'/>", nsSM, c.in)
		return err
	case bytes.HasPrefix(b, []byte("<a ")):
		return c.acknowledged(string(b), now)
	}
	return nil
}

func (c *client) note(to *[]time.Duration, sent, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sent.After(c.begun) {
		*to = append(*to, now.Sub(sent))
	}
}

// acknowledged takes the server's count of what it has handled (XEP-0198 §4).
func (c *client) acknowledged(a string, now time.Time) error {
	_, rest, _ := strings.Cut(a, " h='")
	digits, _, _ := strings.Cut(rest, "'")
	h, err := strconv.ParseUint(digits, 10, 32)
	c.mu.Lock()
	n := int(uint32(h) - c.acked)
	if err != nil || n > len(c.asked) {
		c.mu.Unlock()
		return fmt.Errorf("%s for %d messages", a, len(c.asked))
	}
	sent := c.asked[:n]
	c.asked, c.acked = c.asked[n:], uint32(h)
	c.mu.Unlock()
	for _, at := range sent {
		c.note(&c.acks, at, now)
	}
	return nil
}

var filler = strings.Repeat("an ordinary message ", 6)

// send sends a message, and asks for its acknowledgement.
func (c *client) send(to string, ask bool) error {
	now := time.Now()
	b := fmt.Appendf(nil, "<message to='%s' type='chat' id='m'><body>%0*d %s</body></message>", to, stampBytes, now.UnixNano(), filler)
	if ask {
		b = append(b, "<r xmlns='"+nsSM+"'/>"...)
		c.mu.Lock()
		c.asked = append(c.asked, now)
		c.mu.Unlock()
	}
	_, err := c.conn.Write(b)
	return err
}
