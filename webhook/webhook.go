// Package webhook tells other services what happens on this server, and asks one whether messages may
// pass.
//
// What happens becomes an event, which is put into a queue of the store for each webhook that wants it: friendships
// and accounts in the transaction that makes or ends them, all else through a buffer that is written in batches.
// From its queue each event is posted to the webhook's URL until it is answered with a 2xx, at least once. The
// text filter is no webhook: the sender of a message waits for it (filter.go).
package webhook

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chatd/stanza"
	"chatd/store"
)

// Bounds of what waits, for each webhook.
const (
	// MaxQueue is how many events wait for delivery. One that finds no room is dropped.
	MaxQueue = 100_000
	// maxVolatile is the part of it that events of presence, rooms and rejected messages may take: there are many of
	// them, and they are not to crowd out friendships and accounts.
	maxVolatile = MaxQueue / 2
	// MaxDeadLetters is how many events are kept that could not be delivered. The oldest makes room.
	MaxDeadLetters = 1000
)

// A Hook is one receiver of events. It is a value; its Events are not changed.
type Hook struct {
	Name    string        // unique, of letters, digits, - and _; it names the queue, so that events wait for it across restarts
	URL     string        // http or https
	Secret  string        // signs what is sent
	Events  []string      // the types of event that it wants
	Bodies  bool          // room.message with what is in the message
	Timeout time.Duration // for one attempt
	Retry   time.Duration // for how long an event that fails is tried again
}

func (h *Hook) equal(o *Hook) bool {
	return h.Name == o.Name && h.URL == o.URL && h.Secret == o.Secret && slices.Equal(h.Events, o.Events) && h.Bodies == o.Bodies &&
		h.Timeout == o.Timeout && h.Retry == o.Retry
}

// A Service makes events and delivers them. Its methods are safe for concurrent use.
type Service struct {
	Metrics *Metrics

	domain stanza.JID
	node   string // holds the leases of this node
	outbox store.Outbox
	client *http.Client
	log    *slog.Logger
	hooks  atomic.Pointer[[]Hook]
	buffer buffer

	lossLogged atomic.Int64 // Unix seconds

	mu      sync.Mutex
	started bool
	runners map[string]*runner // by the hook's name; each has a goroutine
}

// New makes a service for the accounts of a domain. Until Reload it has no webhook, and until Start it delivers nothing. node is
// the node's name among those that share the store, the same after a restart.
func New(domain stanza.JID, node string, outbox store.Outbox, log *slog.Logger) *Service {
	s := &Service{
		Metrics: newMetrics(), domain: domain, node: node, outbox: outbox,
		client: newClient(concurrency), log: log, runners: make(map[string]*runner),
	}
	s.hooks.Store(new([]Hook))
	s.buffer.init(s)
	return s
}

// Start begins to deliver. Close ends it.
func (s *Service) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = true
	s.buffer.start()
	s.applyLocked()
}

// Reload replaces the webhooks; the service keeps the slice. What waits for one that stays waits on; for one that is gone
// it stays in the store until there is one of that name again.
func (s *Service) Reload(hooks []Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks.Store(&hooks)
	if s.started {
		s.applyLocked()
	}
}

// applyLocked stops the deliveries to webhooks that are gone or have changed, and begins those that are missing.
func (s *Service) applyLocked() {
	hooks := *s.hooks.Load()
	for name, r := range s.runners {
		i := slices.IndexFunc(hooks, func(h Hook) bool { return h.Name == name })
		if i >= 0 && hooks[i].equal(&r.hook) {
			continue
		}
		r.stop()
		delete(s.runners, name)
		if i < 0 {
			s.Metrics.forget(name)
		}
	}
	for i := range hooks {
		if s.runners[hooks[i].Name] == nil {
			s.runners[hooks[i].Name] = startRunner(s, hooks[i])
		}
	}
}

// Close writes what is buffered, as long as ctx allows, and ends all deliveries: those under way are cut off, and made
// again after the next start.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		return nil
	}
	s.started = false
	for name, r := range s.runners {
		r.stop()
		delete(s.runners, name)
	}
	s.client.CloseIdleConnections()
	return s.buffer.close(ctx)
}
