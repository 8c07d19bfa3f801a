package api

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatd/store"
)

func TestEntityTags(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	f.befriend("sum1", "sum2", time.Now())
	const path = "/players/1/friends/2"
	tag := f.want(200, call{path: path}, nil).Header().Get("ETag")
	if len(tag) < 4 || tag[0] != '"' {
		t.Fatalf("ETag %q", tag)
	}
	for _, same := range []string{tag, "W/" + tag, `"x", ` + tag, "*", strings.TrimSuffix(tag, `"`) + `-gzip"`} {
		if w := f.want(304, call{path: path, header: map[string]string{"If-None-Match": same}}, nil); w.Body.Len() > 0 || w.Header().Get("ETag") != tag {
			t.Errorf("%s: %v %s", same, w.Header(), w.Body)
		}
	}
	f.want(200, call{path: path, header: map[string]string{"If-None-Match": `"x"`}}, nil)
	edit := func(status int, tag string) {
		t.Helper()
		f.want(status, call{method: "PATCH", path: path, body: `{"nick":"N"}`, header: map[string]string{"If-Match": tag}}, nil)
	}
	edit(412, `"x"`)
	edit(204, tag)
	edit(412, tag) // it has changed since
	edit(204, "*")
	f.want(200, call{path: path, header: map[string]string{"If-None-Match": tag}}, nil)
	f.want(412, call{method: "DELETE", path: "/players/1/friends/9", header: map[string]string{"If-Match": "*"}}, nil)
	f.want(403, call{method: "DELETE", path: path, token: "write", header: map[string]string{"If-Match": tag}}, nil)
	f.want(400, call{method: "PUT", path: "/players/1/blocks/2", header: map[string]string{"If-Match": "*"}}, nil)
	if w := f.do(call{path: "/players/9"}); w.Header().Get("ETag") != "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("of an error: %v", w.Header())
	}
}

func TestCompression(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1")
	for i := range 50 {
		f.put("sum1", store.RosterItem{JID: fmt.Sprintf("sum%d@chat.test", 100+i)})
	}
	plain := f.want(200, call{path: "/friends/summoner/1"}, nil)
	for _, refused := range []string{"", "br", "gzip;q=0", "gzip; q=0.0", "identity"} {
		if w := f.want(200, call{path: "/friends/summoner/1", header: map[string]string{"Accept-Encoding": refused}}, nil); w.Header().Get("Content-Encoding") != "" || w.Body.String() != plain.Body.String() {
			t.Errorf("%q: %v", refused, w.Header())
		}
	}
	for _, accepted := range []string{"gzip", "br, GZIP;q=0.5", "*"} {
		w := f.want(200, call{path: "/friends/summoner/1", header: map[string]string{"Accept-Encoding": accepted}}, nil)
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatalf("%q: %v", accepted, err)
		}
		got, err := io.ReadAll(z)
		if err != nil || string(got) != plain.Body.String() || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: %v, %d bytes, %v", accepted, err, len(got), w.Header())
		}
		tag := w.Header().Get("ETag")
		if tag == plain.Header().Get("ETag") {
			t.Error("the same tag for another representation")
		}
		f.want(304, call{path: "/friends/summoner/1", header: map[string]string{"Accept-Encoding": "gzip", "If-None-Match": tag}}, nil)
	}
}

