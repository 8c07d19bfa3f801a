package stanza

import "testing"

// TestWrittenID: the id of a message is found where Append has put it, and nowhere else.
func TestWrittenID(t *testing.T) {
	to := MustJID("juliet@chat.test/balcony")
	read := func(inner string, id ID) ID {
		st := &Stanza{Kind: Message, From: MustJID("romeo@chat.test/x"), To: to, Inner: []byte(inner), StanzaID: id}
		again, err := Parse(st.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		return again.WrittenID()
	}
	id := NewID()
	if got := read("<body>hello</body>", id); got != id {
		t.Errorf("%s, not %s", got[:], id[:])
	}
	for _, inner := range []string{"", "<body>hello</body>", "<x id='01234567890123456789'/>", "<y xmlns='urn:y' id='0123456789'/>", "<body>01234567890123456789'/&gt;</body>"} {
		if got := read(inner, ID{}); got != (ID{}) {
			t.Errorf("%q has the id %s", inner, got[:])
		}
	}
}
