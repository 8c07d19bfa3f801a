package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

const header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id=\"a>b\">"

// elements cuts a stream that arrives in pieces of that size.
func elements(t *testing.T, stream string, size int) (found []string, err error) {
	t.Helper()
	var buf []byte
	for piece := range slices.Chunk([]byte(stream), size) {
		buf = append(buf, piece...)
		for {
			elem, n, err := nextElement(buf)
			if err != nil {
				return found, err
			}
			if elem != nil {
				found = append(found, string(elem))
			}
			buf = buf[n:]
			if elem == nil {
				break
			}
		}
	}
	return found, nil
}

func TestNextElement(t *testing.T) {
	want := []string{
		strings.TrimPrefix(header, "<?xml version='1.0'?>"),
		"<presence/>",
		"<message to='a/>'><body>x &lt; y</body><a><a/></a></message>",
		"<message><body><![CDATA[</body></message> ]] >]]></body></message>",
		"<iq id=\"it's\"></iq>",
		"</stream:stream>",
	}
	stream := "<?xml version='1.0'?>" + strings.Join(want, " \n")
	for _, size := range []int{1, 2, 3, 7, 50, len(stream)} {
		got, err := elements(t, stream, size)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: got %q %v", size, got, err)
		}
	}
	for _, bad := range []string{"<!DOCTYPE x>", "<a><!-- x --></a>", "<>"} {
		if got, err := elements(t, bad, len(bad)); err == nil {
			t.Errorf("%q: got %q", bad, got)
		}
	}
	if _, _, err := nextElement(bytes.Repeat([]byte("<a>"), maxElement)); err == nil {
		t.Error("an element without end was taken")
	}
}

func FuzzNextElement(f *testing.F) {
	f.Add(header+"<message type='x'><body>a</body></message><presence/>", uint8(3))
	f.Add("<a><![CDATA[<]]></a></b>", uint8(1))
	f.Fuzz(func(t *testing.T, stream string, size uint8) {
		whole, errWhole := elements(t, stream, max(len(stream), 1))
		cut, errCut := elements(t, stream, int(size)+1)
		if !slices.Equal(whole, cut) || (errWhole == nil) != (errCut == nil) {
			t.Errorf("whole: %q %v, cut: %q %v", whole, errWhole, cut, errCut)
		}
		for _, e := range whole {
			attribute([]byte(e), "type")
			content([]byte(e))
			condition([]byte(e))
		}
	})
}

func TestAttribute(t *testing.T) {
	elem := []byte("<iq xml:id='no' id = \"it's\" type='get' to=''><x from='inner'/></iq>")
	for name, want := range map[string]string{"id": "it's", "type": "get", "to": "", "from": "", "xml:id": "no", "i": ""} {
		if got := attribute(elem, name); string(got) != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if attribute(elem, "to") == nil || attribute(elem, "from") != nil {
		t.Error("empty and absent are the same")
	}
}

func TestParts(t *testing.T) {
	if got := text([]byte("<iq><bind><jid>a@b/c</jid></bind></iq>"), "jid"); got != "a@b/c" {
		t.Errorf("text: %q", got)
	}
	for elem, want := range map[string]string{"<c xmlns='x'> abc\n</c>": "abc", "<c/>": "", "<c></c>": "", "<c": ""} {
		if got := content([]byte(elem)); string(got) != want {
			t.Errorf("content of %q: %q", elem, got)
		}
	}
	for elem, want := range map[string]string{
		"<iq type='error'><q/><error type='cancel'><conflict xmlns='x'/></error></iq>":               "conflict",
		"<failure xmlns='s'><not-authorized/></failure>":                                             "not-authorized",
		"<stream:error><policy-violation xmlns='x'/><text xmlns='x'>slow down</text></stream:error>": "policy-violation text",
		"<iq/>": "unknown",
	} {
		if got := condition([]byte(elem)); got != want {
			t.Errorf("condition of %s: %q, want %q", elem, got, want)
		}
	}
	has := contacts([]byte("<iq><query><item jid='a@b' subscription='both'/><item subscription=\"to\" jid='c@d'><group>x</group></item><item jid='e@f' subscription='from'/></query></iq>"))
	if len(has) != 2 || !has["a@b"] || !has["c@d"] {
		t.Errorf("contacts: %v", has)
	}
	got := string(appendReply(nil, []byte("<iq type='get' id='1' from='s'><ping xmlns='urn:xmpp:ping'/></iq>"), "get"))
	if got != "<iq type='result' id='1' to='s'/>" {
		t.Errorf("reply to a ping: %s", got)
	}
	got = string(appendReply(nil, []byte("<iq type='get' id=\"it's\"><query xmlns='x'/></iq>"), "get"))
	if !strings.HasPrefix(got, "<iq type='error' id='it&apos;s'><error ") {
		t.Errorf("reply to a question: %s", got)
	}
}
