package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A raw client says what it is told and waits for what is to come, in the words of the protocol.
type raw struct {
	t    *testing.T
	name string
	conn net.Conn
	buf  []byte // what has come and was not waited for
	full string

	passed []byte // what came before what was waited for last
}

// dialRaw opens a connection and logs in, up to the features after that.
func (s *server) dialRaw(t *testing.T, user string) *raw {
	t.Helper()
	pem, err := os.ReadFile(s.certificateFile)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pem)
	conn, err := tls.Dial("tcp", s.tls, &tls.Config{ServerName: s.domain, RootCAs: trusted, NextProtos: []string{"xmpp-client"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &raw{t: t, name: user, conn: conn}
	header := "<stream:stream to='" + s.domain + "' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
	c.say("%s", header)
	c.await("</stream:features>")
	c.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>",
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	c.await("<success")
	c.say("%s", header)
	c.await("</stream:features>")
	return c
}

// raw logs in with a resource and initial presence.
func (s *server) raw(t *testing.T, user, resource string) *raw {
	t.Helper()
	c := s.dialRaw(t, user)
	c.bind(resource)
	c.say("<presence/>")
	c.await("<presence[^>]* from='" + regexp.QuoteMeta(c.full) + "'")
	return c
}

func (c *raw) bind(resource string) {
	c.t.Helper()
	c.say("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>%s</resource></bind></iq>", resource)
	c.full = c.await("<jid>([^<]*)</jid>")[1]
	c.await("</iq>")
}

func (c *raw) say(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.conn, format, args...); err != nil {
		c.t.Fatalf("%s: %v", c.name, err)
	}
}

// await waits for what matches a pattern and returns it with its groups; all before it is forgotten.
func (c *raw) await(pattern string) []string {
	c.t.Helper()
	found, err := c.find(regexp.MustCompile(pattern), patience)
	if err != nil {
		c.t.Fatalf("%s waited for %s: %v; has %s", c.name, pattern, err, c.buf)
	}
	return found
}

func (c *raw) find(pattern *regexp.Regexp, wait time.Duration) ([]string, error) {
	c.conn.SetReadDeadline(time.Now().Add(wait))
	for {
		if at := pattern.FindSubmatchIndex(c.buf); at != nil {
			var groups []string
			for i := 0; i < len(at); i += 2 {
				groups = append(groups, string(c.buf[max(at[i], 0):max(at[i+1], 0)]))
			}
			c.passed, c.buf = c.buf[:at[0]], c.buf[at[1]:]
			return groups, nil
		}
		room := make([]byte, 64<<10)
		n, err := c.conn.Read(room)
		c.buf = append(c.buf, room[:n]...)
		if err != nil {
			return nil, err
		}
	}
}

// barrier returns when the server has dealt with all that was said before, and returns what came meanwhile.
func (c *raw) barrier() string {
	c.t.Helper()
	id := fmt.Sprintf("b%d", time.Now().UnixNano())
	c.say("<iq type='get' id='%s'><ping xmlns='urn:xmpp:ping'/></iq>", id)
	c.await("<iq[^>]* id='" + id + "'[^>]*/>")
	return strings.TrimSpace(string(c.passed))
}
