package xep

import (
	"context"
	"errors"

	"chatd/auth"
	"chatd/router"
	"chatd/stanza"
)

const nsRegister = "jabber:iq:register"

// Accounts is what registration needs of auth.
type Accounts interface {
	SetPassword(ctx context.Context, user, password string) error
	Remove(ctx context.Context, user string) error
}

// Register lets users who are logged in change their password and cancel
// their account (XEP-0077). Registration before login is c2s's.
type Register struct {
	r        *router.Router
	accounts Accounts
	unfriend Unfriend
}

// Unfriend cancels all of a user's subscriptions in both directions, as the
// user would by removing every contact (RFC 6121 §2.5). roster provides it. It
// may block on the store.
type Unfriend func(ctx context.Context, user stanza.JID) error

// NewRegister registers the in-session part of registration.
func NewRegister(r *router.Router, accounts Accounts, unfriend Unfriend) *Register {
	g := &Register{r, accounts, unfriend}
	r.Handle(router.ToHost|router.ToOwn, nsRegister, "query", g.query)
	return g
}

// Features is the namespace.
func (*Register) Features() []string { return []string{nsRegister} }

var errNotRegistered = &stanza.Error{Type: "auth", Condition: "registration-required"}

type registration struct {
	Username *string    `xml:"jabber:iq:register username"`
	Password *string    `xml:"jabber:iq:register password"`
	Remove   *struct{}  `xml:"jabber:iq:register remove"`
	Other    []struct{} `xml:",any"`
}

func (g *Register) query(ctx context.Context, req *router.Request) ([]byte, error) {
	if req.Type == stanza.Get {
		return registered(req.From), nil
	}
	q, err := stanza.Payload[registration](req.Stanza)
	if err != nil {
		return nil, stanza.ErrBadRequest.WithSecret()
	}
	if q.Remove != nil {
		if q.Username != nil || q.Password != nil || len(q.Other) > 0 {
			return nil, stanza.ErrBadRequest.WithSecret() // XEP-0077 §3.2
		}
		return nil, g.remove(ctx, req)
	}
	if req.Session != nil && req.Session.State().Temporary {
		// Whoever got hold of a token would have more than the token.
		return nil, stanza.ErrNotAllowed.WithText("log in with the old password first").WithSecret()
	}
	return nil, g.setPassword(ctx, req.From, q)
}

// registered is XEP-0077 §3.1 for one who has an account.
func registered(user stanza.JID) []byte {
	return []byte("<query xmlns='" + nsRegister + "'><registered/><username>" +
		stanza.Escape(user.Local()) + "</username><password/></query>")
}

// setPassword is XEP-0077 §3.3. No error echoes the password.
func (g *Register) setPassword(ctx context.Context, user stanza.JID, q registration) error {
	if q.Username == nil || q.Password == nil || *q.Password == "" {
		return stanza.ErrBadRequest.WithText("username and password are needed").WithSecret()
	}
	named, err := stanza.ParseJID(*q.Username + "@" + user.Domain())
	if err != nil || named != user.Bare() {
		return stanza.ErrNotAllowed.WithText("only your own password").WithSecret()
	}
	err = g.accounts.SetPassword(ctx, user.Local(), *q.Password)
	switch {
	case errors.Is(err, auth.ErrBadPassword):
		return stanza.ErrNotAcceptable.WithText("not a valid password").WithSecret()
	case err != nil:
		g.r.Log.Log(ctx, stanza.FaultLevel(err), "password not changed", "user", user.Bare(), "err", err)
		return stanza.Fault(err).WithSecret()
	}
	return nil
}

// remove is XEP-0077 §3.2: subscriptions and account go, then the answer, then
// all of the user's sessions.
func (g *Register) remove(ctx context.Context, req *router.Request) error {
	user := req.From.Bare()
	if err := g.unfriend(ctx, user); err != nil {
		return err
	}
	err := g.accounts.Remove(ctx, user.Local())
	if errors.Is(err, auth.ErrNotFound) {
		return errNotRegistered
	}
	if err != nil {
		return err
	}
	req.After = func() {
		req.Batch.Flush()
		for _, row := range g.r.Table.Rows(user) {
			row.Session.Close(stanza.StreamNotAuthorized)
		}
	}
	return nil
}
