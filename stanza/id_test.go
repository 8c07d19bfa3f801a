package stanza

import (
	"fmt"
	"strings"
	"testing"

	"chatd/xmlstream"
)

func loadMessage(t *testing.T, xml string) *Stanza {
	t.Helper()
	sc := xmlstream.NewScanner(xmlstream.Limits{})
	sc.Resume(xmlstream.ClientScope)
	tok, _, err := sc.Scan([]byte(xml))
	if err != nil {
		t.Fatal(err)
	}
	st := new(Stanza)
	if err := st.Load(tok, nil); err != nil {
		t.Fatal(err)
	}
	return st.Clone()
}

// TestIdentify: XEP-0359 §5. What claims to be the recipient's stanza-id goes, in whatever
// spelling; everything else stays.
func TestIdentify(t *testing.T) {
	for _, tt := range []struct{ attrs, inner, want string }{
		{"", "", ""},
		{"", "<body>hi</body>", "<body>hi</body>"},
		{"", "<body>a stanza-id</body>", "<body>a stanza-id</body>"},
		{"", "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@chat.test' id='1'/>", ""},
		{"", "<body/> <stanza-id xmlns='urn:xmpp:sid:0' by='Juliet@Chat.test' id='1'/><x/>", "<body/> <x/>"},
		{"", "<s:stanza-id xmlns:s='urn:xmpp:sid:0' by='juliet@chat.test' id='1'><y/></s:stanza-id><x/>", "<x/>"},
		{" xmlns:s='urn:xmpp:sid:0'", "<s:stanza-id by='juliet@chat.test' id='1'/><x/>", "<x/>"},
		{"", "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@chat.&#116;est' id='1'/>", ""},
		{"", "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@chat.test/r' id='1'/>", "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@chat.test/r' id='1'/>"},
		{"", "<stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.test' id='1'/>", "<stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.test' id='1'/>"},
		{"", "<stanza-id xmlns='other' by='juliet@chat.test' id='1'/>", "<stanza-id xmlns='other' by='juliet@chat.test' id='1'/>"},
		{"", "<f><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@chat.test' id='1'/></f>", "<f><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@chat.test' id='1'/></f>"},
		{"", "<origin-id xmlns='urn:xmpp:sid:0' id='1'/>", "<origin-id xmlns='urn:xmpp:sid:0' id='1'/>"},
	} {
		st := loadMessage(t, "<message to='juliet@chat.test/balcony'"+tt.attrs+">"+tt.inner+"</message>")
		st.Identify()
		id := fmt.Sprintf("<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@chat.test' id='%s'/>", st.StanzaID[:])
		want := "<message to='juliet@chat.test/balcony'" + tt.attrs + ">" + tt.want + id + "</message>"
		got := string(st.Append(nil))
		if got != want {
			t.Errorf("%s: got %s, want %s", tt.inner, got, want)
		}
		if len(got) > st.Size() {
			t.Errorf("%s: %d bytes, Size says at most %d", tt.inner, len(got), st.Size())
		}
		if again := string(loadMessage(t, got).Append(nil)); again != got {
			t.Errorf("on its way again it is %s", again)
		}
	}
}

func TestIdentifyDoesNotAllocate(t *testing.T) {
	st := loadMessage(t, "<message to='juliet@chat.test/balcony'><body>hi</body></message>")
	seen := make(map[ID]bool)
	for range 1000 {
		st.Identify()
		if seen[st.StanzaID] || strings.ContainsAny(string(st.StanzaID[:]), "'<&\x00") {
			t.Fatalf("id %s", st.StanzaID)
		}
		seen[st.StanzaID] = true
	}
	if n := testing.AllocsPerRun(100, st.Identify); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
