package stanza

import (
	"strings"
	"testing"

	"mellium.im/xmpp/jid"
)

// jidSeeds are addresses that tell the two parsers apart if anything does.
var jidSeeds = []string{
	"", "/", "@", "a", "a@", "@a", "a/", "/a", "a@b", "a@b/", "a@b/c", "a/b@c", "a@b@c", "a@b/c/d", "a@b/c@d", `a@b/<c>`, `b/"c&d`,
	"juliet@example.com", "juliet@example.com/balcony", "example.com/ba lcony", "juliet@example.com/ ", "juliet@example.com/ a ",
	"Juliet@Example.COM/Balcony", "ju liet@example.com", `o"n@d`, "o&n@d", "o'n@d", "o:n@d", "o<n@d", "o>n@d", "a=b,c@d", "~{|}!#$%()*+;?[\\]^_`@d",
	"-a@d", "1a@d", "a@1.2.3.4", "a@01.2.3.4", "a@1.2.3.256", "a@[::1]", "a@[::A]", "a@[1.2.3.4]", "a@[::ffff:1.2.3.4]", "a@[fe80::1%eth0]",
	"a@b.", "a@b..", "a@b...", "a@.b", "a@b..c", "a@.", "a@-b", "a@b-", "a@b-.c", "a@ab--c", "a@xn--bcher-kva.example", "a@xn--", "a@xn--a", "a@b_c",
	"a@" + strings.Repeat("b", 63), "a@" + strings.Repeat("b", 64), "a@" + strings.Repeat("b.", 126) + "b", "a@" + strings.Repeat("b.", 127) + "b",
	strings.Repeat("a", 1023) + "@b", strings.Repeat("a", 1024) + "@b", "a@b/" + strings.Repeat("c", 1023), "a@b/" + strings.Repeat("c", 1024),
	"fußball@example.com", "π@example.com", "Σ@example.com/foo", "ς@d", "king@example.com/♚", "henryⅣ@example.com", "♚@example.com", "a@bücher.example", "a@BÜCHER.example",
	"ｊｕｌｉｅｔ@example.com", "a＠b@c", "a@b。", "a@b。c", "a@℀.com", "a\x00@b", "a@b\x00", "a@b/\x00", "a@b/\x7f", "\xff@b", "a@\xff", "a@b/\xff",
	"a@b/\u00a0", "a@b/e\u0301", "e\u0301@b", "\u05d0@b", "\u05d0a@b", "a\u200db@c", "a@b\u00ad", "İ@d", "ﬁ@d", "a@K.com", "ƛ@d",
}

func TestParseJIDAgreesWithMellium(t *testing.T) {
	for _, s := range jidSeeds {
		agree(t, s)
	}
}

// agree holds ParseJID against mellium's parser. ParseJID is stricter in one
// point: it refuses what mellium would normalize differently a second time.
func agree(t *testing.T, s string) {
	t.Helper()
	got, err := ParseJID(s)
	want, wantErr := jid.Parse(s)
	if wantErr == nil {
		if again, againErr := jid.Parse(want.String()); againErr != nil || !again.Equal(want) {
			if err == nil {
				t.Fatalf("ParseJID(%q) = %q, which is not stable", s, got)
			}
			return
		}
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("ParseJID(%q): error %v, mellium: %v", s, err, wantErr)
	}
	if err != nil {
		if !got.IsZero() {
			t.Fatalf("ParseJID(%q) = %q with an error", s, got)
		}
		return
	}
	if got.Local() != want.Localpart() || got.Domain() != want.Domainpart() || got.Resource() != want.Resourcepart() || got.String() != want.String() {
		t.Fatalf("ParseJID(%q) = %q %q %q, mellium: %q %q %q", s,
			got.Local(), got.Domain(), got.Resource(), want.Localpart(), want.Domainpart(), want.Resourcepart())
	}
	if again, err := ParseJID(got.String()); err != nil || again != got {
		t.Fatalf("ParseJID(%q): %q does not parse to itself: %q, %v", s, got, again, err)
	}
	if bare := got.Bare(); !bare.IsBare() || got.IsBare() != (bare == got) || bare.Resource() != "" || bare.Local() != got.Local() || bare.Domain() != got.Domain() {
		t.Fatalf("%q.Bare() = %q", got, bare)
	}
	for _, j := range []JID{got, got.Bare()} {
		if raw := string(appendJID(nil, "", j)); raw != "'"+Escape(j.String())+"'" {
			t.Fatalf("%q is written as %s", j, raw)
		}
	}
}

