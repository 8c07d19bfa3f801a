package chatd_test

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// The harness's own tests: a matcher that matches too much proves nothing.

func TestMatch(t *testing.T) {
	now := time.Now().UTC().Format("2006-01-02T15:04:05Z")
	tests := []struct {
		name      string
		want, got string
		ok        bool
	}{
		{"equal", `<message to='a@b'><body>hi</body></message>`, `<message to="a@b"><body>hi</body></message>`, true},
		{"attribute order", `<iq id='1' type='get'/>`, `<iq type='get' id='1'/>`, true},
		{"white space between children", "<message>\n  <body>hi</body>\n</message>", `<message><body>hi</body></message>`, true},
		{"white space in text", `<body>hi</body>`, `<body>hi </body>`, false},
		{"missing attribute", `<iq id='1'/>`, `<iq/>`, false},
		{"unexpected attribute", `<iq/>`, `<iq id='1'/>`, false},
		{"unexpected child", `<iq/>`, `<iq><a xmlns='x:y'/></iq>`, false},
		{"missing child", `<iq><a/><b/></iq>`, `<iq><a/></iq>`, false},
		{"order of children", `<iq><a/><b/></iq>`, `<iq><b/><a/></iq>`, false},
		{"other namespace", `<iq><a xmlns='x:1'/></iq>`, `<iq><a xmlns='x:2'/></iq>`, false},
		{"prefix for default namespace", `<iq><a xmlns='x:1'><b/></a></iq>`, `<iq><p:a xmlns:p='x:1'><p:b/></p:a></iq>`, true},
		{"unescaped", `<body>a&amp;b</body>`, `<body>a&#38;b</body>`, true},
		{"any value", `<iq id='*'/>`, `<iq id='77'/>`, true},
		{"any value must be there", `<iq id='*'/>`, `<iq/>`, false},
		{"any text", `<body>*</body>`, `<body>xyz</body>`, true},
		{"name twice the same", `<iq id='{a}'><b id='{a}'/></iq>`, `<iq id='1'><b id='1'/></iq>`, true},
		{"name twice different", `<iq id='{a}'><b id='{a}'/></iq>`, `<iq id='1'><b id='2'/></iq>`, false},
		{"part of a value", `<jid>romeo@chat.test/{r}</jid>`, `<jid>romeo@chat.test/x.y</jid>`, true},
		{"part of a value is not empty", `<jid>romeo@chat.test/{r}</jid>`, `<jid>romeo@chat.test/</jid>`, false},
		{"lenient", `<iq>…<b/></iq>`, `<iq><a/><b/><c/></iq>`, true},
		{"lenient but missing", `<iq>…<d/></iq>`, `<iq><a/><b/><c/></iq>`, false},
		{"lenient counts", `<iq>…<b/><b/></iq>`, `<iq><a/><b/></iq>`, false},
		{"lenient is not deep", `<iq>…<b/></iq>`, `<iq><b><c/></b></iq>`, false},
		{"recent time", `<delay stamp='{datetime}'/>`, `<delay stamp='` + now + `'/>`, true},
		{"old time", `<delay stamp='{datetime}'/>`, `<delay stamp='2002-09-10T23:41:07Z'/>`, false},
		{"no time", `<delay stamp='{datetime}'/>`, `<delay stamp='now'/>`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, got := parseOne(t, tt.want), parseOne(t, tt.got)
			if err := make(captures).match(want, got); (err == nil) != tt.ok {
				t.Errorf("match: %v", err)
			}
		})
	}
}

func parseOne(t *testing.T, text string) *node {
	t.Helper()
	nodes, err := parseElements(text)
	if err != nil || len(nodes) != 1 {
		t.Fatalf("%s: %d elements, %v", text, len(nodes), err)
	}
	return nodes[0]
}

