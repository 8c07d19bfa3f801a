package c2s

import (
	"bytes"
	"fmt"
	"time"

	"chatd/stanza"
)

// loginFeatures are the stream features before login (RFC 6120 §4.3.2).
func (n *negotiation) loginFeatures() []byte {
	var b bytes.Buffer
	b.WriteString("<stream:features>")
	if n.canStartTLS() {
		b.WriteString("<starttls xmlns='" + stanza.NSTLS + "'>") // RFC 6120 §5.4.1
		if n.cfg.RequireTLS {
			b.WriteString("<required/></starttls></stream:features>")
			return b.Bytes()
		}
		b.WriteString("</starttls>")
	}
	b.WriteString("<mechanisms xmlns='" + stanza.NSSASL + "'>") // RFC 6120 §6.4.1
	for _, m := range n.srv.auth.Mechanisms(n.channel) {
		b.WriteString("<mechanism>" + m + "</mechanism>")
	}
	b.WriteString("</mechanisms>")
	n.writeAuthentication(&b)
	if types := n.srv.auth.ChannelBindings(n.channel); len(types) > 0 {
		b.WriteString("<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>") // XEP-0440 §3
		for _, t := range types {
			b.WriteString("<channel-binding type='" + t + "'/>")
		}
		b.WriteString("</sasl-channel-binding>")
	}
	if n.cfg.Registration {
		b.WriteString("<register xmlns='http://jabber.org/features/iq-register'/>") // XEP-0077 §8
	}
	b.WriteString(limitsFeature(loginStanzaBytes, loginTimeout))
	b.Write(n.srv.Features())
	b.WriteString("</stream:features>")
	return b.Bytes()
}

// limitsFeature advertises what one element may measure and after which time a silent
// client is asked whether it is there (XEP-0478 §3.1).
func limitsFeature(bytes int, idle time.Duration) string {
	return fmt.Sprintf("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>%d</max-bytes><idle-seconds>%d</idle-seconds></limits>",
		bytes, int(idle.Seconds()))
}

// writeAuthentication is the feature of SASL2 (XEP-0388 §2.1), with what can be had in the same round trip.
func (n *negotiation) writeAuthentication(b *bytes.Buffer) {
	b.WriteString("<authentication xmlns='" + nsSASL2 + "'>")
	for _, m := range n.srv.auth.Mechanisms(n.channel) {
		b.WriteString("<mechanism>" + m + "</mechanism>")
	}
	b.WriteString("<inline><sm xmlns='" + nsSM + "'/>" + // XEP-0198 §9.2
		"<bind xmlns='" + nsBind2 + "'><inline>" + // XEP-0386 §3.1
		"<feature var='" + nsCarbons + "'/><feature var='" + nsCSI + "'/><feature var='" + nsSM + "'/>" +
		"</inline></bind>")
	if tokens := n.srv.auth.TokenMechanisms(n.channel); len(tokens) > 0 {
		b.WriteString("<fast xmlns='" + nsFAST + "'>") // XEP-0484 §3.1
		for _, m := range tokens {
			b.WriteString("<mechanism>" + m + "</mechanism>")
		}
		b.WriteString("</fast>")
	}
	b.WriteString("</inline></authentication>")
}

// sessionFeatures are the stream features after login, without those that s, nil if there is no session yet,
// has already.
func (n *negotiation) sessionFeatures(s *Session) []byte {
	var b bytes.Buffer
	b.WriteString("<stream:features>")
	if s == nil {
		b.WriteString("<bind xmlns='" + stanza.NSBind + "'/>" + // RFC 6120 §7.4
			"<session xmlns='" + stanza.NSSession + "'><optional/></session>") // RFC 3921 §3, for old clients
	}
	b.WriteString("<csi xmlns='" + nsCSI + "'/>") // XEP-0352 §4.1
	if s == nil || !s.managed {
		b.WriteString("<sm xmlns='" + nsSM + "'/>") // XEP-0198 §2
	}
	b.WriteString("<ver xmlns='urn:xmpp:features:rosterver'/>" + // RFC 6121 §2.6.1
		"<sub xmlns='urn:xmpp:features:pre-approval'/>") // RFC 6121 §3.4
	if !n.expires.IsZero() {
		b.WriteString("<token xmlns='" + nsToken + "'/>")
	}
	b.WriteString(limitsFeature(n.cfg.MaxStanzaBytes, quietSweeps*sweepInterval))
	b.Write(n.srv.Features())
	b.WriteString("</stream:features>")
	return b.Bytes()
}
