package c2s

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// proxyHeaderMax bounds a header of the PROXY protocol, version 2 with its TLVs included.
// Version 1 has 107 bytes at most.
const (
	proxyHeaderMax   = 4096
	proxyHeaderMaxV1 = 107
)

// proxyV2 begins a header of version 2.
const proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"

var errProxyHeader = errors.New("c2s: not a header of the PROXY protocol")

// proxied reports whether a connection comes from a proxy that says whose it is.
func proxied(addr net.Addr, from []netip.Prefix) bool {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	for _, p := range from {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// unwrap reads the header that a connection from a proxy begins with, and puts the client's
// address in place of the proxy's. It blocks until the connection's deadline.
func (s *Server) unwrap(w *wire, from []netip.Prefix) bool {
	if !proxied(w.from.addr, from) {
		return true
	}
	client, err := readProxyHeader(w.tcp)
	if err != nil {
		s.Metrics.Connections.WithLabelValues("bad-proxy-header").Inc()
		s.log.Warn("no header of the PROXY protocol", "addr", w.from.addr, "err", err)
		return false
	}
	if client.IsValid() {
		w.from.addr = net.TCPAddrFromAddrPort(client)
	}
	return true
}

// readProxyHeader reads a header of version 1 or 2 and nothing behind it. The address is not
// valid if the header names none: the connection is then the proxy's own, such as a health
// check.
func readProxyHeader(r io.Reader) (client netip.AddrPort, err error) {
	// The shortest header of version 1 is "PROXY UNKNOWN\r\n".
	head := make([]byte, len(proxyV2), proxyHeaderMaxV1)
	if _, err := io.ReadFull(r, head); err != nil {
		return client, fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	switch {
	case string(head) == proxyV2:
		return readProxyV2(r)
	case bytes.HasPrefix(head, []byte("PROXY ")):
		return readProxyV1(r, head)
	}
	return client, errProxyHeader
}

// readProxyV1 reads the rest of a line, byte by byte: what follows is not ours.
func readProxyV1(r io.Reader, line []byte) (client netip.AddrPort, err error) {
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == proxyHeaderMaxV1 {
			return client, errProxyHeader
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return client, fmt.Errorf("%w: %w", errProxyHeader, err)
		}
	}
	fields := strings.Split(string(line[:len(line)-2]), " ")
	if fields[1] == "UNKNOWN" { // whatever follows
		return client, nil
	}
	if len(fields) != 6 {
		return client, errProxyHeader
	}
	source, err := netip.ParseAddr(fields[2])
	destination, err2 := netip.ParseAddr(fields[3])
	port, err3 := strconv.ParseUint(fields[4], 10, 16)
	_, err4 := strconv.ParseUint(fields[5], 10, 16)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return client, fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	switch {
	case fields[1] == "TCP4" && source.Is4() && destination.Is4():
	case fields[1] == "TCP6" && source.Is6() && destination.Is6() && source.Zone() == "":
	default:
		return client, errProxyHeader
	}
	return netip.AddrPortFrom(source.Unmap(), uint16(port)), nil
}

// readProxyV2 reads what follows the signature. TLVs are of no interest here.
func readProxyV2(r io.Reader) (client netip.AddrPort, err error) {
	var fixed [4]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return client, fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	length := int(binary.BigEndian.Uint16(fixed[2:]))
	if length > proxyHeaderMax {
		return client, errProxyHeader
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return client, fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	const (
		local, proxy = 0x20, 0x21
		tcp4, tcp6   = 0x11, 0x21
	)
	switch {
	case fixed[0] == local:
		return client, nil
	case fixed[0] != proxy:
		return client, errProxyHeader
	case fixed[1] == tcp4 && length >= 12:
		source, _ := netip.AddrFromSlice(body[:4])
		return netip.AddrPortFrom(source, binary.BigEndian.Uint16(body[8:])), nil
	case fixed[1] == tcp6 && length >= 36:
		source, _ := netip.AddrFromSlice(body[:16])
		return netip.AddrPortFrom(source.Unmap(), binary.BigEndian.Uint16(body[32:])), nil
	case fixed[1] == tcp4, fixed[1] == tcp6:
		return client, errProxyHeader
	}
	return client, nil // UNSPEC, or no TCP
}
