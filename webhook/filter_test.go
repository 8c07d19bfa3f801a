package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"chatd/stanza"
	"chatd/store/memory"
)

func message(inner string) *stanza.Stanza {
	return &stanza.Stanza{Kind: stanza.Message, Type: stanza.Chat, From: stanza.MustJID("a@chat.test/x"), To: stanza.MustJID("b@chat.test"), ID: []byte("m1"), Inner: []byte(inner)}
}

func bodies(t *testing.T, st *stanza.Stanza) texts {
	t.Helper()
	found, err := findBodies(st)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestUnreadable: XML that only others can read is no way past the filter.
func TestUnreadable(t *testing.T) {
	f := newFilter(t, FilterConfig{}, answering(200, `{"action":"accept"}`))
	for _, name := range []string{"\u2070x", "\U00010400", "a\u203f"} {
		st, err := stanza.Parse([]byte("<message from='a@chat.test/x' to='b@chat.test' type='chat'><" + name + " xmlns='x:y'/><body>hi</body></message>"))
		if err != nil {
			continue
		}
		_, findErr := findBodies(st)
		if _, refusal := f.Filter(t.Context(), nil, st); (refusal != nil) != (findErr != nil) {
			t.Errorf("<%s/>: %v, refused %v", name, findErr, refusal)
		}
	}
}

func TestReplaced(t *testing.T) {
	for _, tt := range []struct{ name, attrs, inner, want string }{
		{"plain", "", "<body>bad</body>", "<body>NEW &lt;&amp;&gt;</body>"},
		{"others stay as they are", "", " <active xmlns='x:y'  a = \"1\"/><body >bad</body\n><thread>t</thread>tail",
			" <active xmlns='x:y'  a = \"1\"/><body >NEW &lt;&amp;&gt;</body\n><thread>t</thread>tail"},
		{"languages", "", "<body>bad</body><body xml:lang='de'>b&#246;se</body>", "<body>NEW &lt;&amp;&gt;</body><body xml:lang='de'>NEW &lt;&amp;&gt;</body>"},
		{"CDATA", "", "<body><![CDATA[</body>bad]]></body>", "<body>NEW &lt;&amp;&gt;</body>"},
		{"elements in it", "", "<body>b<b xmlns='x:y'>a</b>d</body>", "<body>NEW &lt;&amp;&gt;</body>"},
		{"empty ones stay", "", "<body/><body>bad</body><body></body>", "<body/><body>NEW &lt;&amp;&gt;</body><body></body>"},
		{"not direct", "", "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>in</body></message></forwarded><body>bad</body>",
			"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>in</body></message></forwarded><body>NEW &lt;&amp;&gt;</body>"},
		{"of another namespace", "", "<body xmlns='http://www.w3.org/1999/xhtml'>html</body><body>bad</body>", "<body xmlns='http://www.w3.org/1999/xhtml'>html</body><body>NEW &lt;&amp;&gt;</body>"},
		{"prefix of its own", "", "<c:body xmlns:c='jabber:client'>bad</c:body>", "<c:body xmlns:c='jabber:client'>NEW &lt;&amp;&gt;</c:body>"},
		{"prefix of the message", " xmlns:c='jabber:client'", "<c:body>bad</c:body>", "<c:body>NEW &lt;&amp;&gt;</c:body>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := message(tt.inner)
			st.Attrs = []byte(tt.attrs)
			got := bodies(t, st).replaced(st, "NEW <&>")
			if string(got.Inner) != tt.want {
				t.Errorf("got  %s\nwant %s", got.Inner, tt.want)
			}
			if string(st.Inner) != tt.inner {
				t.Errorf("the original is now %s", st.Inner)
			}
			if _, err := stanza.Parse(got.Append(nil)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFindBodies(t *testing.T) {
	got := bodies(t, message("<body>one &amp; <![CDATA[<two>]]></body><body xml:lang='de'>zwei</body><subject>s</subject>")).bodies
	if len(got) != 2 || got[0].text != "one & <two>" || got[0].lang != "" || got[1].text != "zwei" || got[1].lang != "de" {
		t.Errorf("%+v", got)
	}
	for _, inner := range []string{"", "<body/>", "<body></body>", "<x xmlns='a:b'><body xmlns='jabber:client'>no</body></x>", "<nobody>x</nobody>", "<body xmlns='x:y'>no</body>"} {
		if !bodies(t, message(inner)).empty() {
			t.Errorf("a text in %s", inner)
		}
	}
}

// FuzzReplaced: whatever passes the scanner, replacing gives a stanza with the new text and the same other children.
func FuzzReplaced(f *testing.F) {
	f.Add("<body>bad</body>", "new")
	f.Add("<c:body xmlns:c='jabber:client'>b</c:body><x xmlns='a'/>", "<&>'\"")
	f.Add("<body xml:lang='de'><![CDATA[x]]></body> t <body/>", "a\tb\nc")
	f.Fuzz(func(t *testing.T, inner, text string) {
		raw := "<message from='a@chat.test/x' to='b@chat.test'>" + inner + "</message>"
		st, err := stanza.Parse([]byte(raw))
		if err != nil || !isText(text) || strings.Contains(text, "\r") || string(st.Inner) != inner {
			return
		}
		before, err := findBodies(st)
		if err != nil || before.empty() {
			return
		}
		got, err := stanza.Parse(before.replaced(st, text).Append(nil))
		if err != nil {
			t.Fatalf("%q does not parse any more: %v", inner, err)
		}
		after := bodies(t, got)
		if len(after.bodies) != len(before.bodies) {
			t.Fatalf("%d bodies became %d", len(before.bodies), len(after.bodies))
		}
		for i, b := range after.bodies {
			if before.bodies[i].from != before.bodies[i].to && b.text != text || b.lang != before.bodies[i].lang {
				t.Fatalf("body %d of %q is %+v", i, inner, b)
			}
		}
	})
}

// newFilter asks a handler, over loopback.
func newFilter(t *testing.T, cfg FilterConfig, h http.HandlerFunc) *Filter {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	s := New(stanza.MustJID("chat.test"), "node", memory.New(), slog.New(slog.DiscardHandler))
	cfg.URL, cfg.Secret = srv.URL, hook.Secret
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Types == nil {
		cfg.Types = []stanza.Type{stanza.Chat, stanza.None}
	}
	f := s.NewFilter(cfg)
	t.Cleanup(f.Close)
	return f
}

func answering(status int, answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}
}

func TestVerdicts(t *testing.T) {
	long := strings.Repeat("x", maxVerdict)
	for _, tt := range []struct {
		name    string
		status  int
		answer  string
		outcome string
		inner   string // "" for a refusal
		text    string // of the refusal
	}{
		{"accept", 200, `{"action":"accept"}`, filterAccepted, "<body>hi</body>", ""},
		{"unknown keys", 200, `{"action":"accept","score":0.1}`, filterAccepted, "<body>hi</body>", ""},
		{"replace", 200, `{"action":"replace","body":"***"}`, filterReplaced, "<body>***</body>", ""},
		{"replace by nothing", 200, `{"action":"replace","body":""}`, filterReplaced, "<body></body>", ""},
		{"replace by markup", 200, `{"action":"replace","body":"</body><x/>"}`, filterReplaced, "<body>&lt;/body&gt;&lt;x/&gt;</body>", ""},
		{"reject", 200, `{"action":"reject"}`, filterRejected, "", "the message was refused for its text"},
		{"reject with reason", 200, `{"action":"reject","reason":"be kind"}`, filterRejected, "", "be kind"},
		{"reason that is no text", 200, `{"action":"reject","reason":"\u0000"}`, filterRejected, "", "the message was refused for its text"},
		{"reason too long", 200, `{"action":"reject","reason":"` + long[:maxReason+1] + `"}`, filterRejected, "", "the message was refused for its text"},
		{"replace without body", 200, `{"action":"replace"}`, filterFailed, "<body>hi</body>", ""},
		{"replace by no text", 200, `{"action":"replace","body":"a\u0001"}`, filterFailed, "<body>hi</body>", ""},
		{"replace by U+FFFF", 200, `{"action":"replace","body":"\uffff"}`, filterFailed, "<body>hi</body>", ""},
		{"unknown action", 200, `{"action":"burn"}`, filterFailed, "<body>hi</body>", ""},
		{"no action", 200, `{}`, filterFailed, "<body>hi</body>", ""},
		{"no JSON", 200, `accept`, filterFailed, "<body>hi</body>", ""},
		{"wrong type", 200, `{"action":1}`, filterFailed, "<body>hi</body>", ""},
		{"huge", 200, `{"action":"accept","x":"` + long + `"}`, filterFailed, "<body>hi</body>", ""},
		{"status", 500, `{"action":"reject"}`, filterFailed, "<body>hi</body>", ""},
		{"redirect", 302, `{"action":"reject"}`, filterFailed, "<body>hi</body>", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFilter(t, FilterConfig{}, answering(tt.status, tt.answer))
			got, refusal := f.Filter(t.Context(), nil, message("<body>hi</body>"))
			if n := testutil.ToFloat64(f.metrics.filtered.WithLabelValues(tt.outcome)); n != 1 {
				t.Errorf("not counted as %s", tt.outcome)
			}
			if refusal != nil {
				if tt.inner != "" || refusal.Condition != "policy-violation" || refusal.Text != tt.text {
					t.Errorf("refused: %v", refusal)
				}
				return
			}
			if string(got.Inner) != tt.inner {
				t.Errorf("passed %s, want %q", got.Inner, tt.inner)
			}
			f.cfg.Closed = true
			if _, refusal := f.Filter(t.Context(), nil, message("<body>hi</body>")); (refusal == errUnfiltered) != (tt.outcome == filterFailed) {
				t.Errorf("closed: %v", refusal)
			}
		})
	}
}

func TestQuestion(t *testing.T) {
	var got []byte
	calls := 0
	f := newFilter(t, FilterConfig{}, func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		calls++
		if err := Verify(hook.Secret, r.Header.Get(SignatureHeader), time.Now(), time.Minute, got); err != nil {
			t.Error(err)
		}
		io.WriteString(w, `{"action":"accept"}`)
	})
	for _, tt := range []struct {
		st   func() *stanza.Stanza
		want string // "" for not asked
	}{
		{func() *stanza.Stanza { return message("<body>a &lt; b</body>") },
			`{"from":"a@chat.test/x","to":"b@chat.test","id":"m1","type":"chat","body":"a \u003c b"}`},
		{func() *stanza.Stanza {
			st := message("<body>one</body><body xml:lang='de'>eins</body>")
			st.Type, st.ID = stanza.None, nil
			return st
		},
			`{"from":"a@chat.test/x","to":"b@chat.test","type":"normal","body":"one","bodies":[{"lang":"","body":"one"},{"lang":"de","body":"eins"}]}`},
		{func() *stanza.Stanza { return message("<active xmlns='http://jabber.org/protocol/chatstates'/>") }, ""},
		{func() *stanza.Stanza { return message("<body/>") }, ""},
		{func() *stanza.Stanza { st := message("<body>x</body>"); st.Type = stanza.Headline; return st }, ""},
		{func() *stanza.Stanza {
			st := message("<body>x</body>")
			st.To = stanza.MustJID("a@chat.test/y")
			return st
		}, ""},
	} {
		got, calls = nil, 0
		st := tt.st()
		passed, refusal := f.Filter(t.Context(), nil, st)
		if passed != st || refusal != nil {
			t.Errorf("%v %v", passed, refusal)
		}
		if string(got) != tt.want || calls > 1 {
			t.Errorf("asked %s, want %s", got, tt.want)
		}
	}
}

// TestFilterHangs: a filter that hangs costs some messages its timeout, and then none.
func TestFilterHangs(t *testing.T) {
	release := make(chan struct{})
	var calls atomic.Int64
	f := newFilter(t, FilterConfig{Timeout: 50 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	begun := time.Now()
	for i := range 1000 {
		f.cfg.Closed = i%2 == 0
		_, refusal := f.Filter(t.Context(), nil, message("<body>hi</body>"))
		if (refusal == errUnfiltered) != f.cfg.Closed {
			t.Fatal(refusal)
		}
	}
	if took := time.Since(begun); took > breakTime {
		t.Errorf("1000 messages took %v", took)
	}
	if n := calls.Load(); n > breakAfter {
		t.Errorf("%d calls", n)
	}
	if n := testutil.ToFloat64(f.metrics.filtered.WithLabelValues(filterSkipped)); n != 1000-breakAfter {
		t.Errorf("%v skipped", n)
	}
	if n := testutil.ToFloat64(f.metrics.filtered.WithLabelValues(filterTimeout)); n != breakAfter {
		t.Errorf("%v timeouts", n)
	}
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		for i := range breakAfter {
			if !b.allow(time.Now()) {
				t.Fatalf("broken after %d failures", i)
			}
			if b.heard(false, time.Now()) != (i == breakAfter-1) {
				t.Errorf("failure %d", i)
			}
		}
		if b.allow(time.Now()) {
			t.Error("not broken")
		}
		time.Sleep(breakTime)
		if !b.allow(time.Now()) || b.allow(time.Now()) {
			t.Error("not one call to try")
		}
		b.heard(false, time.Now())
		if b.allow(time.Now()) {
			t.Error("not broken after the try failed")
		}
		time.Sleep(breakTime)
		if !b.allow(time.Now()) {
			t.Error("no second try")
		}
		b.heard(true, time.Now())
		for range 10 {
			if !b.allow(time.Now()) {
				t.Error("broken though it has answered")
			}
		}
	})
}

// TestFilterConcurrency: many senders at once, each in order, over few connections that are kept.
func TestFilterConcurrency(t *testing.T) {
	var flying, most, connections atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := flying.Add(1)
		defer flying.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		var q question
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		json.NewEncoder(w).Encode(map[string]string{"action": "replace", "body": "<" + q.Body + ">"})
	}))
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	s := New(stanza.MustJID("chat.test"), "node", memory.New(), slog.New(slog.DiscardHandler))
	f := s.NewFilter(FilterConfig{URL: srv.URL, Secret: hook.Secret, Timeout: 20 * time.Second, Types: []stanza.Type{stanza.Chat}, Closed: true})
	defer f.Close()
	var senders sync.WaitGroup
	for i := range 4 * filterConcurrency {
		senders.Go(func() {
			for j := range 5 {
				got, refusal := f.Filter(context.Background(), nil, message(fmt.Sprintf("<body>%d %d</body>", i, j)))
				if refusal != nil || string(got.Inner) != fmt.Sprintf("<body>&lt;%d %d&gt;</body>", i, j) {
					t.Errorf("%d %d: %v %v", i, j, got, refusal)
				}
			}
		})
	}
	senders.Wait()
	if most.Load() > filterConcurrency {
		t.Errorf("%d calls at once", most.Load())
	}
	if n := connections.Load(); n > 3*filterConcurrency {
		t.Errorf("%d connections for %d calls", n, 4*filterConcurrency*5)
	}
}

func BenchmarkFilter(b *testing.B) {
	srv := httptest.NewServer(answering(200, `{"action":"accept"}`))
	defer srv.Close()
	s := New(stanza.MustJID("chat.test"), "node", memory.New(), slog.New(slog.DiscardHandler))
	f := s.NewFilter(FilterConfig{URL: srv.URL, Secret: hook.Secret, Timeout: time.Second, Types: []stanza.Type{stanza.Chat}})
	defer f.Close()
	st := message("<body>hello there</body><active xmlns='http://jabber.org/protocol/chatstates'/>")
	b.ReportAllocs()
	for b.Loop() {
		if _, refusal := f.Filter(context.Background(), nil, st); refusal != nil {
			b.Fatal(refusal)
		}
	}
}
