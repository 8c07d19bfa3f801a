package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"chatd/api"
	"chatd/cluster"
	"chatd/stanza"
)

// A value is a typed place for what a key may hold.
type value struct {
	kind   string          // in TOML's words
	limits string          // what is accepted, for documentation and messages; "" if the kind says it all
	at     any             // pointer to the field of the Config
	set    func(any) error // takes what go-toml decodes to; the error is in the reader's words
}

func boolean(at *bool) value {
	v := value{kind: "boolean", at: at}
	v.set = func(x any) error {
		b, ok := x.(bool)
		if !ok {
			return errors.New("must be true or false")
		}
		*at = b
		return nil
	}
	return v
}

// number accepts lo to hi; a whole number where the field is one.
func number[T int | float64](at *T, lo, hi T) value {
	v := value{kind: "integer", limits: fmt.Sprintf("%s to %s", plain(lo), plain(hi)), at: at}
	whole := "a whole number"
	if _, ok := any(*at).(float64); ok {
		v.kind, whole = "number", "a number"
	}
	v.set = func(x any) error {
		var n T
		switch x := x.(type) {
		case int64:
			n = T(x)
		case float64:
			n = T(x)
			if float64(n) != x { // a fraction where whole numbers go, or NaN
				return fmt.Errorf("must be %s from %s", whole, v.limits)
			}
		default:
			return fmt.Errorf("must be %s from %s", whole, v.limits)
		}
		if n < lo || n > hi {
			return fmt.Errorf("must be from %s, not %s", v.limits, plain(n))
		}
		*at = n
		return nil
	}
	return v
}

func plain[T int | float64](n T) string { return strconv.FormatFloat(float64(n), 'f', -1, 64) }

// checked is a string that check accepts and may rewrite.
func checked(at *string, limits string, check func(string) (string, error)) value {
	return value{kind: "string", limits: limits, at: at, set: func(x any) error {
		s, ok := x.(string)
		if !ok {
			return errors.New("must be a string")
		}
		s, err := check(s)
		if err != nil {
			return err
		}
		*at = s
		return nil
	}}
}

func text(at *string) value {
	return checked(at, "", func(s string) (string, error) { return s, nil })
}

func choice(at *string, options ...string) value {
	return checked(at, strings.Join(options, ", "), func(s string) (string, error) {
		if slices.Contains(options, s) {
			return s, nil
		}
		return "", fmt.Errorf("must be one of %s%s", strings.Join(options, ", "), didYouMean(s, options))
	})
}

// choices is any of the options, each once.
func choices(at *[]string, options ...string) value {
	limits := strings.Join(options, ", ")
	return value{kind: "array of strings", limits: limits, at: at, set: func(x any) error {
		all, ok := x.([]any)
		if !ok {
			return errors.New("must be an array of strings")
		}
		var chosen []string
		for _, x := range all {
			s, _ := x.(string)
			if !slices.Contains(options, s) || slices.Contains(chosen, s) {
				return fmt.Errorf("must have some of %s, each once%s", limits, didYouMean(s, options))
			}
			chosen = append(chosen, s)
		}
		*at = chosen
		return nil
	}}
}

func domainName(at *string) value { return domainOr(at, false) }

// optionalDomain is a domain name, or nothing.
func optionalDomain(at *string) value { return domainOr(at, true) }

func domainOr(at *string, empty bool) value {
	return checked(at, "a domain name", func(s string) (string, error) {
		if s == "" && empty {
			return "", nil
		}
		j, err := stanza.ParseJID(s)
		if err != nil || j.String() != j.Domain() {
			return "", fmt.Errorf("%q is not a domain name", s)
		}
		return j.Domain(), nil
	})
}

func filePath(at *string, config string) value {
	return checked(at, "", func(s string) (string, error) { return beside(config, s), nil })
}

// beside makes a relative path start at the folder of the configuration file,
// so that all commands agree wherever they are started.
func beside(config, path string) string {
	if path == "" || config == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(config), path)
}

func playerJID(at *string) value {
	return checked(at, "text with one %d", func(s string) (string, error) {
		if strings.Count(s, "%") != 1 || !strings.Contains(s, "%d") {
			return "", errors.New("must contain %d once, for the player's number, and no other %")
		}
		return s, nil
	})
}

// A revealer follows secrets that say where they are instead of what they are.
type revealer struct {
	config string // the configuration file
	getenv func(string) string
}

func (r revealer) secret(at *string) value { return checked(at, "", r.reveal) }

