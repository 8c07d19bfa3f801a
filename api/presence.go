package api

import (
	"context"
	"encoding/xml"
	"net/http"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// A Presence is whether a player is online, and where.
type Presence struct {
	PlayerRef
	Online    bool       `json:"online" doc:"has at least one resource that is available"`
	Resources []Resource `json:"resources" nullable:"false" doc:"those that are available, in the order in which they came"`
}

// A Resource is one client of a player's that is available.
type Resource struct {
	Resource string    `json:"resource"`
	Node     string    `json:"node" doc:"where it is connected"`
	Since    time.Time `json:"since" doc:"UTC: when its session began"`
	Priority int8      `json:"priority"`
	Show     string    `json:"show" enum:"available,away,chat,dnd,xa"`
	Status   string    `json:"status" doc:"in the player's words"`
}

type presenceList struct {
	Players []Presence `json:"players" nullable:"false" doc:"in the order asked for"`
}

func (s *Server) addPresence() {
	add(s, operation{id: "getPresence", method: http.MethodGet, path: "/players/{player}/presence", scope: ScopePresence, tag: tagPresence,
		summary: "Whether a player is online, and where"}, s.getPresence)
	add(s, operation{id: "listPresence", method: http.MethodPost, path: "/presence", scope: ScopePresence, tag: tagPresence, maxBody: 1 << 20,
		summary: "The same for up to 1,000 players",
		about:   "Who is no player at all is not online. What players see of each other's presence does not matter here."}, s.listPresence)
}

func (s *Server) getPresence(ctx context.Context, in *PlayerPath) (*struct{ Body Presence }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	return &struct{ Body Presence }{s.presence(user)}, nil
}

func (s *Server) listPresence(_ context.Context, in *struct {
	Body struct {
		Players []string `json:"players" nullable:"false" minItems:"1" maxItems:"1000" doc:"numbers or bare JIDs"`
		Online  bool     `json:"online_only,omitempty" doc:"leave out who is not online"`
	}
}) (*struct{ Body presenceList }, error) {
	users, err := s.addresses(in.Body.Players)
	if err != nil {
		return nil, err
	}
	list := make([]Presence, 0, len(users))
	for _, user := range users {
		if p := s.presence(user); p.Online || !in.Body.Online {
			list = append(list, p)
		}
	}
	return &struct{ Body presenceList }{presenceList{list}}, nil
}

func (s *Server) presence(user stanza.JID) Presence {
	p := Presence{PlayerRef: s.ref(user), Resources: []Resource{}}
	for _, row := range s.cfg.Router.Table.Rows(user) {
		if row.Available {
			p.Resources = append(p.Resources, s.resource(row))
		}
	}
	p.Online = len(p.Resources) > 0
	return p
}

func (s *Server) resource(row router.Row) Resource {
	state := row.Session.State()
	r := Resource{Resource: row.Resource(), Node: s.cfg.Node, Since: state.Begun.UTC(), Priority: row.Priority, Show: "available"}
	if st := state.Presence.Load(); st != nil {
		r.Show, r.Status = showAndStatus(st)
	}
	return r
}

// showAndStatus reads RFC 6121 §4.7.2.1 and §4.7.2.2: of several texts the first.
func showAndStatus(st *stanza.Stanza) (show, status string) {
	var p struct {
		Show   string   `xml:"jabber:client show"`
		Status []string `xml:"jabber:client status"`
	}
	show = "available"
	if len(st.Inner) == 0 || xml.Unmarshal(st.Document(), &p) != nil {
		return show, ""
	}
	switch p.Show {
	case "away", "chat", "dnd", "xa":
		show = p.Show
	}
	if len(p.Status) > 0 {
		status = p.Status[0]
	}
	return show, status
}
