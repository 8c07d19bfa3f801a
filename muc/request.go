package muc

import (
	"context"
	"time"

	"chatd/router"
	"chatd/stanza"
)

func now() time.Time { return time.Now() }

// request is a message to the room itself: an invitation (XEP-0045 §7.8.2), its refusal, a request for voice (§7.13), or the answer to a form that
// the room has sent (§8.6, §9.9).
func (s *Service) request(ctx context.Context, b *router.Batch, st *stanza.Stanza) error {
	all, err := stanza.Elements(st)
	if err != nil {
		return err
	}
	for _, e := range all {
		switch {
		case e.Is(nsUser, "x"):
			return s.invitations(ctx, b, st, e)
		case e.Is(nsForms, "x"):
			f, err := parseForm(e)
			if err != nil {
				return err
			}
			switch {
			case f.is(nsRequest):
				return s.voice(b, st, &f)
			case f.is(nsRegForm):
				return s.approve(ctx, b, st, &f)
			}
		}
	}
	return stanza.ErrBadRequest // XEP-0045 §17.2
}