// reveal follows "env:NAME" and "file:PATH".
func (r revealer) reveal(s string) (string, error) {
	if name, ok := strings.CutPrefix(s, "env:"); ok {
		v := r.getenv(name)
		if v == "" {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		return v, nil
	}
	if path, ok := strings.CutPrefix(s, "file:"); ok {
		b, err := os.ReadFile(beside(r.config, path))
		return strings.TrimSpace(string(b)), err
	}
	return s, nil
}

// addresses are where we listen, or whom we ask.
func addresses(at *[]string) value { return addressList(at, checkAddress) }

// destinations are where clients are sent.
func destinations(at *[]string) value { return addressList(at, checkDestination) }

func addressList(at *[]string, check func(string) error) value {
	return value{kind: "array of strings", limits: "host:port", at: at, set: func(x any) error {
		list, ok := strs(x)
		if !ok {
			return errors.New(`must be an array of addresses, like ["127.0.0.1:5222"]`)
		}
		for _, a := range list {
			if err := check(a); err != nil {
				return err
			}
		}
		*at = list
		return nil
	}}
}

// listenAddress is one to listen on, or nothing.
func listenAddress(at *string) value {
	return checked(at, "host:port", func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		return s, checkAddress(s)
	})
}

// nodeLabel is the name of a node, or nothing.
func nodeLabel(at *string) value {
	return checked(at, "1 to 64 of a-z 0-9 - _ .", func(s string) (string, error) {
		if s != "" && !cluster.GoodName(s) {
			return "", fmt.Errorf("%q is not a node's name: lower-case letters, digits, \"-\", \"_\" and \".\"", s)
		}
		return s, nil
	})
}

// destination is where clients are sent, or nothing.
func destination(at *string) value {
	return checked(at, "host:port", func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		return s, checkDestination(s)
	})
}

func checkAddress(a string) error {
	_, port, err := net.SplitHostPort(a)
	if err != nil {
		return fmt.Errorf("%q is not an address of the form host:port", a)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: the port must be a number from 0 to 65535", a)
	}
	return nil
}

// checkDestination finds what is wrong with an address that clients are told. They cannot ask for any
// free port, nor for all addresses.
func checkDestination(a string) error {
	if err := checkAddress(a); err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(a)
	_, err := stanza.ParseJID(host)
	switch {
	case strings.Trim(port, "0") == "":
		return fmt.Errorf("%q: clients need a port from 1 to 65535", a)
	case net.ParseIP(host) == nil && (err != nil || strings.ContainsAny(host, "@/")):
		return fmt.Errorf("%q: clients need the name or the IP address of a host", a)
	case net.ParseIP(host).IsUnspecified():
		return fmt.Errorf("%q: clients cannot connect to all addresses", a)
	}
	return nil
}

// loopback reports whether only this machine can reach a listening address.
func loopback(a string) bool {
	host, _, err := net.SplitHostPort(a)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

func strs(x any) ([]string, bool) {
	list, ok := x.([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, isString := e.(string)
		ok = ok && isString
		out = append(out, s)
	}
	return out, ok
}

func (r revealer) tokens(at *[]api.Token) value {
	return value{kind: "array of tables", limits: "name, hash, scopes", at: at, set: func(x any) error {
		list, ok := x.([]any)
		if !ok {
			return errors.New("must be an array of tables, each begun by [[api.tokens]]")
		}
		var out []api.Token
		for i, e := range list {
			t, err := r.token(e)
			if err != nil {
				return &elementError{i, err}
			}
			out = append(out, t)
		}
		*at = out
		return nil
	}}
}

// An elementError is about one element of an array.
type elementError struct {
	index int
	err   error
}

func (e *elementError) Error() string { return e.err.Error() }

func (r revealer) token(x any) (t api.Token, err error) {
	m, ok := x.(map[string]any)
	if !ok {
		return t, errors.New("must be a table with name, hash and scopes")
	}
	for k := range m {
		if known := []string{"name", "hash", "scopes"}; !slices.Contains(known, k) {
			return t, fmt.Errorf("unknown key %q%s", k, didYouMean(k, known))
		}
	}
	if t.Name, _ = m["name"].(string); t.Name == "" {
		return t, errors.New("name must be a string that is not empty")
	}
	hash, _ := m["hash"].(string)
	if hash, err = r.reveal(hash); err != nil {
		return t, fmt.Errorf("hash: %w", err)
	}
	sum, err := hex.DecodeString(hash)
	if err != nil || len(sum) != len(t.Hash) {
		return t, errors.New("hash must be the SHA-256 of the token in 64 hex digits: printf %s TOKEN | sha256sum")
	}
	copy(t.Hash[:], sum)
	if t.Scopes, ok = strs(m["scopes"]); !ok {
		return t, fmt.Errorf("scopes must be an array, of %s", strings.Join(api.Scopes(), ", "))
	}
	for _, s := range t.Scopes {
		if !slices.Contains(api.Scopes(), s) {
			return t, fmt.Errorf("unknown scope %q%s", s, didYouMean(s, api.Scopes()))
		}
	}
	return t, nil
}
