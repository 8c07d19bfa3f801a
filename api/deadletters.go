package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"chatd/store"
	"chatd/webhook"
)

// A DeadLetter is an event that a webhook did not take.
type DeadLetter struct {
	ID      string          `json:"id" example:"store.17"`
	Webhook string          `json:"webhook" doc:"its name in the configuration"`
	EventID string          `json:"event_id"`
	Type    string          `json:"type" doc:"of event" example:"friendship.made"`
	GivenUp time.Time       `json:"given_up" doc:"UTC"`
	Why     string          `json:"why" doc:"what the last attempt met"`
	Event   json.RawMessage `json:"event" doc:"what was sent, an object"`
}

type deadLettersPage struct {
	DeadLetters []DeadLetter `json:"dead_letters" nullable:"false"`
	Next        string       `json:"next,omitempty" doc:"cursor of what follows; absent at the end"`
}

// DeadLetterPath names one.
type DeadLetterPath struct {
	ID string `path:"id" maxLength:"100" example:"store.17"`
}

func (s *Server) addDeadLetters() {
	op := func(id, method, path, summary, about string) operation {
		return operation{id: id, method: method, path: "/webhooks/dead-letters" + path, scope: ScopeWebhooks, tag: tagWebhooks, summary: summary,
			about: about, write: method != http.MethodGet}
	}
	add(s, op("listDeadLetters", http.MethodGet, "", "Events that could not be delivered",
		"Of the webhooks that are configured: in the order of their names, the oldest first."), s.listDeadLetters)
	add(s, op("getDeadLetter", http.MethodGet, "/{id}", "One of them", ""), s.getDeadLetter)
	again := op("redeliverDeadLetter", http.MethodPost, "/{id}/redeliver", "Deliver an event again",
		"It goes behind all that waits for its webhook, with the same event id, and is tried as if it were new. It is no dead letter any more.")
	again.status = http.StatusAccepted
	add(s, again, s.redeliver)
	add(s, op("deleteDeadLetter", http.MethodDelete, "/{id}", "Delete an event for good", ""), s.deleteDeadLetter)
}

func (s *Server) listDeadLetters(ctx context.Context, in *struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"how many at most"`
	Cursor string `query:"cursor" maxLength:"100" doc:"where to go on, from the answer before"`
}) (*struct{ Body deadLettersPage }, error) {
	list, next, err := s.cfg.Webhooks.DeadLetters(ctx, in.Cursor, in.Limit)
	if errors.Is(err, webhook.ErrCursor) {
		return nil, failure(http.StatusUnprocessableEntity, "the cursor is none that was given")
	}
	if err != nil {
		return nil, err
	}
	page := deadLettersPage{DeadLetters: make([]DeadLetter, 0, len(list)), Next: next}
	for i := range list {
		page.DeadLetters = append(page.DeadLetters, deadLetterOf(&list[i]))
	}
	return &struct{ Body deadLettersPage }{page}, nil
}

func deadLetterOf(d *webhook.DeadLetter) DeadLetter {
	return DeadLetter{ID: d.ID, Webhook: d.Webhook, EventID: d.Event, Type: d.Type, GivenUp: d.Died, Why: d.Why, Event: d.Body}
}

func (s *Server) getDeadLetter(ctx context.Context, in *DeadLetterPath) (*struct{ Body DeadLetter }, error) {
	d, err := s.cfg.Webhooks.DeadLetter(ctx, in.ID)
	if err != nil {
		return nil, deadLetterProblem(err)
	}
	return &struct{ Body DeadLetter }{deadLetterOf(&d)}, nil
}

func (s *Server) redeliver(ctx context.Context, in *DeadLetterPath) (*empty, error) {
	return nil, deadLetterProblem(s.cfg.Webhooks.Redeliver(ctx, in.ID))
}

func (s *Server) deleteDeadLetter(ctx context.Context, in *DeadLetterPath) (*empty, error) {
	return nil, deadLetterProblem(s.cfg.Webhooks.DeleteDeadLetter(ctx, in.ID))
}

func deadLetterProblem(err error) error {
	switch {
	case errors.Is(err, webhook.ErrNoDeadLetter):
		return failure(http.StatusNotFound, "there is no such dead letter")
	case errors.Is(err, store.ErrFull):
		return failure(http.StatusServiceUnavailable, "too many events wait for the webhook")
	}
	return err
}
