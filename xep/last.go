package xep

import (
	"context"
	"encoding/xml"
	"errors"
	"strconv"
	"strings"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

const (
	nsLast = "jabber:iq:last"

	// maxStatus bounds the words that are kept of a user's farewell, in bytes.
	maxStatus = 1024
)

// Last tells for how long the server has run and since when a user has been
// away (XEP-0012).
type Last struct {
	r       *router.Router
	friends Friends
	seen    store.LastActivities
	started time.Time
}

// NewLast registers the answers. The uptime counts from this call.
func NewLast(r *router.Router, friends Friends, seen store.LastActivities) *Last {
	l := &Last{r: r, friends: friends, seen: seen, started: time.Now()}
	r.Handle(router.ToHost, nsLast, "query", get(l.uptime))
	r.Handle(router.ToOwn|router.ToAccount, nsLast, "query", get(l.account))
	return l
}

// Features is XEP-0012 §6.
func (*Last) Features() []string { return []string{nsLast} }

// uptime is XEP-0012 §5.
func (l *Last) uptime(context.Context, *router.Request) ([]byte, error) {
	return lastQuery(time.Since(l.started), ""), nil
}

// account is XEP-0012 §3.
func (l *Last) account(ctx context.Context, req *router.Request) ([]byte, error) {
	if !req.Own {
		sees, err := l.friends.SeesPresence(ctx, req.To, req.From)
		if err != nil {
			return nil, err
		}
		if !sees {
			return nil, stanza.ErrForbidden
		}
	}
	if len(l.r.Table.Rows(req.To)) > 0 {
		return lastQuery(0, ""), nil
	}
	a, err := l.seen.LastActivity(ctx, req.To.Local())
	if errors.Is(err, store.ErrNotFound) {
		return nil, stanza.ErrServiceUnavailable // never been here
	}
	if err != nil {
		return nil, err
	}
	return lastQuery(time.Since(a.At), a.Status), nil
}

func lastQuery(d time.Duration, status string) []byte {
	b := []byte("<query xmlns='" + nsLast + "' seconds='")
	b = strconv.AppendInt(b, int64(max(d, 0)/time.Second), 10)
	if status == "" {
		return append(b, "'/>"...)
	}
	b = append(b, "'>"...)
	b = stanza.AppendEscaped(b, status)
	return append(b, "</query>"...)
}

// Unavailable keeps the words of a client's farewell, a presence of type
// unavailable without 'to', if it is its user's last available resource. To be called before
// the session's State forgets its presence, on its reading goroutine.
func (l *Last) Unavailable(ctx context.Context, s router.Session, st *stanza.Stanza) error {
	for _, row := range l.r.Table.Rows(s.JID()) {
		if row.Available && row.Session != s {
			return nil
		}
	}
	return l.keep(ctx, s.JID().Local(), truncate(statusOf(st), maxStatus))
}

// SessionEnded notes when a user's last session ended. To be called once the
// session has left the table and before its State forgets its presence.
func (l *Last) SessionEnded(ctx context.Context, s router.Session) error {
	user := s.JID().Local()
	if len(l.r.Table.Rows(s.JID())) > 0 {
		return nil
	}
	// The account itself may just have been removed: nothing may stay of it.
	if exists, err := l.r.Users.Exists(ctx, user); err != nil || !exists {
		return err
	}
	if s.State().Presence.Load() != nil { // went without a word
		return l.keep(ctx, user, "")
	}
	a, err := l.seen.LastActivity(ctx, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return l.keep(ctx, user, a.Status)
}

func (l *Last) keep(ctx context.Context, user, status string) error {
	return l.seen.SetLastActivity(ctx, user, store.LastActivity{
		At: time.Now().UTC().Truncate(time.Second), Status: status,
	})
}

// statusOf is a presence's first status text (RFC 6121 §4.7.2.2).
func statusOf(st *stanza.Stanza) string {
	var p struct {
		Status []string `xml:"jabber:client status"`
	}
	if err := xml.Unmarshal(document(st), &p); err != nil || len(p.Status) == 0 {
		return ""
	}
	return p.Status[0]
}

// truncate cuts text to at most n bytes between characters.
func truncate(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}
