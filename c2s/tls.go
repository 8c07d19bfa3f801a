package c2s

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"chatd/auth"
)

// tlsConfigs are the ways to start TLS. Session tickets are good for all of them.
type tlsConfigs struct {
	base, start, direct, web *tls.Config
}

func newTLSConfigs(base *tls.Config) *tlsConfigs {
	if base == nil {
		return &tlsConfigs{}
	}
	start := base.Clone()
	start.DynamicRecordSizingDisabled = true // stanzas are small and coalesced
	start.WrapSession, start.UnwrapSession = tickets{base}.wrap, tickets{base}.unwrap
	direct := start.Clone()
	direct.NextProtos = []string{"xmpp-client"} // XEP-0368: a client that offers other protocols only is refused
	web := start.Clone()
	web.NextProtos = []string{"http/1.1"} // a WebSocket has a connection of its own
	return &tlsConfigs{base: base, start: start, direct: direct, web: web}
}

// tickets makes and reads session tickets with the keys of one configuration. A ticket is good as long as the
// certificate that its client has seen is the one that we show: channel binding to it
// has to mean the same at both ends (RFC 5929 §4), and a key that was replaced vouches for nobody.
type tickets struct{ keys *tls.Config }

func (t tickets) wrap(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	seen := sha256.Sum256(leafOf(t.keys, cs.ServerName))
	ss.Extra = append(ss.Extra, seen[:])
	return t.keys.EncryptTicket(cs, ss)
}

func (t tickets) unwrap(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	ss, err := t.keys.DecryptTicket(ticket, cs)
	if ss == nil || err != nil {
		return nil, err
	}
	now := sha256.Sum256(leafOf(t.keys, cs.ServerName))
	if !slices.ContainsFunc(ss.Extra, func(seen []byte) bool { return bytes.Equal(seen, now[:]) }) {
		return nil, nil // a full handshake
	}
	ss.Extra = nil // wrap will be called again
	return ss, nil
}

func (s *Server) startTLS() *tls.Config  { return s.tls.Load().start }
func (s *Server) directTLS() *tls.Config { return s.tls.Load().direct }

// startTLS makes the connection a TLS connection and learns what channel
// binding needs of it.
func (n *negotiation) startTLS(cfg *tls.Config) error {
	n.turn.end() // the handshake has one of its own
	if cfg == nil {
		return errors.New("c2s: TLS is not configured")
	}
	state, err := n.wire.startTLS(cfg)
	if err != nil {
		n.srv.Metrics.Connections.WithLabelValues("tls-failed").Inc()
		return fmt.Errorf("c2s: TLS handshake: %w", err)
	}
	n.channel = auth.NewChannel(state, leafOf(cfg, state.ServerName))
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
