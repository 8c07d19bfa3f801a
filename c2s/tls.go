package c2s

import (
	"crypto/tls"
	"errors"
	"fmt"

	"chatd/auth"
)

// tlsConfigs are the ways to start TLS, made once so that session tickets
// work across connections.
type tlsConfigs struct {
	base, start, direct, web *tls.Config
}

func newTLSConfigs(base *tls.Config) *tlsConfigs {
	if base == nil {
		return &tlsConfigs{}
	}
	start := base.Clone()
	start.DynamicRecordSizingDisabled = true // stanzas are small and coalesced
	direct := start.Clone()
	direct.NextProtos = []string{"xmpp-client"} // XEP-0368: a client that offers other protocols only is refused
	web := start.Clone()
	web.NextProtos = []string{"http/1.1"} // a WebSocket has a connection of its own
	return &tlsConfigs{base: base, start: start, direct: direct, web: web}
}

func (s *Server) startTLS() *tls.Config  { return s.tls.Load().start }
func (s *Server) directTLS() *tls.Config { return s.tls.Load().direct }

// startTLS makes the connection a TLS connection and learns what channel
// binding needs of it.
func (n *negotiation) startTLS(cfg *tls.Config) error {
	if cfg == nil {
		return errors.New("c2s: TLS is not configured")
	}
	state, err := n.wire.startTLS(cfg)
	if err != nil {
		n.srv.Metrics.Connections.WithLabelValues("tls-failed").Inc()
		return fmt.Errorf("c2s: TLS handshake: %w", err)
	}
	n.channel = auth.Channel{TLS: state, Cert: leafOf(cfg, state.ServerName)}
	return nil
}

// leafOf is the certificate that we showed, for tls-server-end-point.
func leafOf(cfg *tls.Config, name string) []byte {
	if cfg.GetCertificate != nil {
		cert, err := cfg.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		if err == nil && cert != nil && len(cert.Certificate) > 0 {
			return cert.Certificate[0]
		}
	}
	if len(cfg.Certificates) > 0 && len(cfg.Certificates[0].Certificate) > 0 {
		return cfg.Certificates[0].Certificate[0]
	}
	return nil
}
