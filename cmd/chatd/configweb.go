package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
)

func (c *Config) webConflicts(fail func(key, what string)) {
	switch {
	case c.HTTP.TLS == "on" && c.C2S.TLS == "off":
		fail("http.tls", `"on" needs a certificate, but c2s.tls is "off"`)
	case c.HTTP.TLS == "off":
		for _, a := range c.HTTP.Listen {
			if !loopback(a) {
				fail("http.tls", fmt.Sprintf(`"off" is for loopback only, but http.listen has %s: use "on", or "proxy" behind a proxy that has TLS`, a))
			}
		}
	}
}

// warnOfProxy says that a proxy's secrets pass in the clear.
func (c *Config) warnOfProxy(log *slog.Logger) {
	if c.HTTP.TLS != "proxy" {
		return
	}
	for _, a := range c.HTTP.Listen {
		if !loopback(a) {
			log.Warn("WebSockets without TLS are reachable from other machines than the proxy, unless something else prevents it", "addr", a)
		}
	}
}

// publicURL is where others reach us: paths are put behind it.
func publicURL(at *string) value {
	return checked(at, "http or https", func(s string) (string, error) {
		u, err := url.Parse(s)
		switch {
		case s == "":
			return "", nil
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			return "", errors.New("must be a URL that begins with https:// or http://")
		case u.User != nil || u.RawQuery != "" || u.Fragment != "":
			return "", errors.New("must be a URL without a user, a query and a fragment")
		}
		return strings.TrimRight(u.String(), "/"), nil
	})
}

// networks accepts addresses and networks in CIDR form.
func networks(at *[]string) value {
	return value{kind: "array of strings", limits: "IP addresses and networks", at: at, set: func(x any) error {
		list, ok := strs(x)
		if !ok {
			return errors.New(`must be an array of addresses and networks, like ["192.0.2.1", "10.0.0.0/8"]`)
		}
		for _, n := range list {
			if _, err := parseNetwork(n); err != nil {
				return fmt.Errorf("%q is neither an IP address nor a network like 10.0.0.0/8", n)
			}
		}
		*at = list
		return nil
	}}
}

// prefixes is what a list that networks has accepted stands for.
func prefixes(list []string) (all []netip.Prefix) {
	for _, n := range list {
		if p, err := parseNetwork(n); err == nil {
			all = append(all, p)
		}
	}
	return all
}

func parseNetwork(n string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(n); err == nil {
		ip = ip.Unmap().WithZone("")
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.ParsePrefix(n)
}
