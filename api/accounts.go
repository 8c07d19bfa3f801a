package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"chatd/account"
	"chatd/stanza"
)

// An Account is a player's right to log in.
type Account struct {
	PlayerRef
	Created  time.Time `json:"created" doc:"UTC"`
	Disabled bool      `json:"disabled" doc:"may not log in"`
	Sessions int       `json:"sessions" minimum:"0" doc:"how many there are on this node"`
}

type accountsPage struct {
	Players []PlayerRef `json:"players" nullable:"false"`
	Next    string      `json:"next,omitempty" doc:"cursor of what follows; absent at the end"`
}

// A Password is a new one.
type Password struct {
	Password string `json:"password" minLength:"1" maxLength:"1024" format:"password" doc:"kept only as what verifies it"`
}

type ended struct {
	Ended int `json:"sessions_ended" minimum:"0"`
}

func (s *Server) addAccounts() {
	op := func(id, method, path, summary, about string) operation {
		return operation{id: id, method: method, path: "/players" + path, scope: ScopeAccounts, tag: tagAccounts, summary: summary, about: about,
			write: method != http.MethodGet}
	}
	add(s, op("listPlayers", http.MethodGet, "", "All accounts", "In byte order of the addresses."), s.listPlayers)
	create := op("createPlayer", http.MethodPost, "", "Make an account", "409 if the player exists already.")
	create.status = http.StatusCreated
	add(s, create, s.createPlayer)
	add(s, op("getPlayer", http.MethodGet, "/{player}", "One account", ""), s.getPlayer)
	add(s, op("setPassword", http.MethodPut, "/{player}/password", "Change a password", "Sessions go on."), s.setPassword)
	add(s, op("disablePlayer", http.MethodPost, "/{player}/disable", "Disable an account",
		"Ends all sessions and refuses logins, by password and by token. Data and friends stay."), s.disablePlayer)
	add(s, op("enablePlayer", http.MethodPost, "/{player}/enable", "Enable a disabled account", ""), s.enablePlayer)
	add(s, op("erasePlayer", http.MethodDelete, "/{player}", "Erase an account",
		"Ends all sessions, takes the player off all friends lists, and removes all that is kept of the player. What others wrote about the player is theirs and stays."), s.erasePlayer)
	add(s, op("exportPlayer", http.MethodGet, "/{player}/export", "All data of a player", "But for what verifies the password."), s.exportPlayer)
}

