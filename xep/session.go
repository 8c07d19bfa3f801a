package xep

import (
	"context"

	"chatd/router"
	"chatd/stanza"
)

// NewSession registers the session establishment of RFC 3921 §3, which RFC
// 6121 Appendix E made a request without effect: older clients wait for the answer.
func NewSession(r *router.Router) {
	r.Handle(router.ToHost|router.ToOwn, stanza.NSSession, "session",
		set(func(context.Context, *router.Request) ([]byte, error) { return nil, nil }))
}
