package auth

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
)

// Channel binding types, best first. tls-unique is not defined for TLS 1.3,
// which is why there is RFC 9266.
const (
	bindExporter = "tls-exporter"         // RFC 9266
	bindUnique   = "tls-unique"           // RFC 5929 §3
	bindEndPoint = "tls-server-end-point" // RFC 5929 §4
)

// ChannelBindings is the types of channel binding to advertise on ch
// (XEP-0440 §2), best first; none without TLS.
func (s *Service) ChannelBindings(ch Channel) []string {
	var types []string
	for _, t := range []string{bindExporter, bindUnique, bindEndPoint} {
		if s.bindingData(ch, t) != nil {
			types = append(types, t)
		}
	}
	return types
}

// bindingData is what both ends of ch know of it; nil if ch has no binding of
// this type.
func (s *Service) bindingData(ch Channel, bindType string) []byte {
	if ch.TLS == nil || !ch.TLS.HandshakeComplete {
		return nil
	}
	switch bindType {
	case bindExporter:
		return ch.exporter
	case bindUnique:
		// Go leaves it out where it is not safe: in TLS 1.3, and in a resumed
		// session without extended master secret.
		return ch.TLS.TLSUnique
	case bindEndPoint:
		return s.certificateHash(ch.cert)
	}
	return nil
}

// exporterOf is RFC 9266, which asks for an empty context: in TLS 1.2 that is not the same as none. Go refuses
// TLS 1.2 without extended master secret, where the value would not be unique.
func exporterOf(state *tls.ConnectionState) []byte {
	data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	if err != nil {
		return nil
	}
	return data
}

// An endPoint is a certificate and its tls-server-end-point. It is immutable.
type endPoint struct{ cert, hash []byte }

// certificateHash remembers the last certificate, as a server has but one at a
// time and every login asks.
func (s *Service) certificateHash(der []byte) []byte {
	if len(der) == 0 {
		return nil
	}
	if p := s.endPoint.Load(); p != nil && bytes.Equal(p.cert, der) {
		return p.hash
	}
	p := &endPoint{cert: bytes.Clone(der), hash: serverEndPoint(der)}
	s.endPoint.Store(p)
	return p.hash
}

// serverEndPoint hashes a certificate with the hash of its signature, SHA-256
// standing in for MD5 and SHA-1. For a signature without exactly one hash, like
// Ed25519, the value is undefined: nil (RFC 5929 §4).
func serverEndPoint(der []byte) []byte {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.DSAWithSHA256, x509.ECDSAWithSHA256:
		sum := sha256.Sum256(der)
		return sum[:]
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(der)
		return sum[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(der)
		return sum[:]
	}
	return nil
}
