package stanza

import (
	"strings"
	"testing"
)

func TestErrorXML(t *testing.T) {
	const ns = "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
	tests := []struct {
		e    *Error
		want string
	}{
		{ErrForbidden, "<error type='auth'><forbidden " + ns + "/></error>"},
		{ErrForbidden.WithText("a < b"), "<error type='auth'><forbidden " + ns + "/><text " + ns + " xml:lang='en'>a &lt; b</text></error>"},
		{ErrNotAcceptable.WithApp("<x xmlns='u'/>"), "<error type='modify'><not-acceptable " + ns + "/><x xmlns='u'/></error>"},
	}
	for _, tt := range tests {
		got := tt.e.AppendXML(nil)
		if string(got) != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
		checkXML(t, got)
	}
	if ErrForbidden.Text != "" || ErrNotAcceptable.App != "" {
		t.Error("WithText or WithApp changed the original")
	}
	if got := ErrForbidden.WithText("no").Error(); !strings.Contains(got, "forbidden") || !strings.Contains(got, "no") {
		t.Error(got)
	}
}

func TestReply(t *testing.T) {
	for kind, types := range map[Kind][]Type{
		Message:  {None, Chat, Groupchat, Headline, TypeError},
		Presence: {None, Unavailable, Subscribe, Probe, TypeError},
		IQ:       {Get, Set, Result, TypeError},
	} {
		for _, typ := range types {
			s := full()
			s.Kind, s.Type = kind, typ
			before := string(s.Append(nil))
			r := ErrItemNotFound.Reply(s)
			if typ == TypeError || typ == Result { // RFC 6120 §8.3.1, §8.2.3
				if r != nil {
					t.Errorf("%v %v is answered: %s", kind, typ, r.Append(nil))
				}
				continue
			}
			got := string(r.Append(nil))
			want := "<" + kind.String() + ` from='romeo@example.net' to='juliet@example.com/a&apos;b&quot;&lt;&amp;&gt;' id="it's" type='error'` +
				` xmlns:x='urn:x' x:y="z'"><body>&lt;hi&gt; it's "me"</body><x:e/>` +
				`<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></` + kind.String() + ">"
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			checkXML(t, []byte(got))
			if after := string(s.Append(nil)); after != before {
				t.Errorf("the stanza was changed: %s", after)
			}
			for _, f := range [][]byte{s.ID, s.Attrs, s.Inner} {
				clear(f)
			}
			if later := string(r.Append(nil)); later != want {
				t.Errorf("the reply is a view into the stanza: %s", later)
			}
		}
	}
}

func TestStreamErrorXML(t *testing.T) {
	const ns = "xmlns='urn:ietf:params:xml:ns:xmpp-streams'"
	tests := []struct {
		e    *StreamError
		want string
	}{
		{StreamConflict, "<stream:error><conflict " + ns + "/></stream:error>"},
		{StreamConflict.WithText("a & b"), "<stream:error><conflict " + ns + "/><text " + ns + " xml:lang='en'>a &amp; b</text></stream:error>"},
		{&StreamError{Condition: "see-other-host", Content: "[::1]:5222<", App: "<x xmlns='u'/>"},
			"<stream:error><see-other-host " + ns + ">[::1]:5222&lt;</see-other-host><x xmlns='u'/></stream:error>"},
	}
	for _, tt := range tests {
		if got := string(tt.e.AppendXML(nil)); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	if StreamConflict.Text != "" {
		t.Error("WithText changed the original")
	}
	if got := StreamConflict.WithText("why").Error(); !strings.Contains(got, "conflict") || !strings.Contains(got, "why") {
		t.Error(got)
	}
}
