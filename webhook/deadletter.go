package webhook

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatd/store"
)

// ErrNoDeadLetter says that there is no dead letter with that id.
var ErrNoDeadLetter = errors.New("webhook: no such dead letter")

// ErrCursor says that a cursor is none that DeadLetters has given.
var ErrCursor = errors.New("webhook: bad cursor")

// A DeadLetter is an event that could not be delivered.
type DeadLetter struct {
	ID      string    // of the dead letter; the event has its own
	Webhook string    // by name
	Event   string    // its id
	Type    string    // of event
	Died    time.Time // UTC: when it was given up
	Why     string    // what the last attempt met
	Body    []byte    // JSON: what was sent
}

// deadQueue is the queue of a webhook's dead letters. No webhook has a name with a dot.
func deadQueue(hook string) string { return hook + ".dead" }

// bury puts an event among the dead letters. The caller removes it from its queue afterwards: an end between the
// two leaves it in both.
func (s *Service) bury(ctx context.Context, hook string, e *entry) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	queue := deadQueue(hook)
	dead := e.Event
	dead.Queued, dead.Fault = time.Now(), e.outcome.why
	for {
		full, err := s.outbox.Post(ctx, []store.Posting{{Queue: queue, Max: MaxDeadLetters, Event: dead}})
		if err != nil || len(full) == 0 {
			return err
		}
		oldest, err := s.outbox.Events(ctx, queue, 0, 1)
		if err != nil {
			return err
		}
		for _, e := range oldest {
			if err := s.outbox.RemoveEvents(ctx, queue, []int64{e.Seq}); err != nil {
				return err
			}
			s.lost(hook, lostDeadLetter)
		}
	}
}

// DeadLetters returns up to limit dead letters of all webhooks, in the order of the webhooks' names and then the oldest
// first, and the cursor of what follows, "" if nothing does. cursor is "" for the first page. The error for the
// caller to tell apart is ErrCursor.
func (s *Service) DeadLetters(ctx context.Context, cursor string, limit int) (page []DeadLetter, next string, err error) {
	hook, after := "", int64(0)
	if cursor != "" {
		var ok bool
		if hook, after, ok = parseDeadID(cursor); !ok {
			return nil, "", ErrCursor
		}
	}
	for _, name := range s.names() {
		if name < hook {
			continue
		}
		if name > hook {
			after = 0
		}
		events, err := s.outbox.Events(ctx, deadQueue(name), after, limit+1-len(page))
		if err != nil {
			return nil, "", err
		}
		for i := range events {
			page = append(page, deadLetter(name, &events[i]))
		}
		if len(page) > limit {
			page = page[:limit]
			return page, page[limit-1].ID, nil
		}
	}
	return page, "", nil
}

// names is the webhooks' names in order.
func (s *Service) names() (names []string) {
	for _, h := range *s.hooks.Load() {
		names = append(names, h.Name)
	}
	slices.Sort(names)
	return names
}

func deadLetter(hook string, e *store.Event) DeadLetter {
	return DeadLetter{
		ID: hook + "." + strconv.FormatInt(e.Seq, 10), Webhook: hook, Event: e.ID, Type: e.Type,
		Died: e.Queued, Why: e.Fault, Body: e.Body,
	}
}

func parseDeadID(id string) (hook string, seq int64, ok bool) {
	hook, number, ok := strings.Cut(id, ".")
	seq, err := strconv.ParseInt(number, 10, 64)
	return hook, seq, ok && err == nil
}

// DeadLetter is the one with that id. The error for the caller to tell apart is ErrNoDeadLetter.
func (s *Service) DeadLetter(ctx context.Context, id string) (DeadLetter, error) {
	hook, e, err := s.deadEvent(ctx, id)
	return deadLetter(hook, &e), err
}

// Redeliver puts a dead letter's event behind all that waits for its webhook, to be tried as if it were new. The
// errors for the caller to tell apart are ErrNoDeadLetter and store.ErrFull.
func (s *Service) Redeliver(ctx context.Context, id string) error {
	hook, e, err := s.deadEvent(ctx, id)
	if err != nil {
		return err
	}
	seq := e.Seq
	e.Queued, e.Fault = time.Now(), ""
	full, err := s.outbox.Post(ctx, []store.Posting{{Queue: hook, Max: MaxQueue, Event: e}})
	if err != nil {
		return err
	}
	if len(full) > 0 {
		return store.ErrFull
	}
	return s.outbox.RemoveEvents(ctx, deadQueue(hook), []int64{seq})
}

// DeleteDeadLetter removes a dead letter for good. The error for the caller to tell apart is ErrNoDeadLetter.
func (s *Service) DeleteDeadLetter(ctx context.Context, id string) error {
	hook, e, err := s.deadEvent(ctx, id)
	if err != nil {
		return err
	}
	return s.outbox.RemoveEvents(ctx, deadQueue(hook), []int64{e.Seq})
}

// deadEvent finds the event of a dead letter and its webhook.
func (s *Service) deadEvent(ctx context.Context, id string) (hook string, e store.Event, err error) {
	hook, seq, ok := parseDeadID(id)
	if !ok || seq < 1 || !slices.Contains(s.names(), hook) {
		return "", e, ErrNoDeadLetter
	}
	events, err := s.outbox.Events(ctx, deadQueue(hook), seq-1, 1)
	if err != nil {
		return "", e, err
	}
	if len(events) == 0 || events[0].Seq != seq {
		return "", e, ErrNoDeadLetter
	}
	return hook, events[0], nil
}
