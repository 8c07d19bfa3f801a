package main

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"chatd/stanza"
	"chatd/webhook"
)

var update = flag.Bool("update", false, "rewrite the expected side of testdata")

func testEnv(name string) string {
	return map[string]string{"CHATD_DSN": "other.db", "CHATD_TOKEN_SECRET": strings.Repeat("s", 32)}[name]
}

// TestConfigErrors holds every file of testdata/config to the .err file beside
// it; a file without one is right.
func TestConfigErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			got := ""
			if _, err := loadConfig(file, testEnv); err != nil {
				got = strings.ReplaceAll(err.Error(), "testdata/config/", "") + "\n"
			}
			golden := strings.TrimSuffix(file, ".toml") + ".err"
			if *update && got != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

func TestConfigValues(t *testing.T) {
	c, err := loadConfig("testdata/config/full.toml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ what, got, want any }{
		{"normalized", c.Domain, "chat.test"},
		{"beside the file", c.Data, "testdata/config/data"},
		{"certificate beside the file", c.C2S.CertFile, "testdata/config/cert.pem"},
		{"absolute path", c.C2S.KeyFile, "/etc/chatd/key.pem"},
		{"environment", c.Store.DSN, "other.db"},
		{"secret of tokens", c.Auth.Token.Secret, strings.Repeat("s", 32)},
		{"no leeway", c.Auth.Token.Leeway, 0},
		{"zero means unlimited", c.C2S.RegistrationsPerMinute, 0},
		{"fraction", c.C2S.Limits.StanzasPerSecond, 0.5},
		{"whole number for a fraction", c.C2S.Limits.BytesPerSecond, 1000.0},
		{"public URL", c.HTTP.URL, "https://chat.test/xmpp"},
		{"networks", prefixes(c.HTTP.ProxyProtocolFrom), []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/32")}},
		{"empty list", c.API.Listen, []string{}},
		{"webhooks", c.Webhooks, []webhook.Hook{
			{Name: "shop", URL: "https://shop.chat.test/events", Secret: strings.Repeat("s", 32), Events: []string{"friendship.made", "player.online"},
				Timeout: 500 * time.Millisecond, Retry: time.Minute},
			{Name: "league", URL: "http://127.0.0.1:9000/", Secret: "0123456789abcdef", Events: []string{"account.made"},
				Timeout: 10 * time.Second, Retry: 24 * time.Hour}}},
		{"text filter", filterConfig(c), webhook.FilterConfig{URL: "https://filter.chat.test/check", Secret: strings.Repeat("s", 32),
			Timeout: 250 * time.Millisecond, Closed: true, Types: []stanza.Type{stanza.Chat, stanza.Headline}}},
		{"hash in capitals", c.API.Tokens[0].Hash, c.API.Tokens[1].Hash},
		{"scopes", c.API.Tokens[1].Scopes, []string{"metrics", "debug"}},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}

func TestEmptyFileMeansDefaults(t *testing.T) {
	c, err := parseConfig("empty.toml", nil, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	want.File, want.lines = "empty.toml", map[string]int{}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v\nwant %+v", c, want)
	}
}

func TestTLSOffClosesDirectTLS(t *testing.T) {
	c, err := loadConfig("testdata/config/tlsoff.toml", testEnv)
	if err != nil || len(c.C2S.ListenTLS) > 0 || c.HTTP.TLS != "off" {
		t.Errorf("listen_tls %q, http.tls %q, %v", c.C2S.ListenTLS, c.HTTP.TLS, err)
	}
}

// TestDefaultsAreInRange sets every key to what it is by default.
func TestDefaultsAreInRange(t *testing.T) {
	for _, c := range []*Config{defaultConfig(), developmentConfig()} {
		for _, s := range c.settings(testEnv) {
			if err := s.set(decoded(s.at)); err != nil {
				t.Errorf("%s: %v", s.key, err)
			}
		}
		if errs := c.check(); len(errs) > 0 {
			t.Error(errs)
		}
	}
}

// decoded is what go-toml would make of the value of a field.
func decoded(at any) any {
	switch at := at.(type) {
	case *int:
		return int64(*at)
	case *[]string:
		out := make([]any, len(*at))
		for i, s := range *at {
			out[i] = s
		}
		return out
	case *string, *bool, *float64:
		return reflect.ValueOf(at).Elem().Interface()
	}
	return []any{}
}

func TestKeep(t *testing.T) {
	running, next := defaultConfig(), defaultConfig()
	next.Domain = "other.test"
	next.C2S.Listen = []string{"127.0.0.1:1"}
	next.C2S.Registration = true
	differ := next.keep(running)
	if want := []string{"domain", "c2s.listen"}; !reflect.DeepEqual(differ, want) {
		t.Errorf("differ %q, want %q", differ, want)
	}
	if next.Domain != "localhost" || next.C2S.Listen[0] != "127.0.0.1:5222" || !next.C2S.Registration {
		t.Errorf("kept %+v", next)
	}
}

func TestDidYouMean(t *testing.T) {
	keys := []string{"domain", "data", "c2s.listen", "c2s.listen_tls", "c2s.max_stanza_bytes", "roster.max_contacts"}
	for word, want := range map[string]string{
		"domian":                   "domain",
		"c2s.listn":                "c2s.listen",
		"c2s.listen_tsl":           "c2s.listen_tls",
		"max_contacts":             "roster.max_contacts",
		"c2s.limits.listen_tls":    "c2s.listen_tls",
		"c2s.maximum_stanza_bytes": "c2s.max_stanza_bytes",
		"colour":                   "",
		"x":                        "",
		"":                         "",
	} {
		if want != "" {
			want = `, did you mean "` + want + `"?`
		}
		if got := didYouMean(word, keys); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"same", "same", 0}, {"ab", "ba", 2}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
