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

// Observe is p that also keeps when each user's last available resource went,
// and with what words.
func (l *Last) Observe(p router.Presence) router.Presence { return observer{p, l} }

type observer struct {
	router.Presence
	last *Last
}

func (o observer) Broadcast(ctx context.Context, b *router.Batch, s router.Session, st *stanza.Stanza) {
	if st.Type == stanza.Unavailable {
		o.last.leaves(ctx, s, truncate(statusOf(st), maxStatus))
	}
	o.Presence.Broadcast(ctx, b, s, st)
}

func (o observer) Ended(ctx context.Context, s router.Session) {
	o.last.leaves(ctx, s, "")
	o.Presence.Ended(ctx, s)
}

// leaves is called before the session's State forgets its presence.
func (l *Last) leaves(ctx context.Context, s router.Session, status string) {
	if s.State().Presence.Load() == nil {
		return
	}
	for _, row := range l.r.Table.Rows(s.JID()) {
		if row.Available && row.Session != s {
			return
		}
	}
	user := s.JID().Local()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	exists, err := l.r.Users.Exists(ctx, user) // an account that was just removed leaves nothing
	if err == nil && exists || stanza.Passing(err) {
		err = l.seen.SetLastActivity(ctx, user, store.LastActivity{
			At: time.Now().UTC().Truncate(time.Second), Status: status,
		})
	}
	if err != nil {
		l.r.Log.Log(ctx, stanza.FaultLevel(err), "last activity not kept", "user", s.JID(), "err", err)
	}
}

// statusOf is a presence's first status text (RFC 6121 §4.7.2.2).
func statusOf(st *stanza.Stanza) string {
	var p struct {
		Status []string `xml:"jabber:client status"`
	}
	if err := xml.Unmarshal(st.Document(), &p); err != nil || len(p.Status) == 0 {
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
