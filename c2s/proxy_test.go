package c2s

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

const proxyV1 = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 5222\r\n"

// v2 is a header of version 2.
func v2(command, family byte, body string) string {
	return proxyV2 + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + body
}

const (
	v2IPv4 = "\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x14\x66"
	v2IPv6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xdc\x04\x14\x66"
)

// TestReadProxyHeader: the examples and the rules of the PROXY protocol's specification, §2.1 and §2.2.
func TestReadProxyHeader(t *testing.T) {
	for name, c := range map[string]struct {
		header, want string // want "": no address; "bad": an error
	}{
		"v1 TCP4":               {proxyV1, "192.0.2.7:56324"},
		"v1 TCP4, extremes":     {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"},
		"v1 TCP6":               {"PROXY TCP6 2001:db8::1 2001:db8::2 56324 5222\r\n", "[2001:db8::1]:56324"},
		"v1 TCP6, extremes":     {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
		"v1 TCP6, mapped":       {"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7:1"},
		"v1 UNKNOWN":            {"PROXY UNKNOWN\r\n", ""},
		"v1 UNKNOWN, long":      {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", ""},
		"v1 too long":           {"PROXY UNKNOWN " + strings.Repeat("x", 100) + "\r\n", "bad"},
		"v1 of another family":  {"PROXY TCP4 2001:db8::1 2001:db8::2 56324 5222\r\n", "bad"},
		"v1 of two families":    {"PROXY TCP6 2001:db8::1 192.0.2.7 56324 5222\r\n", "bad"},
		"v1 without ports":      {"PROXY TCP4 192.0.2.7 198.51.100.1\r\n", "bad"},
		"v1 with a large port":  {"PROXY TCP4 192.0.2.7 198.51.100.1 65536 5222\r\n", "bad"},
		"v1 with a sign":        {"PROXY TCP4 192.0.2.7 198.51.100.1 -1 5222\r\n", "bad"},
		"v1 with two spaces":    {"PROXY TCP4  192.0.2.7 198.51.100.1 1 5222\r\n", "bad"},
		"v1 with a zone":        {"PROXY TCP6 fe80::1%eth0 2001:db8::2 56324 5222\r\n", "bad"},
		"v1 of UDP":             {"PROXY UDP4 192.0.2.7 198.51.100.1 1 5222\r\n", "bad"},
		"v1 in small letters":   {"proxy tcp4 192.0.2.7 198.51.100.1 1 5222\r\n", "bad"},
		"v1 without an end":     {"PROXY TCP4 192.0.2.7 198.51.100.1 1 5222", "bad"},
		"v2 TCP4":               {v2(0x21, 0x11, v2IPv4), "192.0.2.7:56324"},
		"v2 TCP4 and TLVs":      {v2(0x21, 0x11, v2IPv4+"\x04\x00\x03abc"), "192.0.2.7:56324"},
		"v2 TCP6":               {v2(0x21, 0x21, v2IPv6), "[2001:db8::1]:56324"},
		"v2 LOCAL":              {v2(0x20, 0x00, ""), ""},
		"v2 LOCAL, with rest":   {v2(0x20, 0x11, v2IPv4), ""},
		"v2 UNSPEC":             {v2(0x21, 0x00, "whatever"), ""},
		"v2 of a UNIX socket":   {v2(0x21, 0x31, strings.Repeat("\x00", 216)), ""},
		"v2 UDP4":               {v2(0x21, 0x12, v2IPv4), ""},
		"v2 too short for IPv4": {v2(0x21, 0x11, v2IPv4[:11]), "bad"},
		"v2 too short for IPv6": {v2(0x21, 0x21, v2IPv6[:35]), "bad"},
		"v2 of another version": {v2(0x31, 0x11, v2IPv4), "bad"},
		"v2 of another command": {v2(0x22, 0x11, v2IPv4), "bad"},
		"v2 not complete":       {v2(0x21, 0x11, v2IPv4)[:20], "bad"},
		"v2 too long":           {v2(0x21, 0x11, v2IPv4+strings.Repeat("x", proxyHeaderMax)), "bad"},
		"a stream":              {header, "bad"},
		"TLS":                   {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "bad"},
		"nothing":               {"", "bad"},
	} {
		t.Run(name, func(t *testing.T) {
			r := strings.NewReader(c.header + "behind")
			if c.want == "bad" {
				r = strings.NewReader(c.header)
			}
			got, err := readProxyHeader(iotest.OneByteReader(r))
			switch {
			case c.want == "bad":
				if err == nil {
					t.Errorf("got %v", got)
				}
				return
			case err != nil:
				t.Fatal(err)
			case c.want == "" && got.IsValid(), c.want != "" && got != netip.MustParseAddrPort(c.want):
				t.Errorf("got %v, want %q", got, c.want)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "behind" {
				t.Errorf("what follows is %q", rest)
			}
		})
	}
}

// FuzzReadProxyHeader: whatever comes, no more than a header is read, and an address is one.
func FuzzReadProxyHeader(f *testing.F) {
	for _, s := range []string{proxyV1, "PROXY UNKNOWN\r\n", v2(0x21, 0x11, v2IPv4), v2(0x21, 0x21, v2IPv6), v2(0x20, 0, ""), header} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		got, err := readProxyHeader(r)
		if err != nil {
			if got.IsValid() {
				t.Errorf("%v with %v", got, err)
			}
			return
		}
		read := in[:len(in)-r.Len()]
		switch {
		case bytes.HasPrefix(read, []byte(proxyV2)):
			if len(read) != 16+int(read[14])<<8+int(read[15]) {
				t.Errorf("read %d bytes", len(read))
			}
		case !bytes.HasPrefix(read, []byte("PROXY ")) || bytes.IndexByte(read, '\n') != len(read)-1 || len(read) > proxyHeaderMaxV1:
			t.Errorf("read %q", read)
		case got.IsValid() && !bytes.Contains(read, []byte(" TCP")):
			t.Errorf("%v in %q", got, read)
		}
	})
}

// TestProxyProtocol: a connection from a listed proxy is its client's, for limits and logs.
func TestProxyProtocol(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	s := startServer(t, func(c *Config) {
		c.ConnectionsPerAddress, c.ProxyFrom, c.WebProxyFrom, c.WebTLS = 1, loopback, loopback, WebNone
	})
	open := func(addr, proxy string) *testClient {
		c := dial(t, addr, nil)
		c.send(proxy + header)
		return c
	}
	a := open(s.addr, proxyV1)
	a.expect("<stream:stream ")
	if c := open(s.addr, v2(0x21, 0x11, v2IPv4)); c.next() != "" {
		t.Error("a second connection from the same client is served")
	}
	open(s.addr, v2(0x21, 0x21, v2IPv6)).expect("<stream:stream ")
	open(s.addr, v2(0x20, 0x00, "")).expect("<stream:stream ") // the proxy itself
	if c := open(s.addr, ""); c.next() != "" {
		t.Error("a connection without a header is served")
	}
	s.mu.Lock()
	for conn := range s.conns {
		if host := keyOf(conn.peer().addr).String(); host != "192.0.2.7/32" && host != "2001:db8::/64" && host != "127.0.0.1/32" {
			t.Errorf("a connection from %s", host)
		}
	}
	s.mu.Unlock()

	b := dial(t, s.direct, nil)
	b.send("PROXY TCP4 192.0.2.8 198.51.100.1 56324 5222\r\n")
	b.conn = tls.Client(b.conn, clientTLS())
	b.open()

	conn, err := net.Dial("tcp", s.web)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "PROXY TCP4 192.0.2.9 198.51.100.1 56324 80\r\nGET /.well-known/host-meta HTTP/1.0\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 200 ") {
		t.Errorf("%q, %v", answer, err)
	}
}
