package stanza

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"chatd/xmlstream"
)

// full is a stanza with everything in it that may need a quote or an escape.
func full() *Stanza {
	return &Stanza{
		Kind:  Message,
		Type:  Chat,
		From:  MustJID("juliet@example.com/a'b\"<&>"),
		To:    MustJID("romeo@example.net"),
		ID:    []byte(`it's`),
		Lang:  []byte("en"),
		Attrs: []byte(` xmlns:x='urn:x' x:y="z'"`),
		Inner: []byte(`<body>&lt;hi&gt; it's "me"</body><x:e/>`),
		Space: []byte(NSClient),
		Local: []byte("body"),
	}
}

func TestAppend(t *testing.T) {
	tests := []struct {
		s    *Stanza
		want string
	}{
		{&Stanza{Kind: Presence}, `<presence/>`},
		{&Stanza{Kind: Presence, Type: Unavailable, From: MustJID("a@b/c")}, `<presence from='a@b/c' type='unavailable'/>`},
		{&Stanza{Kind: IQ, Type: Result, To: MustJID("a@b"), ID: []byte("1")}, `<iq to='a@b' id='1' type='result'/>`},
		{&Stanza{Kind: IQ, Type: Get, ID: []byte(`'`), Inner: []byte("<q xmlns='u'/>")}, `<iq id="'" type='get'><q xmlns='u'/></iq>`},
		{&Stanza{Kind: Message, ID: []byte{}, Lang: []byte("de")}, `<message id='' xml:lang='de'/>`},
		{full(), `<message from='juliet@example.com/a&apos;b&quot;&lt;&amp;&gt;' to='romeo@example.net' id="it's" type='chat'` +
			` xml:lang='en' xmlns:x='urn:x' x:y="z'"><body>&lt;hi&gt; it's "me"</body><x:e/></message>`},
	}
	for _, tt := range tests {
		got := tt.s.Append([]byte("before"))
		if string(got) != "before"+tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
		if n := len(got) - len("before"); tt.s.Size() < n {
			t.Errorf("Size %d is less than %d", tt.s.Size(), n)
		}
		checkXML(t, got[len("before"):])
	}
}

