package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
)

var hook = Hook{Name: "shop", URL: "https://shop.test/events", Secret: "0123456789abcdef", Events: Types(), Timeout: 10 * time.Second, Retry: 2 * time.Hour}

// A delivery is one request that reached the receiver.
type delivery struct {
	at   time.Time
	id   string
	typ  string
	body envelope
	raw  string
}

// A receiver is the other side of a webhook, without a network.
type receiver struct {
	t      *testing.T
	answer func(ctx context.Context, d delivery) (status int, err error) // nil: 204

	mu     sync.Mutex
	got    []delivery
	flying int
	most   int // flying at the same time
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if err := Verify(hook.Secret, req.Header.Get(SignatureHeader), time.Now(), time.Minute, raw); err != nil {
		r.t.Error(err)
	}
	d := delivery{at: time.Now(), id: req.Header.Get("Chatd-Event-Id"), typ: req.Header.Get("Chatd-Event-Type"), raw: string(raw)}
	if err := json.Unmarshal(raw, &d.body); err != nil || d.body.ID != d.id || d.body.Type != d.typ {
		r.t.Errorf("body %s with event %s of type %s: %v", raw, d.id, d.typ, err)
	}
	r.mu.Lock()
	r.got = append(r.got, d)
	r.flying++
	r.most = max(r.most, r.flying)
	r.mu.Unlock()
	defer func() { r.mu.Lock(); r.flying--; r.mu.Unlock() }()
	status := http.StatusNoContent
	if r.answer != nil {
		if status, err = r.answer(req.Context(), d); err != nil {
			return nil, err
		}
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(strings.NewReader("")), Request: req}, nil
}

func (r *receiver) deliveries() []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]delivery(nil), r.got...)
}

// players is whom the deliveries were about, in their order.
func (r *receiver) players() (all []string) {
	for _, d := range r.deliveries() {
		all = append(all, d.player())
	}
	return all
}

func (d delivery) player() string {
	m, _ := d.body.Data.(map[string]any)
	p, _ := m["player"].(string)
	p, _, _ = strings.Cut(p, "@")
	return p
}

// newService makes a service that delivers to rcv from db until the test ends.
func newService(t *testing.T, db store.Outbox, rcv http.RoundTripper, hooks ...Hook) *Service {
	t.Helper()
	s := New(stanza.MustJID("chat.test"), "node", db, slog.New(slog.DiscardHandler))
	s.client.Transport = rcv
	s.Reload(hooks)
	db.Announce(s)
	s.Start()
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func makeAccounts(t *testing.T, db *memory.Store, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := db.CreateAccount(context.Background(), store.Account{User: name, Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
}

func count(t *testing.T, db store.Outbox, queue string) int {
	t.Helper()
	n, err := db.CountEvents(context.Background(), queue)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var errDown = errors.New("connection refused")

// A brittleOutbox fails while it is told to.
type brittleOutbox struct {
	store.Outbox
	mu     sync.Mutex
	broken bool
}

func (o *brittleOutbox) set(broken bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken = broken
}

func (o *brittleOutbox) err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken {
		return errors.New("store down")
	}
	return nil
}

func (o *brittleOutbox) Post(ctx context.Context, p []store.Posting) ([]string, error) {
	if err := o.err(); err != nil {
		return nil, err
	}
	return o.Outbox.Post(ctx, p)
}

func (o *brittleOutbox) Events(ctx context.Context, q string, after int64, limit int) ([]store.Event, error) {
	if err := o.err(); err != nil {
		return nil, err
	}
	return o.Outbox.Events(ctx, q, after, limit)
}

func (o *brittleOutbox) RemoveEvents(ctx context.Context, q string, seqs []int64) error {
	if err := o.err(); err != nil {
		return err
	}
	return o.Outbox.RemoveEvents(ctx, q, seqs)
}

func (o *brittleOutbox) LeaseQueue(ctx context.Context, q, holder string, now, until time.Time) (bool, error) {
	if err := o.err(); err != nil {
		return false, err
	}
	return o.Outbox.LeaseQueue(ctx, q, holder, now, until)
}