func (s *Server) listPlayers(ctx context.Context, in *struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"how many at most"`
	Cursor string `query:"cursor" maxLength:"2800" doc:"where to go on, from the answer before"`
}) (*struct{ Body accountsPage }, error) {
	last := ""
	if in.Cursor != "" {
		var err error
		if last, err = readCursor(in.Cursor); err != nil {
			return nil, err
		}
	}
	names, err := s.cfg.Store.ListAccounts(ctx, last, in.Limit+1) // one more, to see whether there is more
	if err != nil {
		return nil, err
	}
	out := accountsPage{Players: make([]PlayerRef, 0, len(names))}
	if len(names) > in.Limit {
		names = names[:in.Limit]
		out.Next = cursor(names[len(names)-1])
	}
	for _, name := range names {
		j, err := stanza.ParseJID(name + "@" + s.cfg.Router.Domain.Domain())
		if err != nil {
			return nil, err
		}
		out.Players = append(out.Players, s.ref(j))
	}
	return &struct{ Body accountsPage }{out}, nil
}

func (s *Server) createPlayer(ctx context.Context, in *struct {
	Body struct {
		Player string `json:"player" minLength:"1" maxLength:"2047" doc:"number or bare JID" example:"13131"`
		Password
	}
}) (*struct {
	Location string `header:"Location"`
	Body     PlayerRef
}, error) {
	user, err := s.address(in.Body.Player)
	if err != nil {
		return nil, err
	}
	if _, err := s.cfg.Auth.Register(ctx, user.Local(), in.Body.Password.Password); err != nil {
		return nil, err
	}
	return &struct {
		Location string `header:"Location"`
		Body     PlayerRef
	}{"/players/" + url.PathEscape(user.String()), s.ref(user)}, nil
}

func (s *Server) getPlayer(ctx context.Context, in *PlayerPath) (*struct{ Body Account }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	a, err := s.cfg.Store.Account(ctx, user.Local())
	if err != nil {
		return nil, err
	}
	return &struct{ Body Account }{Account{s.ref(user), a.Created, a.Disabled, len(s.cfg.Router.Table.Rows(user))}}, nil
}

func (s *Server) setPassword(ctx context.Context, in *struct {
	PlayerPath
	Body Password
}) (*empty, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Auth.SetPassword(ctx, user.Local(), in.Body.Password)
}

func (s *Server) disablePlayer(ctx context.Context, in *PlayerPath) (*struct{ Body ended }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	n, err := s.cfg.Accounts.Disable(ctx, user)
	return &struct{ Body ended }{ended{n}}, err
}

func (s *Server) enablePlayer(ctx context.Context, in *PlayerPath) (*empty, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Accounts.Enable(ctx, user)
}

func (s *Server) erasePlayer(ctx context.Context, in *PlayerPath) (*empty, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Accounts.Erase(ctx, user)
}

// An Export is all that is kept of a player.
type Export struct {
	PlayerRef
	Created    time.Time         `json:"created"`
	Mechanisms []string          `json:"mechanisms" nullable:"false" doc:"by which the player can log in with a password"`
	Contacts   []ExportedContact `json:"contacts" nullable:"false"`
	Notes      []ExportedNote    `json:"notes" nullable:"false"`
	Blocked    []string          `json:"blocked" nullable:"false"`
	Privacy    Privacy           `json:"privacy"`
	VCard      string            `json:"vcard,omitempty" doc:"XML"`
	Private    []string          `json:"private" nullable:"false" doc:"what clients have stored, XML"`
	LastSeen   *LastSeen         `json:"last_seen,omitempty"`
	Messages   []ExportedMessage `json:"messages" nullable:"false" doc:"those that wait for the player, oldest first"`
}

// An ExportedContact is one entry of the friends list as it is kept.
type ExportedContact struct {
	JID          string     `json:"jid"`
	Name         string     `json:"name,omitempty"`
	Groups       []string   `json:"groups,omitempty"`
	Subscription string     `json:"subscription" enum:"none,to,from,both"`
	Asked        bool       `json:"asked,omitempty" doc:"the player waits for an answer"`
	Asks         bool       `json:"asks,omitempty" doc:"the contact waits for an answer"`
	Approved     bool       `json:"approved,omitempty" doc:"a request is granted in advance"`
	Message      string     `json:"message,omitempty" doc:"text of the pending request"`
	Since        *time.Time `json:"since,omitempty"`
}

// An ExportedNote is what the player has written about somebody.
type ExportedNote struct {
	JID      string     `json:"jid"`
	Text     string     `json:"text"`
	Created  *time.Time `json:"created,omitempty"`
	Modified *time.Time `json:"modified,omitempty"`
}

// LastSeen is when the player was last online.
type LastSeen struct {
	At     time.Time `json:"at"`
	Status string    `json:"status,omitempty"`
}

// An ExportedMessage waits for the player.
type ExportedMessage struct {
	Stored time.Time `json:"stored"`
	XML    string    `json:"xml"`
}

func (s *Server) exportPlayer(ctx context.Context, in *PlayerPath) (*struct{ Body Export }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	x, err := s.cfg.Accounts.Export(ctx, user)
	if err != nil {
		return nil, err
	}
	return &struct{ Body Export }{s.export(x)}, nil
}

func (s *Server) export(x *account.Export) Export {
	out := Export{
		PlayerRef: s.ref(x.User), Created: x.Created, Mechanisms: append([]string{}, x.Mechanisms...),
		Contacts: []ExportedContact{}, Notes: []ExportedNote{}, Blocked: append([]string{}, x.Blocked...), Privacy: privacyOf(x.Privacy),
		VCard: string(x.VCard), Private: []string{}, Messages: []ExportedMessage{},
	}
	for _, c := range x.Contacts {
		out.Contacts = append(out.Contacts, ExportedContact{
			JID: c.JID, Name: c.Name, Groups: c.Groups, Subscription: c.Sub.String(), Asked: c.Ask, Asks: c.PendingIn,
			Approved: c.Approved, Message: c.Message, Since: known(c.Created),
		})
	}
	for _, n := range x.Notes {
		out.Notes = append(out.Notes, ExportedNote{n.JID, n.Text, known(n.Created), known(n.Modified)})
	}
	for _, p := range x.Private {
		out.Private = append(out.Private, string(p.XML))
	}
	for _, m := range x.Messages {
		out.Messages = append(out.Messages, ExportedMessage{m.Stored, string(m.Stanza)})
	}
	if !x.LastSeen.At.IsZero() {
		out.LastSeen = &LastSeen{x.LastSeen.At, x.LastSeen.Status}
	}
	return out
}

// known is nil for no time.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