func TestMatchSet(t *testing.T) {
	want, err := parseElements(`<a id='{x}'/><b id='{x}'/>`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseElements(`<b id='2'/><a id='2'/>`)
	if err != nil {
		t.Fatal(err)
	}
	c := make(captures)
	if !c.matchSet(want, got) || !maps.Equal(c, captures{"x": "2"}) {
		t.Errorf("not matched in the other order, or learnt %v", c)
	}
	if make(captures).matchSet(want, got[:1]) || make(captures).matchSet(want[:1], got) {
		t.Error("sets of different size match")
	}
}

func TestCapturesFill(t *testing.T) {
	c := captures{"id": "a'b"}
	if got := c.fill("<iq id='{id}' to='{other}'/>"); got != "<iq id='a&apos;b' to='{other}'/>" {
		t.Error(got)
	}
}

func TestNodeString(t *testing.T) {
	for _, text := range []string{
		`<presence/>`,
		"<iq type='get' id='1'>\n  <query xmlns='jabber:iq:roster'>\n    <item jid='a@b'/>\n  </query>\n</iq>",
		"<message xml:lang='en'>\n  <body>a &lt; b</body>\n</message>",
		"<stream:error>\n  <conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\n</stream:error>",
	} {
		if got := parseOne(t, text).String(); got != text {
			t.Errorf("printed\n%s\nfor\n%s", got, text)
		}
	}
}

// What -update writes keeps the holes that still fit.
func TestMerge(t *testing.T) {
	old := parseOne(t, `<iq id='*' to='{me}' type='get'><a x='*' y='1'/></iq>`)
	got := parseOne(t, `<iq id='push-9' to='me@b' type='get'><a x='5' y='2'/><delay stamp='2026-01-01T00:00:00Z'/></iq>`)
	want := "<iq id='*' to='{me}' type='get'>\n  <a x='*' y='2'/>\n  <delay stamp='{datetime}'/>\n</iq>"
	if s := make(captures).merge(old, got).String(); s != want {
		t.Errorf("got\n%s", s)
	}
}

func TestReadElementIsStrict(t *testing.T) {
	for _, text := range []string{`<a><!-- no --></a>`, `<a><?no no?></a>`, `<p:a/>`, `<a p:b='c'/>`, `text`} {
		if _, err := parseElements(text); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

const sampleScript = `# RFC 6121 §4.2: presence.

[Server]
  c2s.resource_conflict = "refuse"

[Client] Romeo
  jid: romeo@chat.test/orchard
  tls: direct

Romeo connects
Romeo sends:
  <presence>
    <show>away</show>
  </presence>

Romeo receives in any order:
  <presence from='*'/>
Romeo comes online with priority -3
`

func TestParseScript(t *testing.T) {
	s, err := parseScript(sampleScript)
	if err != nil {
		t.Fatal(err)
	}
	if s.String() != sampleScript {
		t.Errorf("written back it reads\n%s", s)
	}
	if s.server["c2s.resource_conflict"] != `"refuse"` {
		t.Errorf("settings: %v", s.server)
	}
	want := clientSpec{name: "Romeo", user: "romeo", domain: "chat.test", resource: "orchard", password: "secret", mechanism: "SCRAM-SHA-256", tls: "direct", account: true}
	if len(s.clients) != 1 || s.clients[0] != want {
		t.Errorf("clients: %+v", s.clients)
	}
	var got []string
	for _, it := range s.items {
		if it.step != nil {
			got = append(got, it.step.String()+"|"+it.step.block)
		}
	}
	steps := []string{"Romeo connects|", "Romeo sends:|<presence>\n  <show>away</show>\n</presence>", "Romeo receives in any order:|<presence from='*'/>", "Romeo comes online -3|"}
	if strings.Join(got, "\n") != strings.Join(steps, "\n") {
		t.Errorf("steps:\n%s", strings.Join(got, "\n"))
	}
}

func TestParseScriptRefuses(t *testing.T) {
	const romeo = "[Client] Romeo\n  jid: romeo@chat.test\n"
	for name, text := range map[string]string{
		"unknown client":      "Juliet connects\n",
		"unknown step":        romeo + "Romeo dances\n",
		"sends without block": romeo + "Romeo sends:\n",
		"block without sends": romeo + "Romeo connects\n  <presence/>\n",
		"stray indentation":   romeo + "\n  <presence/>\n",
		"client without jid":  "[Client] Romeo\n  tls: direct\n",
		"unknown option":      "[Client] Romeo\n  jid: romeo@chat.test\n  hat: red\n",
	} {
		if _, err := parseScript(text); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
