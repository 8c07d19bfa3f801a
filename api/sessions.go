package api

import (
	"context"
	"net/http"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// A Session is one connected client of a player's, whether or not it is available.
type Session struct {
	Resource  string    `json:"resource"`
	Node      string    `json:"node" doc:"where it is connected"`
	Since     time.Time `json:"since" doc:"UTC: when it began"`
	Available bool      `json:"available" doc:"has sent presence"`
	Priority  int8      `json:"priority"`
	Detached  bool      `json:"detached" doc:"its connection is gone, and it waits to be resumed"`
}

type sessionList struct {
	Sessions []Session `json:"sessions" nullable:"false" doc:"in the order in which they began"`
}

func (s *Server) addSessions() {
	op := func(id, method, path, summary, about string) operation {
		return operation{id: id, method: method, path: "/players/{player}/sessions" + path, scope: ScopeSessions, tag: tagPresence, summary: summary, about: about,
			write: method == http.MethodDelete}
	}
	add(s, op("listSessions", http.MethodGet, "", "Sessions of a player", ""), s.listSessions)
	add(s, op("endSessions", http.MethodDelete, "", "End all sessions of a player",
		"The clients are told that their stream is over, and may log in again: to prevent that disable the account."), s.endSessions)
	add(s, op("endSession", http.MethodDelete, "/{resource}", "End one session of a player", ""), s.endSession)
}

func (s *Server) listSessions(ctx context.Context, in *PlayerPath) (*struct{ Body sessionList }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	list := []Session{}
	for _, row := range s.cfg.Router.Table.Rows(user) {
		list = append(list, Session{
			Resource: row.Resource(), Node: s.cfg.Node, Since: row.Session.State().Begun.UTC(), Available: row.Available,
			Priority: row.Priority, Detached: row.Detached,
		})
	}
	return &struct{ Body sessionList }{sessionList{list}}, nil
}

// errEnded tells a client that somebody wanted its session to end.
var errEnded = stanza.StreamPolicyViolation.WithText("the session was ended by an operator")

func (s *Server) endSessions(ctx context.Context, in *PlayerPath) (*struct{ Body ended }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	n, err := s.cfg.Accounts.EndSessions(ctx, user, errEnded)
	return &struct{ Body ended }{ended{n}}, err
}

func (s *Server) endSession(ctx context.Context, in *struct {
	PlayerPath
	Resource string `path:"resource" minLength:"1" maxLength:"1023" doc:"the part of the address behind the slash"`
}) (*empty, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	full, err := user.WithResource(in.Resource)
	if err != nil {
		return nil, errNoSession
	}
	row, ok := s.cfg.Router.Table.Row(full)
	if !ok {
		return nil, errNoSession
	}
	return nil, end(ctx, row)
}

var errNoSession = failure(http.StatusNotFound, "the player has no such session")

func end(ctx context.Context, row router.Row) error {
	row.Session.Close(errEnded)
	select {
	case <-row.Session.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
