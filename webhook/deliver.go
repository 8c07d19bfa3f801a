package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"chatd/store"
)

// maxAnswer bounds what is read of an answer that says nothing but its status, in bytes.
const maxAnswer = 64 << 10

// An outcome is what came of one attempt to deliver.
type outcome struct {
	label string // "" for one that was cut off by the end of the process
	why   string // of a failure, for people
}

// Outcomes, as the metric's label has them.
const (
	delivered   = "delivered"
	refused     = "refused" // answered with something else than a 2xx
	timedOut    = "timeout"
	unreachable = "unreachable"
)

// newClient makes a client that follows no redirect: what is signed for one receiver is not to be sent to another, and
// a URL of https must not end at one of http.
func newClient(perHost int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConnsPerHost:    perHost,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// deliver posts an event once.
func (s *Service) deliver(ctx context.Context, h *Hook, e *store.Event) outcome {
	timed, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	req, err := signedRequest(timed, h.URL, h.Secret, e.Body)
	if err != nil {
		return outcome{unreachable, err.Error()}
	}
	req.Header.Set("Chatd-Event-Id", e.ID)
	req.Header.Set("Chatd-Event-Type", e.Type)
	resp, err := s.client.Do(req)
	switch {
	case ctx.Err() != nil:
		return outcome{}
	case err != nil:
		return failure(err)
	}
	defer resp.Body.Close()
	// To the end, if it is near, so that the connection can be used again.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	if resp.StatusCode/100 != 2 {
		return outcome{refused, fmt.Sprintf("answered %.100q", resp.Status)}
	}
	return outcome{label: delivered}
}

// failure names what kept a request from being answered. The URL may hold a secret: it is left out.
func failure(err error) outcome {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return outcome{timedOut, "no answer in time"}
	}
	return outcome{unreachable, fmt.Sprintf("%.300s", err)}
}

// signedRequest is a POST of JSON.
func signedRequest(ctx context.Context, url, secret string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "chatd")
	req.Header["Idempotency-Key"] = nil // not sent: net/http may try again when a kept connection turns out to be closed
	req.Header.Set(SignatureHeader, Sign(secret, time.Now(), body))
	return req, nil
}
