package muc

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"strings"

	"chatd/router"
	"chatd/stanza"
)

// maxVCard bounds a room's profile with its picture, in bytes of XML.
const maxVCard = 64 << 10

// vcard is the room's profile (XEP-0486).
func (s *Service) vcard(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	if st.Type == stanza.Get {
		return s.visit(ctx, b, st.To.Local(), func(r *room) error {
			card := r.cfg.VCard
			if card == "" {
				card = "<vCard xmlns='" + nsVCard + "'/>"
			}
			s.answer(b, sess, st, []byte(card))
			return nil
		})
	}
	e, err := stanza.RawPayload(st)
	if err != nil {
		return err
	}
	card := string(e.Standalone())
	if len(card) > maxVCard {
		return errTooLarge
	}
	if all, err := e.Children(); err != nil {
		return err
	} else if len(all) == 0 {
		card = ""
	}
	hashes := strings.Join(avatarHashes(card), " ")
	return s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		if r.affiliation(st.From) < Owner {
			return plan{}, stanza.ErrForbidden.WithText("only owners may change it")
		}
		next := *r.cfg
		next.VCard, next.Avatars = card, hashes
		return s.configuration(b, r, &next, nil, func() { s.answer(b, sess, st, nil) })
	})
}

// avatarHashes is those of the pictures in a profile (XEP-0486 §3.3, XEP-0153 §3.1).
func avatarHashes(card string) (hashes []string) {
	if card == "" {
		return nil
	}
	var v struct {
		Photos []string `xml:"PHOTO>BINVAL"`
	}
	if xml.Unmarshal([]byte(card), &v) != nil {
		return nil
	}
	for _, p := range v.Photos {
		image, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(p), ""))
		if err == nil && len(image) > 0 {
			sum := sha1.Sum(image)
			hashes = append(hashes, hex.EncodeToString(sum[:]))
		}
	}
	return hashes
}
