package xep

import (
	"context"
	"time"

	"chatd/router"
)

const (
	nsTime = "urn:xmpp:time"

	// dateTime is XEP-0082 §3.2, for times in UTC.
	dateTime       = "2006-01-02T15:04:05Z"
	dateTimeMillis = "2006-01-02T15:04:05.000Z"
)

// Time tells the server's time (XEP-0202).
type Time struct{}

// NewTime registers the answer.
func NewTime(r *router.Router) Time {
	r.Handle(router.ToHost, nsTime, "time", get(tellTime))
	return Time{}
}

// Features is XEP-0202 §4.
func (Time) Features() []string { return []string{nsTime} }

func tellTime(context.Context, *router.Request) ([]byte, error) {
	now := time.Now()
	return []byte("<time xmlns='" + nsTime + "'><tzo>" + now.Format("-07:00") +
		"</tzo><utc>" + now.UTC().Format(dateTime) + "</utc></time>"), nil
}
