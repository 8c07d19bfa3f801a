package xep

import (
	"context"
	"errors"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

const (
	nsVCard = "vcard-temp"

	// maxVCard bounds a profile with its picture, in bytes of XML.
	maxVCard = 64 << 10
)

// VCard keeps profiles (XEP-0054).
type VCard struct {
	cards  store.VCards
	avatar *Avatar
}

// NewVCard registers the profiles. avatar learns of each change.
func NewVCard(r *router.Router, cards store.VCards, avatar *Avatar) *VCard {
	v := &VCard{cards, avatar}
	r.Handle(router.ToOwn, nsVCard, "vCard", v.own)
	r.Handle(router.ToAccount, nsVCard, "vCard", v.other)
	return v
}

// Features is XEP-0054 §4.
func (*VCard) Features() []string { return []string{nsVCard} }

func (v *VCard) own(ctx context.Context, req *router.Request) ([]byte, error) {
	if req.Type == stanza.Set {
		return nil, v.set(ctx, req)
	}
	card, err := v.cards.VCard(ctx, req.To.Local())
	if errors.Is(err, store.ErrNotFound) {
		return []byte("<vCard xmlns='" + nsVCard + "'/>"), nil // XEP-0054 §3.1
	}
	return card, err
}

func (v *VCard) other(ctx context.Context, req *router.Request) ([]byte, error) {
	if req.Type == stanza.Set {
		return nil, stanza.ErrForbidden // XEP-0054 §3.2
	}
	card, err := v.cards.VCard(ctx, req.To.Local())
	if errors.Is(err, store.ErrNotFound) {
		return nil, stanza.ErrServiceUnavailable // XEP-0054 §3.3: as for a missing account
	}
	return card, err
}

// set is XEP-0054 §3.2.
func (v *VCard) set(ctx context.Context, req *router.Request) error {
	e, err := stanza.RawPayload(req.Stanza)
	if err != nil {
		return err
	}
	card := e.Standalone()
	if len(card) > maxVCard {
		return stanza.ErrPolicyViolation.WithText("a vCard may have at most 65536 bytes")
	}
	if err := v.cards.SetVCard(ctx, req.To.Local(), card); err != nil {
		return err
	}
	v.avatar.changed(ctx, req.Batch, req.To, card)
	return nil
}