// checkXML asks somebody else whether b is well-formed.
func checkXML(t *testing.T, b []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	s := full()
	b := make([]byte, 0, s.Size())
	if n := testing.AllocsPerRun(100, func() { b = s.Append(b[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestClone(t *testing.T) {
	s := full()
	want := string(s.Append(nil))
	c := s.Clone()
	for _, f := range [][]byte{s.ID, s.Lang, s.Attrs, s.Inner, s.Space, s.Local} {
		clear(f) // the read buffer is used again
	}
	if got := string(c.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if string(c.Space) != NSClient || string(c.Local) != "body" {
		t.Errorf("payload is %q %q", c.Space, c.Local)
	}
	c.ID = append(c.ID, "overflow"...)
	if string(c.Lang) != "en" {
		t.Errorf("fields of a clone overlap: %q", c.Lang)
	}
	if e := (&Stanza{Kind: IQ, ID: []byte{}}).Clone(); e.ID == nil || e.Lang != nil {
		t.Errorf("empty and absent got mixed up: %+v", e)
	}
}

func TestParseType(t *testing.T) {
	kinds := map[Kind]string{
		Message:  "chat groupchat headline error",
		Presence: "unavailable subscribe subscribed unsubscribe unsubscribed probe error",
		IQ:       "get set result error",
	}
	all := append(strings.Fields(strings.Join([]string{kinds[Message], kinds[Presence], kinds[IQ]}, " ")), "available", "Chat", " chat", "x")
	for kind, names := range kinds {
		defined := make(map[string]bool)
		for _, name := range strings.Fields(names) {
			defined[name] = true
		}
		for _, name := range all {
			got, ok := ParseType(kind, []byte(name))
			if ok != defined[name] || ok && got.String() != name || !ok && got != None {
				t.Errorf("%v %q: %v, %v", kind, name, got, ok)
			}
		}
		if got, ok := ParseType(kind, nil); got != None || ok != (kind != IQ) {
			t.Errorf("%v without a type: %v, %v", kind, got, ok)
		}
	}
	if got, ok := ParseType(Message, []byte("normal")); got != None || !ok {
		t.Errorf("normal message: %v, %v", got, ok)
	}
}

func TestIsSubscription(t *testing.T) {
	want := map[Type]bool{Subscribe: true, Subscribed: true, Unsubscribe: true, Unsubscribed: true}
	for typ := None; typ <= Result; typ++ {
		if typ.IsSubscription() != want[typ] {
			t.Errorf("%q: %v", typ, typ.IsSubscription())
		}
	}
}

func TestAppendEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"":            "",
		"plain":       "plain",
		`&<>'"`:       "&amp;&lt;&gt;&apos;&quot;",
		"a&b":         "a&amp;b",
		"&amp;":       "&amp;amp;",
		"]]>é\n\t ♚<": "]]&gt;é\n\t ♚&lt;",
	} {
		if got := string(AppendEscaped([]byte("x"), in)); got != "x"+want {
			t.Errorf("%q: %q", in, got)
		}
		if got := string(AppendEscaped(nil, []byte(in))); got != want || Escape(in) != want {
			t.Errorf("%q: %q, %q", in, got, Escape(in))
		}
		if got := string(xmlstream.Unescape(nil, []byte(want))); got != in {
			t.Errorf("%q comes back as %q", in, got)
		}
	}
}

// scan reads one element as a connection does.
func scan(t testing.TB, raw string) *xmlstream.Token {
	t.Helper()
	sc := xmlstream.NewScanner(xmlstream.Limits{})
	sc.Resume(xmlstream.ClientScope)
	tok, _, err := sc.Scan([]byte(raw))
	if err != nil || tok.Kind != xmlstream.Element {
		t.Fatalf("%s: %+v, %v", raw, tok, err)
	}
	return tok
}

func TestLoad(t *testing.T) {
	var s Stanza
	err := s.Load(scan(t, `<message  type="chat" to='Romeo@example.net' from='a@b/&apos;' id='x&amp;' xml:lang='en' `+
		`xmlns:x='urn:x' x:y="z'" xmlns='jabber:client' foo='bar'><body>hi</body><x:e/></message >`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Kind != Message || s.Type != Chat || s.To != MustJID("romeo@example.net") || s.From != MustJID("a@b/'") ||
		string(s.ID) != "x&amp;" || string(s.Lang) != "en" || string(s.Space) != NSClient || string(s.Local) != "body" {
		t.Errorf("%+v", s)
	}
	want := `<message from='a@b/&apos;' to='romeo@example.net' id='x&amp;' type='chat' xml:lang='en' x:y="z'" foo='bar' xmlns:x='urn:x'><body>hi</body><x:e/></message>`
	if got := string(s.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// A second element leaves nothing of the first.
	if err := s.Load(scan(t, `<presence/>`), nil); err != nil || string(s.Append(nil)) != `<presence/>` || len(s.Space) > 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestLoadInterns(t *testing.T) {
	known := MustJID("romeo@example.net")
	asked := 0
	intern := func(raw []byte) (JID, bool) {
		asked++
		return known, string(raw) == known.String()
	}
	tok := scan(t, `<message to='romeo@example.net'><body>hi</body></message>`)
	s := Stanza{Attrs: make([]byte, 0, 64)}
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Load(tok, intern); err != nil || s.To != known {
			t.Fatal(s.To, err)
		}
	}); n != 0 || asked == 0 {
		t.Errorf("%v allocations, asked %d times", n, asked)
	}
	if asked != 1 {
		t.Errorf("asked %d times for the address of the last stanza", asked)
	}
	if err := s.Load(scan(t, `<message to='juliet@example.net'/>`), intern); err != nil || s.To != MustJID("juliet@example.net") {
		t.Errorf("%v, %v", s.To, err)
	}
}

// What is written with references is never taken for an address that looks like it.
func TestLoadUnescapesBeforeItKnows(t *testing.T) {
	looksLike, meant := MustJID("romeo@example.net/a&lt;b"), MustJID("romeo@example.net/a<b")
	tok := scan(t, `<message to='romeo@example.net/a&lt;b'/>`)
	s := Stanza{To: looksLike}
	intern := func(raw []byte) (JID, bool) { return looksLike, string(raw) == looksLike.String() }
	if err := s.Load(tok, intern); err != nil || s.To != meant {
		t.Errorf("%v, %v", s.To, err)
	}
	again := `<message to='` + Escape(meant.String()) + `'/>`
	if got := string(s.Append(nil)); got != again {
		t.Errorf("got  %s\nwant %s", got, again)
	}
}

func TestLoadRefuses(t *testing.T) {
	tests := []struct {
		raw  string
		want error // the condition counts
	}{
		{`<foo/>`, ErrNotStanza},
		{`<message xmlns='jabber:server'/>`, ErrNotStanza},
		{`<message to='@'/>`, ErrJIDMalformed},
		{`<message from='a@b/'/>`, ErrJIDMalformed},
		{`<message type='strange'/>`, nil}, // RFC 6121 §5.2.2: normal
		{`<presence type='strange'/>`, ErrBadRequest},
		{`<iq id='1'/>`, ErrBadRequest},
		{`<iq id='1' type='strange'><a/></iq>`, ErrBadRequest},
		{`<iq type='get'><a/></iq>`, ErrBadRequest},
		{`<iq id='' type='get'><a/></iq>`, ErrBadRequest},
		{`<iq id='1' type='get'/>`, ErrBadRequest},
		{`<iq id='1' type='set'><a/><b/></iq>`, ErrBadRequest},
		{`<iq id='1' type='set'><a/></iq>`, nil},
		{`<iq id='1' type='result'/>`, nil},
		{`<iq id='1' type='result'><a/></iq>`, nil},
		{`<iq id='1' type='result'><a/><b/></iq>`, ErrBadRequest},
		{`<iq id='1' type='error'><a/><error/></iq>`, nil},
	}
	for _, tt := range tests {
		var s Stanza
		err := s.Load(scan(t, tt.raw), nil)
		got, isError := errors.AsType[*Error](err)
		want, wantError := tt.want.(*Error)
		if isError != wantError || isError && (got.Condition != want.Condition || got.Type != want.Type) || !isError && err != tt.want {
			t.Errorf("%s: %v, want %v", tt.raw, err, tt.want)
		}
	}
}

// What cannot be taken can still be answered.
func TestLoadKeepsWhatAnAnswerNeeds(t *testing.T) {
	var s Stanza
	err := s.Load(scan(t, `<iq type='get' to='@' id='7' from='a@b/c'><q xmlns='u'/></iq>`), nil)
	e, ok := errors.AsType[*Error](err)
	if !ok || s.Kind != IQ || s.Type != Get || string(s.ID) != "7" || s.From != MustJID("a@b/c") {
		t.Fatalf("%+v, %v", s, err)
	}
	want := `<iq to='a@b/c' id='7' type='error'><q xmlns='u'/><error type='modify'><jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`
	if got := string(e.Reply(&s).Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParse(t *testing.T) {
	for _, s := range []*Stanza{full(), {Kind: Presence}, {Kind: IQ, Type: Set, ID: []byte("1"), Inner: []byte("<q xmlns='u'>x</q>")}} {
		raw := s.Append(nil)
		got, err := Parse(raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		want := string(raw)
		clear(raw)
		if again := string(got.Append(nil)); len(again) != len(want) {
			t.Errorf("got  %s\nwant %s", again, want)
		}
		if got.Kind != s.Kind || got.Type != s.Type || got.From != s.From || got.To != s.To || !bytes.Equal(got.ID, s.ID) ||
			!bytes.Equal(got.Lang, s.Lang) || !bytes.Equal(got.Inner, s.Inner) {
			t.Errorf("got %+v, want %+v", got, s)
		}
	}
	for _, bad := range []string{"", " ", "<message>", "<message/", "</stream:stream>", "x", "<a/>", "<message><!-- --></message>", "<iq/>"} {
		if got, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}
