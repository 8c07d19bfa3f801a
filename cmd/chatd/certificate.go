package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"
)

// selfSignedYears is how long a certificate made by chatd is good for.
const selfSignedYears = 10

// A certificate is what clients are shown. It can be replaced while
// connections use it.
type certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// tlsConfig serves whatever certificate is current when a handshake begins.
// crypto/tls's own choice of cipher suites and its session tickets are right.
func (c *certificate) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		MaxVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}

// load makes the configured pair the current one; on an error nothing changes.
// It belongs to the goroutine that starts and reloads.
func (c *certificate) load(cfg *Config, log *slog.Logger) error {
	certFile, keyFile := certificateFiles(cfg)
	if cfg.C2S.CertFile == "" {
		if why := selfSignedUnfit(certFile, keyFile, cfg.Domain); why != "" {
			log.Info("making a self-signed certificate", "file", certFile, "why", why)
			if err := makeSelfSigned(certFile, keyFile, cfg.Domain, roomHost(cfg), time.Now()); err != nil {
				return fmt.Errorf("self-signed certificate: %w", err)
			}
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if old := c.current.Swap(&pair); old != nil && old.Leaf.Equal(pair.Leaf) {
		return nil
	}
	log.Info("certificate loaded", "file", certFile, "until", pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	if time.Now().After(pair.Leaf.NotAfter) {
		log.Warn("the certificate has expired", "file", certFile)
	}
	if err := pair.Leaf.VerifyHostname(cfg.Domain); err != nil {
		log.Warn("clients will not accept the certificate", "err", err)
	}
	return nil
}

// certificateFiles is the configured pair, or the self-signed one's place.
func certificateFiles(cfg *Config) (cert, key string) {
	if cfg.C2S.CertFile != "" {
		return cfg.C2S.CertFile, cfg.C2S.KeyFile
	}
	return filepath.Join(cfg.Data, "cert.pem"), filepath.Join(cfg.Data, "key.pem")
}

// selfSignedUnfit says why a new certificate is needed, "" if it is not.
func selfSignedUnfit(certFile, keyFile, domain string) string {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is none"
	case err != nil:
		return err.Error()
	case pair.Leaf.VerifyHostname(domain) != nil:
		return "the domain has changed"
	case time.Now().After(pair.Leaf.NotAfter):
		return "it has expired"
	}
	return ""
}

func makeSelfSigned(certFile, keyFile, domain, rooms string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: domain},
		NotBefore:             now.Add(-time.Hour), // clocks differ
		NotAfter:              now.AddDate(selfSignedYears, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(domain); ip != nil {
		template.IPAddresses = append(template.IPAddresses, ip)
	} else if domain != "localhost" {
		template.DNSNames = append([]string{domain, "*." + domain}, template.DNSNames...)
	}
	if template.VerifyHostname(rooms) != nil {
		template.DNSNames = append(template.DNSNames, rooms)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}
