package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// minSecret is the shortest shared secret, in bytes: whoever sees gossip can try
// secrets at home.
const minSecret = 16

// bindingLabel names what is derived from a TLS connection to bind proofs to it (RFC 8446 §7.5).
const bindingLabel = "EXPORTER-chatd-link"

// keys are what is derived from the shared secret.
type keys struct {
	link   []byte
	gossip []byte // nil: not encrypted
}

func deriveKeys(secret string) (keys, error) {
	link, err := hkdf.Key(sha256.New, []byte(secret), nil, "chatd cluster link", sha256.Size)
	if err != nil || secret == "" {
		return keys{link: link}, err
	}
	gossip, err := hkdf.Key(sha256.New, []byte(secret), nil, "chatd cluster gossip", 32)
	return keys{link, gossip}, err
}

// CheckSecret refuses a cluster that anybody could join.
func CheckSecret(cfg *Config) error {
	if len(cfg.Secret) >= minSecret {
		return nil
	}
	if cfg.Secret != "" {
		return fmt.Errorf("%d bytes are too few, %d are the least: openssl rand -base64 32", len(cfg.Secret), minSecret)
	}
	for _, addr := range append([]string{cfg.Gossip, cfg.Link, cfg.AdvertiseGossip, cfg.AdvertiseLink}, cfg.Join...) {
		if addr != "" && !loopback(addr) {
			return fmt.Errorf("is missing: only nodes that are all on loopback may do without, and %s is not", addr)
		}
	}
	return nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// certificate makes one that says nothing: who is who is proven by the secret.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	// No validity: nobody looks at it, and clocks may differ.
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(100, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func linkTLS() (*tls.Config, error) {
	cert, err := certificate()
	return &tls.Config{
		Certificates:                []tls.Certificate{cert},
		MinVersion:                  tls.VersionTLS13,
		CurvePreferences:            []tls.CurveID{tls.X25519},
		InsecureSkipVerify:          true, // the hello's proof is bound to the connection instead
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
	}, err
}

// A secured connection is one over TLS; raw is what is below it.
type secured struct {
	net.Conn
	raw     net.Conn
	binding []byte // what proofs are bound to
}

// secure does TLS.
func secure(ctx context.Context, conn net.Conn, cfg *tls.Config, dialer bool) (secured, error) {
	var t *tls.Conn
	if dialer {
		t = tls.Client(conn, cfg)
	} else {
		t = tls.Server(conn, cfg)
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return secured{}, err
	}
	state := t.ConnectionState()
	binding, err := state.ExportKeyingMaterial(bindingLabel, nil, sha256.Size)
	if err == nil && len(binding) != sha256.Size {
		err = errors.New("no channel binding")
	}
	return secured{t, conn, binding}, err
}