func TestIdempotency(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	send := func(key, path, body, token string) *httptest.ResponseRecorder {
		t.Helper()
		return f.do(call{method: "POST", path: path, body: body, token: token, header: map[string]string{"Idempotency-Key": key}})
	}
	first := send("k", "/players/1/messages", `{"body":"once"}`, "")
	again := send("k", "/players/1/messages", `{"body":"once"}`, "")
	if first.Code != 200 || again.Code != 200 || first.Body.String() != again.Body.String() || again.Header().Get("Idempotency-Replayed") != "true" ||
		first.Header().Get("Idempotency-Replayed") != "" {
		t.Errorf("%d %s, then %d %s %v", first.Code, first.Body, again.Code, again.Body, again.Header())
	}
	if n, err := f.db.CountOffline(t.Context(), "sum1"); n != 1 || err != nil {
		t.Errorf("%d messages, %v", n, err)
	}
	for _, other := range []*httptest.ResponseRecorder{
		send("k", "/players/1/messages", `{"body":"twice"}`, ""), send("k", "/players/2/messages", `{"body":"once"}`, ""),
		send(strings.Repeat("k", 256), "/players/1/messages", `{"body":"once"}`, ""),
	} {
		if other.Code != 422 {
			t.Errorf("%d %s", other.Code, other.Body)
		}
	}
	if w := send("k", "/players/1/friends/2/request", "", "write"); w.Code != 204 { // keys are each token's own
		t.Errorf("another token: %d %s", w.Code, w.Body)
	}
	// What has failed for good fails again; the audit log knows which was which.
	for _, replayed := range []string{"", "true"} {
		if w := send("gone", "/players/9/messages", `{"body":"x"}`, ""); w.Code != 404 || w.Header().Get("Idempotency-Replayed") != replayed {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	}
	if log := f.logged(); strings.Count(log, "replayed=true") != 2 || strings.Contains(log, "once") {
		t.Errorf("log:\n%s", log)
	}
}

// TestIdempotencyAtOnce: of many at the same time one is done, and all get its answer.
func TestIdempotencyAtOnce(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1")
	var all sync.WaitGroup
	bodies := make([]string, 20)
	for i := range bodies {
		all.Go(func() {
			w := f.do(call{method: "POST", path: "/players/1/messages", body: `{"body":"x"}`, header: map[string]string{"Idempotency-Key": "k"}})
			bodies[i] = w.Body.String()
		})
	}
	all.Wait()
	for _, b := range bodies {
		if b != bodies[0] || !strings.Contains(b, "stored") {
			t.Errorf("%s and %s", b, bodies[0])
		}
	}
	if n, _ := f.db.CountOffline(t.Context(), "sum1"); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestRepliesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rs := newReplies()
		keep := func(key string, size int) {
			k, first := rs.claim(replyKey{"t", key}, [32]byte{})
			if !first {
				t.Fatalf("%s is there", key)
			}
			rs.mu.Lock()
			k.kept, k.body = true, make([]byte, size)
			rs.bytes += size
			rs.mu.Unlock()
			close(k.done)
		}
		has := func(key string) bool { return rs.byKey[replyKey{"t", key}] != nil }
		for i := range maxReplies + 10 {
			keep(fmt.Sprint(i), 10)
		}
		if len(rs.byKey) != maxReplies || len(rs.order) != maxReplies || has("9") || !has("10") {
			t.Errorf("%d kept", len(rs.byKey))
		}
		keep("large", maxReplyBytes+1)
		keep("next", 1)
		if rs.bytes > maxReplyBytes || has("large") || !has("next") {
			t.Errorf("%d bytes in %d", rs.bytes, len(rs.byKey))
		}
		time.Sleep(keepReply + time.Second)
		keep("tomorrow", 1)
		if len(rs.byKey) != 1 || rs.bytes != 1 {
			t.Errorf("%d kept, %d bytes", len(rs.byKey), rs.bytes)
		}
	})
}

func TestAudit(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	f.want(201, call{method: "POST", path: "/players", body: `{"player":"7","password":"very secret"}`}, nil)
	f.want(204, call{method: "POST", path: "/players/1/friends/2/request", body: `{"message":"a word"}`, token: "write"}, nil)
	f.want(404, call{method: "POST", path: "/players/1/friends/2/accept"}, nil)
	f.want(200, call{path: "/players/1/friends"}, nil)
	f.want(403, call{method: "DELETE", path: "/players/1", token: "read"}, nil)
	log := f.logged()
	for _, want := range []string{
		"token=all operation=createPlayer player=sum7@chat.test status=201",
		"token=writer operation=requestFriendship player=1 status=204",
		"token=all operation=acceptFriendship player=1 status=404",
		" other=2",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	if strings.Count(log, "\n") != 3 || strings.Contains(log, "secret") || strings.Contains(log, "a word") {
		t.Errorf("log:\n%s", log)
	}
}

func TestAccept(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1")
	for accept, want := range map[string]int{
		"": 200, "*/*": 200, "application/json": 200, "text/html, application/*;q=0.2": 200, "Application/JSON; charset=utf-8": 200,
		"text/html": 406, "application/json;q=0": 406, "application/json; q=0.0, text/xml": 406,
	} {
		f.want(want, call{path: "/players/1", header: map[string]string{"Accept": accept}}, nil)
	}
	// Refused before it is done.
	f.want(406, call{method: "DELETE", path: "/players/1", header: map[string]string{"Accept": "text/html"}}, nil)
	f.want(200, call{path: "/players/1"}, nil)
}

func TestRequestMetrics(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1")
	f.want(200, call{path: "/players/1"}, nil)
	f.want(404, call{path: "/players/2"}, nil)
	f.want(401, call{path: "/players/2", token: "?"}, nil)
	got := f.want(200, call{path: "/metrics"}, nil).Body.String()
	for _, want := range []string{
		`chatd_api_requests_total{operation="getPlayer",status="200"} 1`, `chatd_api_requests_total{operation="getPlayer",status="404"} 1`,
		`chatd_api_requests_total{operation="getPlayer",status="401"} 1`, `chatd_api_request_seconds_count{operation="getPlayer"} 3`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
}
