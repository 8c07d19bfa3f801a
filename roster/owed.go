package roster

import (
	"context"
	"sync"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// Owed is the users of this node who, or whose contacts, could not be told of one another since the store did not answer: they are when it does.
type owed struct {
	mu      sync.Mutex
	users   map[stanza.JID]bool // bare JIDs with sessions here
	serving bool
}

// owe notes a user, unless err is a failure that does not pass. A session that moves before the store answers is marked for where it goes.
func (s *Service) owe(user stanza.JID, err error) {
	rows := s.r.Table.Local(user)
	if !s.Nodes || len(rows) == 0 {
		return
	}
	for _, row := range rows {
		row.Session.State().Strayed.Store(true)
	}
	if !stanza.Passing(err) {
		return
	}
	o := &s.owed
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.users == nil {
		o.users = make(map[stanza.JID]bool)
	}
	o.users[user.Bare().Clone()] = true
	if !o.serving {
		o.serving = true
		go s.serveOwed(s.Serving)
	}
}

// serveOwed ends when nothing is owed to anybody any more, or with the server.
func (s *Service) serveOwed(ctx context.Context) {
	o := &s.owed
	for {
		select {
		case <-time.After(patience):
		case <-ctx.Done():
			return
		}
		o.mu.Lock()
		users := o.users
		o.users = nil
		if o.serving = len(users) > 0; !o.serving {
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		for user := range users {
			s.settleOwed(ctx, user)
		}
	}
}

// settleOwed brings up to date what a user's sessions here and their contacts know of each other. What fails is owed again.
func (s *Service) settleOwed(ctx context.Context, user stanza.JID) {
	var b router.Batch
	defer b.Flush()
	for _, row := range s.r.Table.Local(user) {
		if !row.Available {
			continue
		}
		if err := s.Moved(ctx, &b, row.Session); err != nil {
			return
		}
	}
}
