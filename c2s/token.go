package c2s

import (
	"context"
	"encoding/xml"
	"errors"
	"strings"
	"time"

	"chatd/auth"
	"chatd/router"
	"chatd/stanza"
)

// nsToken is our own: within a session the client shows another token (docs/tokens.md).
const nsToken = "urn:chatd:token:0"

var errTokenExpired = stanza.StreamNotAuthorized.WithText("token expired")

// endAt makes the session end at a time, never at the zero time. It cannot be resumed
// afterwards.
func (s *Session) endAt(t time.Time) {
	s.state.Temporary, s.expires = !t.IsZero(), t
	if s.state.Temporary {
		s.deadline = time.AfterFunc(time.Until(t), func() { s.Close(errTokenExpired) })
	}
}

func (s *Session) stopDeadline() {
	if s.deadline != nil {
		s.deadline.Stop()
	}
}

var (
	errTokenRefused = &stanza.Error{Type: "auth", Condition: "not-authorized", Secret: true}
	errNoDeadline   = stanza.ErrNotAllowed.WithText("the session does not end with a token").WithSecret()
)

// renew lets a session that a token began go on until another token of the same user expires. No
// answer echoes a token.
func (srv *Server) renew(ctx context.Context, req *router.Request) ([]byte, error) {
	s, local := req.Session.(*Session)
	if !local || !srv.auth.TokensAccepted() {
		return nil, stanza.ErrServiceUnavailable.WithSecret()
	}
	var q struct {
		XMLName xml.Name `xml:"urn:chatd:token:0 token"`
		Token   string   `xml:",chardata"`
	}
	if req.Type != stanza.Set || xml.Unmarshal(req.Inner, &q) != nil {
		return nil, stanza.ErrBadRequest.WithSecret()
	}
	if s.deadline == nil {
		return nil, errNoDeadline
	}
	expires, err := srv.auth.Renew(ctx, s.jid.Local(), strings.TrimSpace(q.Token))
	if err != nil {
		srv.log.Info("token not renewed", "jid", s.jid, "cause", errors.Unwrap(err))
		var f *auth.Failure
		if errors.As(err, &f) && f.Text != "" {
			return nil, errTokenRefused.WithText(f.Text)
		}
		return nil, errTokenRefused
	}
	if !s.deadline.Stop() {
		return nil, errTokenRefused // too late: the session is ending
	}
	s.expires = expires
	s.deadline.Reset(time.Until(expires))
	return nil, nil
}
