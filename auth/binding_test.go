package auth

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
)

func TestServerEndPoint(t *testing.T) {
	for alg, hash := range map[x509.SignatureAlgorithm]crypto.Hash{
		x509.ECDSAWithSHA256: crypto.SHA256,
		x509.ECDSAWithSHA384: crypto.SHA384,
		x509.ECDSAWithSHA512: crypto.SHA512,
	} {
		der := newTestCert(t, alg).Certificate[0]
		h := hash.New()
		h.Write(der)
		if got := serverEndPoint(der); !bytes.Equal(got, h.Sum(nil)) {
			t.Errorf("%v: %x", alg, got)
		}
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{"Ed25519": der, "no certificate": []byte("x"), "nothing": nil} {
		if got := serverEndPoint(der); got != nil {
			t.Errorf("%s: %x", name, got)
		}
	}
}

// A renewed certificate is bound from the next connection on.
func TestCertificateChanges(t *testing.T) {
	s, _ := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	one, two := newTestCert(t, x509.ECDSAWithSHA256), newTestCert(t, x509.ECDSAWithSHA384)
	for _, cert := range []tls.Certificate{one, two, two, one} {
		ch.cert = cert.Certificate[0]
		if got := s.bindingData(ch, "tls-server-end-point"); !bytes.Equal(got, serverEndPoint(ch.cert)) {
			t.Errorf("%x", got)
		}
	}
}

// Both ends of a connection, and nobody else, know its binding data.
func TestBindingData(t *testing.T) {
	s, _ := newTestService(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		ch, seen := newTestChannel(t, version)
		other, _ := newTestChannel(t, version)
		for _, bindType := range s.ChannelBindings(ch) {
			data := s.bindingData(ch, bindType)
			if !bytes.Equal(data, s.bindingData(NewChannel(seen, ch.cert), bindType)) {
				t.Errorf("%x %s: the ends differ", version, bindType)
			}
			if bytes.Equal(data, s.bindingData(other, bindType)) {
				t.Errorf("%x %s: two connections are the same", version, bindType)
			}
		}
	}
}
