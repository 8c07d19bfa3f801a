package api

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"chatd/store"
	"chatd/store/memory"
)

// operationsOf are all operations of the document, by method and path.
func (f *fixture) operationsOf() (all []*huma.Operation) {
	for _, tag := range tags {
		all = append(all, f.operations(tag.Name)...)
	}
	return all
}

// fill puts a value in every parameter of a path.
func fill(path, value string) string {
	for _, name := range []string{"{player}", "{other}", "{address}", "{resource}", "{id}", "{profile}", "{room}", "{nick}"} {
		path = strings.ReplaceAll(path, name, url.PathEscape(value))
	}
	return path
}

// TestEveryOperationIsGuarded: no token, an unknown one, one with every scope but the right one.
func TestEveryOperationIsGuarded(t *testing.T) {
	f := newFixture(t, nil)
	open := 0
	for _, op := range f.operationsOf() {
		if len(op.Security) == 0 {
			open++
			continue
		}
		scope := op.Security[0][securityName][0]
		var others []string
		for _, s := range Scopes() {
			if s != scope {
				others = append(others, s)
			}
		}
		f.SetTokens([]Token{{Name: "other", Hash: hashOf("other"), Scopes: others}})
		for auth, want := range map[string]int{"": 401, "Bearer other": 403, "Bearer unknown": 401, "Basic b3RoZXI6": 401} {
			r := httptest.NewRequest(op.Method, fill(op.Path, "1"), strings.NewReader("{"))
			r.Header.Set("Authorization", auth)
			w := httptest.NewRecorder()
			f.http.Handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s with %q: %d %s", op.OperationID, auth, w.Code, w.Body)
			}
			checkProblem(t, w)
		}
	}
	if open != 6 { // health twice, the document three times and its page
		t.Errorf("%d operations need no token", open)
	}
}

// nasty is what people put where a name belongs.
var nasty = []string{
	"0", "-1", "00", "01", "9223372036854775807", "99999999999999999999999", "1e3", "0x1", "１", " 1", "1 ", "+1",
	"'", "' OR 1=1 --", `"; DROP TABLE account; --`, "%", "%00", "\x00", "\xff\xfe", "..", "../../etc/passwd", "a/b", "@", "a@", "@chat.test", "a@b@c",
	"a@chat.test/r", "sum1@elsewhere.test", "<script>alert(1)</script>", "&lt;", "]]>", "{{.}}", "${x}", "\r\nX: y", "é", "\u202e", strings.Repeat("a", 5000),
}

// TestNastyNames: whatever stands for a player, the answer is one that the document has, and quick.
func TestNastyNames(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1")
	for _, op := range f.operationsOf() {
		if strings.HasPrefix(op.Path, "/debug") || op.Path == "/drain" || op.Path == "/readyz" || !strings.Contains(op.Path, "{") {
			continue
		}
		for _, name := range nasty {
			for _, path := range []string{fill(op.Path, name), fill(strings.Replace(op.Path, "{player}", "1", 1), name)} {
				if path == "/players/1" && op.Method == "DELETE" {
					continue
				}
				body := ""
				if op.Method == "POST" || op.Method == "PUT" || op.Method == "PATCH" {
					q, _ := json.Marshal(name)
					body = fmt.Sprintf(`{"others":[%[1]s],"players":[%[1]s],"body":%[1]s,"password":%[1]s,"messages":%[1]s,"nick":%[1]s}`, q)
				}
				w := f.do(call{method: op.Method, path: path, body: body})
				if w.Code >= 500 || w.Code >= 300 && w.Code < 400 && w.Code != 307 {
					t.Errorf("%s %q: %d %s", op.OperationID, name, w.Code, w.Body)
				}
				if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s %q: %d %s", op.OperationID, name, w.Code, w.Header())
				}
			}
		}
	}
	f.want(200, call{path: "/friends/summoner/1"}, nil)
}

// TestTextsComeBackAsTheyWent through JSON, the store and XML.
func TestTextsComeBackAsTheyWent(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	f.put("sum1", store.RosterItem{JID: "sum2@chat.test"})
	for _, text := range nasty {
		if len(text) > 1000 || text == "\x00" || text == "\xff\xfe" {
			continue
		}
		body, err := json.Marshal(map[string]any{"nick": text, "note": text, "groups": []string{text}})
		if err != nil {
			t.Fatal(err)
		}
		f.want(204, call{method: "PATCH", path: "/players/1/friends/2", body: string(body)}, nil)
		var list []Summoner
		f.want(200, call{path: "/friends/summoner/1"}, &list)
		if len(list) != 1 || list[0].Nick != text || list[0].Note != text || list[0].Group != text {
			t.Errorf("%q came back as %+v", text, list)
		}
	}
}

func TestBadBodies(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	const path = "/players/1/messages"
	for _, tt := range []struct {
		body, contentType string
		want              int
	}{
		{``, "application/json", 400},
		{`{`, "application/json", 400},
		{`null`, "application/json", 422},
		{`[]`, "application/json", 422},
		{`"x"`, "application/json", 422},
		{`{"body":1}`, "application/json", 422},
		{`{"body":null}`, "application/json", 422},
		{`{"body":["x"]}`, "application/json", 422},
		{`{"body":{"a":"b"}}`, "application/json", 422},
		{`{"body":"x","extra":1}`, "application/json", 422},
		{`{"body":"x"}`, "text/plain", 415},
		{`{"body":"x"}`, "application/xml", 415},
		{`{"body":"x"}`, ";+", 415},
		{`{"body":"x"}{"body":"y"}`, "application/json", 400},
		{"{\"body\":\"\xff\"}", "application/json", 200}, // which JSON has no other reading of than U+FFFD
		{`{"body":"` + strings.Repeat("x", 10_001) + `"}`, "application/json", 422},
		{`{"body":"` + strings.Repeat("x", 100_000) + `"}`, "application/json", 413},
		{strings.Repeat("[", 60_000), "application/json", 400},
		{strings.Repeat(`{"a":`, 10_000), "application/json", 400},
		{`{"body":"x","subject":"` + strings.Repeat(`\u0041`, 1001) + `"}`, "application/json", 422},
	} {
		w := f.do(call{method: "POST", path: path, body: tt.body, header: map[string]string{"Content-Type": tt.contentType}})
		if w.Code != tt.want {
			t.Errorf("%.40q as %s: %d %s, want %d", tt.body, tt.contentType, w.Code, w.Body, tt.want)
		}
		if strings.Contains(w.Body.String(), `"value"`) || w.Body.Len() > 2000 {
			t.Errorf("%.40q is echoed: %s", tt.body, w.Body)
		}
		f.want(map[bool]int{true: 200, false: w.Code}[w.Code == 200], call{method: "POST", path: path, body: tt.body,
			header: map[string]string{"Content-Type": tt.contentType, "Idempotency-Key": fmt.Sprint(tt)[:min(200, len(fmt.Sprint(tt)))]}}, nil)
	}
}

func TestBrokenStore(t *testing.T) {
	db := memory.New()
	f := newFixtureOn(t, db, nil)
	f.players("sum1")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/friends/summoner/1", "/players/1", "/players", "/players/1/export"} {
		w := f.want(503, call{path: path}, nil)
		if strings.Contains(w.Body.String(), "closed") {
			t.Errorf("%s tells %s", path, w.Body)
		}
	}
}
