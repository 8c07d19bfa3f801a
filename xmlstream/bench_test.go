package xmlstream

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// stanzas is what clients send: a chat message as slixmpp or Conversations
// write it, presence with capabilities, the roster request, a ping.
var stanzas = []string{
	`<message to="juliet@chat.test/balcony" type="chat" id="9b1c6a3e-70d2-4a51-a4a5-2f3f7f0c6d11" xml:lang="en"><body>Art thou not Romeo, and a Montague?</body><active xmlns="http://jabber.org/protocol/chatstates"/><request xmlns="urn:xmpp:receipts"/></message>`,
	`<presence id="p-31"><show>away</show><status>In the orchard</status><priority>5</priority><c xmlns="http://jabber.org/protocol/caps" hash="sha-1" node="https://example.org/client" ver="QgayPKawpkPSDYmwT/WM94uAlu0="/></presence>`,
	`<iq type="get" id="roster-1"><query xmlns="jabber:iq:roster" ver="ver14"/></iq>`,
	`<iq from='romeo@chat.test/orchard' to='chat.test' id='ping-7' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`,
}

// BenchmarkScan scans the mix above; encoding/xml, which checks less, gets the
// same bytes for comparison.
func BenchmarkScan(b *testing.B) {
	mix := []byte(strings.Join(stanzas, ""))
	report := func(b *testing.B) {
		b.ReportMetric(float64(b.N)*float64(len(stanzas))/b.Elapsed().Seconds(), "stanzas/s")
	}
	b.Run("xmlstream", func(b *testing.B) {
		s := NewScanner(Limits{})
		s.Resume(ClientScope)
		b.SetBytes(int64(len(mix)))
		b.ReportAllocs()
		for b.Loop() {
			for rest := mix; len(rest) > 0; {
				tok, n, err := s.Scan(rest)
				if err != nil || tok.Kind != Element {
					b.Fatal(tok.Kind, err)
				}
				rest = rest[n:]
			}
		}
		report(b)
	})
	b.Run("encoding-xml", func(b *testing.B) {
		in := []byte(header + string(mix) + "</stream:stream>")
		b.SetBytes(int64(len(mix)))
		b.ReportAllocs()
		for b.Loop() {
			d := xml.NewDecoder(bytes.NewReader(in))
			for {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
		}
		report(b)
	})
}
