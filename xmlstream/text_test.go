package xmlstream

import "testing"

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"plain":                        "plain",
		"&lt;&gt;&amp;&apos;&quot;":    `<>&'"`,
		"a&#65;&#x41;&#x1F600;&#0065;": "aAA😀A",
		"&amp;lt;":                     "&lt;",
		"a\r\nb":                       "a\r\nb",
	} {
		if got := string(Unescape([]byte("x"), []byte(in))); got != "x"+want {
			t.Errorf("%q: %q, want %q", in, got, "x"+want)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"a&lt;b":                         "a<b",
		"<![CDATA[a&lt;b]]>":             "a&lt;b",
		"1<![CDATA[2]]>3<![CDATA[]]>4":   "1234",
		"<![CDATA[]]]]>":                 "]]",
		"a\r\nb\rc&#13;d":                "a\nb\nc\rd",
		"<![CDATA[a\r\nb]]>":             "a\nb",
		"text before<child>of</child> x": "text before",
	} {
		if got := string(Text([]byte("x"), []byte(in))); got != "x"+want {
			t.Errorf("%q: %q, want %q", in, got, "x"+want)
		}
	}
}
