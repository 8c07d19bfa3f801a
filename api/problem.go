package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"chatd/auth"
	"chatd/roster"
	"chatd/stanza"
	"chatd/store"
)

// problem answers with an error as RFC 9457 describes. The type is about:blank:
// the status says it all, and the title is the status' own phrase (RFC 9457
// §4.2.1).
func problem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{"about:blank", http.StatusText(status), status, detail})
	if err != nil {
		http.Error(w, http.StatusText(status), status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// failure is an error with its status, for a handler to return.
func failure(status int, detail string) error { return huma.NewError(status, detail) }

var errNoPlayer = failure(http.StatusNotFound, "there is no such player")

// problemOf is the answer to what a handler returned. What is nobody's but ours to mend goes to the log and not to the caller.
func (s *Server) problemOf(ctx context.Context, operation string, err error) error {
	var known huma.StatusError
	var refused *stanza.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, roster.ErrNoUser), errors.Is(err, auth.ErrNotFound), errors.Is(err, store.ErrNotFound):
		return errNoPlayer
	case errors.Is(err, auth.ErrExists):
		return failure(http.StatusConflict, "the player exists already")
	case errors.Is(err, auth.ErrBadUser):
		return failure(http.StatusUnprocessableEntity, "that cannot be a player's address")
	case errors.Is(err, auth.ErrBadPassword):
		return failure(http.StatusUnprocessableEntity, "the password is empty, too long, or has characters that are not allowed")
	case errors.As(err, &refused):
		return failure(statusOf(refused), refusalText(refused))
	case errors.Is(err, store.ErrClosed):
		return failure(http.StatusServiceUnavailable, "the server is stopping")
	case errors.Is(err, store.ErrNotTried):
		return tryLater(failure(http.StatusServiceUnavailable, "the store is out of reach; nothing was done"))
	case errors.Is(err, store.ErrUnavailable):
		return tryLater(failure(http.StatusServiceUnavailable, "the store is out of reach; whether it was done is not known"))
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return failure(http.StatusServiceUnavailable, "it took too long; whether it was done is not known")
	}
	s.cfg.Log.Error("api operation failed", "operation", operation, "err", err)
	return failure(http.StatusInternalServerError, "the reason is in the log")
}

// tryLater adds when to try again (RFC 9110 §10.2.3).
func tryLater(err error) error {
	return huma.ErrorWithHeaders(err, http.Header{"Retry-After": {"2"}})
}

// statusOf is the status that says what a stanza error says.
func statusOf(e *stanza.Error) int {
	switch e.Condition {
	case "forbidden":
		return http.StatusForbidden
	case "item-not-found":
		return http.StatusNotFound
	case "conflict", "not-allowed":
		return http.StatusConflict
	case "bad-request", "jid-malformed", "policy-violation", "remote-server-not-found":
		return http.StatusUnprocessableEntity
	case "not-acceptable":
		if e.App != "" { // XEP-0191 §3.3: the player blocks the other
			return http.StatusConflict
		}
		return http.StatusUnprocessableEntity
	case "resource-constraint":
		return http.StatusTooManyRequests
	case "internal-server-error":
		return http.StatusInternalServerError
	}
	return http.StatusConflict
}

func refusalText(e *stanza.Error) string {
	switch {
	case e.Text != "":
		return e.Text
	case e.App != "":
		return "the player blocks the other"
	}
	return e.Condition
}
