package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
	"unicode/utf8"

	"chatd/router"
	"chatd/stanza"
	"chatd/xmlstream"
)

const (
	// filterConcurrency is how many messages are with the filter at once; more wait, within their own timeout.
	filterConcurrency = 64
	// maxVerdict bounds the filter's answer, in bytes.
	maxVerdict = 256 << 10
	// maxReason bounds what the sender is told of the filter's reason, in bytes.
	maxReason = 1024
)

// A FilterConfig says whom to ask about messages.
type FilterConfig struct {
	URL     string // http or https
	Secret  string // signs what is sent
	Timeout time.Duration
	Closed  bool          // whether a message is refused, not passed, when the filter does not answer
	Types   []stanza.Type // of message that are asked about
}

// A Filter asks a service whether messages may pass, and with what text. It implements router.Filter and is safe for
// concurrent use.
type Filter struct {
	cfg     FilterConfig
	types   uint32 // a set of stanza.Type
	client  *http.Client
	slots   chan struct{}
	breaker breaker
	metrics *Metrics
	log     *slog.Logger
}

// Outcomes, as the metric's label has them.
const (
	filterAccepted = "accepted"
	filterReplaced = "replaced"
	filterRejected = "rejected"
	filterTimeout  = "timeout"
	filterFailed   = "failed"  // no answer, or none that makes sense
	filterSkipped  = "skipped" // not asked, because it has failed again and again just now
)

// NewFilter makes a filter whose calls s counts. It opens nothing yet.
func (s *Service) NewFilter(cfg FilterConfig) *Filter {
	f := &Filter{cfg: cfg, client: newClient(filterConcurrency), slots: make(chan struct{}, filterConcurrency), metrics: s.Metrics, log: s.log}
	for _, t := range cfg.Types {
		f.types |= 1 << t
	}
	return f
}

// Close gives up the connections that are not in use.
func (f *Filter) Close() { f.client.CloseIdleConnections() }

// question is what the filter is asked.
type question struct {
	From string `json:"from"`
	To   string `json:"to"`
	ID   string `json:"id,omitempty"`
	Type string `json:"type"`
	Body string `json:"body"` // of the first element
	// Bodies is all of them, if there are several: one for each language.
	Bodies []questionBody `json:"bodies,omitempty"`
}

type questionBody struct {
	Lang string `json:"lang"`
	Body string `json:"body"`
}

// verdict is what it answers.
type verdict struct {
	Action string  `json:"action"`
	Body   *string `json:"body"`   // of replace
	Reason string  `json:"reason"` // of reject; the sender is told
}

var (
	errRefusedText = stanza.ErrPolicyViolation.WithText("the message was refused for its text")
	errUnfiltered  = stanza.ErrResourceConstraint.WithText("messages cannot be checked at the moment")
)

// Filter implements router.Filter. It blocks the sender, and nobody else, for as long as the filter takes, within the timeout: so
// that the sender's messages stay in order.
func (f *Filter) Filter(ctx context.Context, b *router.Batch, st *stanza.Stanza) (*stanza.Stanza, *stanza.Error) {
	if f.types&(1<<st.Type) == 0 || !bytes.Contains(st.Inner, []byte("body")) || st.From.Bare() == st.To.Bare() {
		return st, nil
	}
	t, err := findBodies(st)
	if err != nil { // whose text cannot be found cannot be judged
		f.metrics.filtered.WithLabelValues(filterRejected).Inc()
		return nil, errRefusedText
	}
	if t.empty() {
		return st, nil
	}
	if !f.breaker.allow(time.Now()) {
		f.metrics.filtered.WithLabelValues(filterSkipped).Inc()
		return f.unanswered(st)
	}
	b.Flush()
	begun := time.Now()
	v, err := f.ask(ctx, st, t)
	f.metrics.latency.Observe(time.Since(begun).Seconds())
	if f.breaker.heard(err == nil, time.Now()) {
		f.log.Warn("text filter does not answer", "fail", map[bool]string{true: "closed", false: "open"}[f.cfg.Closed], "err", err)
	}
	if err != nil {
		f.metrics.filtered.WithLabelValues(failureLabel(err)).Inc()
		return f.unanswered(st)
	}
	f.metrics.filtered.WithLabelValues(v.outcome()).Inc()
	return v.apply(st, t)
}

// unanswered is what becomes of a message that the filter has said nothing about.
func (f *Filter) unanswered(st *stanza.Stanza) (*stanza.Stanza, *stanza.Error) {
	if f.cfg.Closed {
		return nil, errUnfiltered
	}
	return st, nil
}

func failureLabel(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return filterTimeout
	}
	return filterFailed
}

// ask makes one call. The timeout includes waiting for one's turn.
func (f *Filter) ask(ctx context.Context, st *stanza.Stanza, t texts) (v verdict, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return v, ctx.Err()
	}
	body, err := json.Marshal(t.question(st))
	if err != nil {
		return v, err
	}
	req, err := signedRequest(ctx, f.cfg.URL, f.cfg.Secret, body)
	if err != nil {
		return v, err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxVerdict+1))
	switch {
	case err != nil:
		return v, err
	case resp.StatusCode != http.StatusOK:
		return v, fmt.Errorf("webhook: the text filter answers %.100q", resp.Status)
	case len(answer) > maxVerdict:
		return v, errors.New("webhook: the text filter's answer is too long")
	}
	if err := json.Unmarshal(answer, &v); err != nil {
		return v, fmt.Errorf("webhook: the text filter's answer: %w", err)
	}
	return v, v.check()
}

func (v *verdict) check() error {
	switch v.Action {
	case "accept", "reject":
		return nil
	case "replace":
		if v.Body == nil || !isText(*v.Body) {
			return errors.New("webhook: the text filter replaces by what is no text")
		}
		return nil
	}
	return fmt.Errorf("webhook: the text filter knows an action %.30q", v.Action)
}

func (v *verdict) outcome() string {
	return map[string]string{"accept": filterAccepted, "reject": filterRejected, "replace": filterReplaced}[v.Action]
}

// apply is what becomes of a message by a verdict that was checked.
func (v *verdict) apply(st *stanza.Stanza, t texts) (*stanza.Stanza, *stanza.Error) {
	switch v.Action {
	case "reject":
		if v.Reason == "" || len(v.Reason) > maxReason || !isText(v.Reason) {
			return nil, errRefusedText
		}
		return nil, stanza.ErrPolicyViolation.WithText(v.Reason)
	case "replace":
		return t.replaced(st, *v.Body), nil
	}
	return st, nil
}

// isText reports whether XML can hold it (XML 1.0 §2.2).
func isText(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return false
		}
	}
	return true
}

// question is what to ask about a message with these texts.
func (t texts) question(st *stanza.Stanza) question {
	q := question{From: st.From.String(), To: st.To.String(), ID: string(xmlstream.Unescape(nil, st.ID)), Type: typeName(st.Type), Body: t.bodies[0].text}
	if len(t.bodies) > 1 {
		for _, b := range t.bodies {
			q.Bodies = append(q.Bodies, questionBody{b.lang, b.text})
		}
	}
	return q
}

func typeName(t stanza.Type) string {
	if t == stanza.None {
		return "normal" // RFC 6121 §5.2.2
	}
	return t.String()
}