func FuzzJID(f *testing.F) {
	for _, s := range jidSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { agree(t, s) })
}

func TestNormalJIDTakesTheFastPath(t *testing.T) {
	for _, s := range []string{"example.com", "juliet@example.com", "juliet@example.com/Balcony 1", "sum123@127.0.0.1/x/y@z"} {
		if _, ok := normalJID(s); !ok {
			t.Errorf("%q is not recognized as normal", s)
		}
		if n := testing.AllocsPerRun(100, func() {
			j, _ := ParseJID(s)
			if j.Bare().IsZero() {
				t.Fatal("zero JID")
			}
		}); n != 0 {
			t.Errorf("ParseJID(%q): %v allocations", s, n)
		}
	}
}

func TestJIDMethods(t *testing.T) {
	tests := []struct {
		in, local, domain, resource string
	}{
		{"example.com", "", "example.com", ""},
		{"example.com/r", "", "example.com", "r"},
		{"juliet@example.com", "juliet", "example.com", ""},
		{"Juliet@EXAMPLE.com/Balcony", "juliet", "example.com", "Balcony"},
		{"a@b/c@d/e", "a", "b", "c@d/e"},
	}
	for _, tt := range tests {
		j := MustJID(tt.in)
		if j.Local() != tt.local || j.Domain() != tt.domain || j.Resource() != tt.resource {
			t.Errorf("%q: %q %q %q", tt.in, j.Local(), j.Domain(), j.Resource())
		}
		if j.IsZero() || j.IsBare() != (tt.resource == "") {
			t.Errorf("%q: IsZero %v, IsBare %v", tt.in, j.IsZero(), j.IsBare())
		}
		if c := j.Clone(); c != j {
			t.Errorf("%q: Clone is %q", tt.in, c)
		}
		if bare := strings.TrimSuffix(j.String(), "/"+tt.resource); j.Bare() != MustJID(bare) || j.Bare().String() != bare {
			t.Errorf("%q: Bare is %q", tt.in, j.Bare())
		}
	}
	if z := (JID{}); !z.IsZero() || z.String() != "" || z.Local() != "" || z.Domain() != "" || z.Resource() != "" || z.Bare() != z || z.Clone() != z {
		t.Error("the zero JID is not empty")
	}
}

func TestWithResource(t *testing.T) {
	j := MustJID("juliet@example.com/old")
	tests := []struct{ resource, want string }{
		{"", "juliet@example.com"},
		{"Balcony", "juliet@example.com/Balcony"},
		{"a/b@c", "juliet@example.com/a/b@c"},
		{"e\u0301", "juliet@example.com/\u00e9"}, // RFC 8265 §4.2: NFC
	}
	for _, tt := range tests {
		got, err := j.WithResource(tt.resource)
		if err != nil || got != MustJID(tt.want) || got.String() != tt.want {
			t.Errorf("WithResource(%q) = %q, %v", tt.resource, got, err)
		}
	}
	for _, bad := range []string{"\x01", "\xff", strings.Repeat("x", maxPart+1)} {
		if got, err := j.WithResource(bad); err == nil {
			t.Errorf("WithResource(%q) = %q", bad, got)
		}
	}
}

func TestUnstableJIDIsRefused(t *testing.T) {
	for _, s := range []string{"a@b..", "a@b。"} {
		if j, err := ParseJID(s); err == nil {
			t.Errorf("ParseJID(%q) = %q", s, j)
		}
	}
}

func TestMustJIDPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	MustJID("@")
}

func BenchmarkParseJID(b *testing.B) {
	for _, bb := range []struct{ name, jid string }{
		{"normal", "juliet.capulet@chat.example.com/balcony-8f3a"},
		{"mapped", "Juliet.Capulet@chat.example.com/balcony-8f3a"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseJID(bb.jid); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestRestoreIsWhatWasParsed(t *testing.T) {
	for _, s := range []string{"chat.test", "a@chat.test", "a@chat.test/r", "chat.test/r@x", "a@chat.test/b/c@d", "a@chat.test/<&'", "\u00fcber@chat.test/x"} {
		if want := MustJID(s); Restore(want.String()) != want {
			t.Errorf("%q: %+v, want %+v", s, Restore(want.String()), want)
		}
	}
	if !Restore("").IsZero() {
		t.Error("no address is one")
	}
}
