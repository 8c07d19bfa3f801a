package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"chatd/store"
	"chatd/webhook"
)

// bury makes dead letters of two webhooks.
func (f *fixture) bury(n int) {
	f.t.Helper()
	f.hooks.Reload([]webhook.Hook{{Name: "shop", Events: webhook.Types()}, {Name: "league", Events: webhook.Types()}})
	for i := range n {
		for _, hook := range []string{"shop", "league"} {
			id := fmt.Sprintf("%s-%d", hook, i)
			_, err := f.db.Post(f.t.Context(), []store.Posting{{Queue: hook + ".dead", Event: store.Event{
				ID: id, Type: webhook.AccountMade, Queued: time.Unix(1_790_000_000, 0), Fault: "no answer in time", Body: []byte(`{"id":"` + id + `"}`),
			}}})
			if err != nil {
				f.t.Fatal(err)
			}
		}
	}
}

func (f *fixture) deadLetters(query string) (page deadLettersPage) {
	f.t.Helper()
	w := f.do(call{path: "/webhooks/dead-letters" + query})
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
		f.t.Fatal(w.Code, w.Body, err)
	}
	return page
}

func TestDeadLetters(t *testing.T) {
	f := newFixture(t, nil)
	if p := f.deadLetters(""); len(p.DeadLetters) != 0 || p.DeadLetters == nil {
		t.Fatalf("%+v", p)
	}
	f.bury(3)
	var ids []string
	for query := "?limit=2"; query != ""; {
		p := f.deadLetters(query)
		for _, d := range p.DeadLetters {
			ids = append(ids, d.EventID)
		}
		if query = ""; p.Next != "" {
			query = "?limit=2&cursor=" + p.Next
		}
	}
	if got := fmt.Sprint(ids); got != "[league-0 league-1 league-2 shop-0 shop-1 shop-2]" {
		t.Errorf("listed %s", got)
	}
	w := f.do(call{path: "/webhooks/dead-letters/shop.2"})
	want := `{"id":"shop.2","webhook":"shop","event_id":"shop-1","type":"account.made","given_up":"2026-09-21T14:13:20Z","why":"no answer in time","event":{"id":"shop-1"}}` + "\n"
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, c := range []struct {
		call
		status int
	}{
		{call{method: http.MethodPost, path: "/webhooks/dead-letters/shop.2/redeliver"}, 202},
		{call{method: http.MethodPost, path: "/webhooks/dead-letters/shop.2/redeliver"}, 404},
		{call{method: http.MethodDelete, path: "/webhooks/dead-letters/shop.1", header: map[string]string{"If-Match": `"other"`}}, 412},
		{call{method: http.MethodDelete, path: "/webhooks/dead-letters/shop.1"}, 204},
		{call{method: http.MethodDelete, path: "/webhooks/dead-letters/shop.1"}, 404},
		{call{path: "/webhooks/dead-letters/shop.1"}, 404},
		{call{path: "/webhooks/dead-letters/elsewhere.1"}, 404},
		{call{path: "/webhooks/dead-letters?cursor=nonsense"}, 422},
		{call{path: "/webhooks/dead-letters?limit=0"}, 422},
		{call{path: "/webhooks/dead-letters", token: "scrape"}, 403},
	} {
		if w := f.do(c.call); w.Code != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, w.Code, w.Body, c.status)
		}
	}
	if n := len(f.deadLetters("").DeadLetters); n != 4 {
		t.Errorf("%d are left", n)
	}
	waiting, err := f.db.Events(t.Context(), "shop", 0, 10)
	if err != nil || len(waiting) != 1 || waiting[0].ID != "shop-1" {
		t.Errorf("waiting: %+v %v", waiting, err)
	}
}
