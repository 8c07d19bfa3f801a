package xep

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

const (
	nsAvatar = "vcard-temp:x:update"

	// maxAvatars bounds the hashes in memory, about 100 bytes each.
	maxAvatars = 1 << 16

	avatarOpen  = "<x xmlns='" + nsAvatar + "'><photo>"
	avatarClose = "</photo></x>"
)

// Avatar puts the hash of a user's picture into those presences that lack it
// (XEP-0153), so that friends see pictures whatever the client knows of them.
type Avatar struct {
	table      *router.Table
	cards      store.VCards
	reannounce Reannounce
	log        *slog.Logger

	mu      sync.Mutex
	hashes  map[string]string // by user; noVCard if there is no profile, "" without a picture
	changes int               // counts profile changes, so that no stale hash is taken
}

const noVCard = "-"

// Reannounce broadcasts the presence of an available resource anew, as change
// makes it; not when change returns what it was given. change must not block.
// roster provides it. It may block on the store.
type Reannounce func(ctx context.Context, b *router.Batch, s router.Session, change func(*stanza.Stanza) *stanza.Stanza) error

// NewAvatar makes the amendment of presences.
func NewAvatar(r *router.Router, cards store.VCards, reannounce Reannounce) *Avatar {
	return &Avatar{table: r.Table, cards: cards, reannounce: reannounce, log: r.Log, hashes: make(map[string]string)}
}

// Amend returns what is to be broadcast for an available presence of a
// client: st itself, or a copy with the hash. It may block on the store.
func (a *Avatar) Amend(ctx context.Context, s router.Session, st *stanza.Stanza) *stanza.Stanza {
	if st.Type != stanza.None || bytes.Contains(st.Inner, []byte(nsAvatar)) {
		return st
	}
	initial := s.State().Presence.Load() == nil
	hash, err := a.hash(ctx, s.JID().Local(), initial)
	if err != nil {
		a.log.Log(ctx, stanza.FaultLevel(err), "avatar not looked up", "user", s.JID(), "err", err)
		return st
	}
	if hash == noVCard {
		return st
	}
	return withHash(st, st.Inner, hash)
}

// withHash is st with these children and the update element of XEP-0153 §3.1;
// an empty hash says that there is no picture (XEP-0153 §4.1).
func withHash(st *stanza.Stanza, inner []byte, hash string) *stanza.Stanza {
	c := *st
	c.Inner = make([]byte, 0, len(inner)+len(avatarOpen)+len(hash)+len(avatarClose))
	c.Inner = append(c.Inner, inner...)
	c.Inner = append(c.Inner, avatarOpen+hash+avatarClose...)
	return &c
}

// hash is read anew for an initial presence: the account may have been made
// anew since it was last looked at.
func (a *Avatar) hash(ctx context.Context, user string, initial bool) (string, error) {
	for {
		a.mu.Lock()
		hash, ok := a.hashes[user]
		before := a.changes
		a.mu.Unlock()
		if ok && !initial {
			return hash, nil
		}
		hash, err := a.read(ctx, user)
		if err != nil {
			return "", err
		}
		a.mu.Lock()
		current := a.changes == before
		if current {
			a.enterLocked(user, hash)
		}
		a.mu.Unlock()
		if current {
			return hash, nil
		}
		initial = false
	}
}

func (a *Avatar) read(ctx context.Context, user string) (string, error) {
	card, err := a.cards.VCard(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return noVCard, nil
	}
	if err != nil {
		return "", err
	}
	return photoHash(card), nil
}

func (a *Avatar) enterLocked(user, hash string) {
	if _, known := a.hashes[user]; !known && len(a.hashes) >= maxAvatars {
		for other := range a.hashes {
			delete(a.hashes, other)
			break
		}
	}
	a.hashes[user] = hash
}

// changed announces the picture of a new profile for all of the user's
// available resources, except where a client announces pictures by itself.
func (a *Avatar) changed(ctx context.Context, b *router.Batch, user stanza.JID, card []byte) {
	hash := photoHash(card)
	a.mu.Lock()
	a.changes++
	a.enterLocked(user.Local(), hash)
	a.mu.Unlock()
	a.table.Elsewhere.Stale(user, router.KeptProfile)
	a.announce(ctx, b, user, hash)
}

// Reload announces the picture of a profile that another node has changed for the user's resources on this node. It
// blocks on the store.
func (a *Avatar) Reload(ctx context.Context, user stanza.JID) error {
	a.mu.Lock()
	a.changes++
	delete(a.hashes, user.Local())
	a.mu.Unlock()
	if len(a.table.Local(user)) == 0 {
		return nil
	}
	hash, err := a.hash(ctx, user.Local(), true)
	if err != nil {
		return err
	}
	if hash == noVCard {
		hash = ""
	}
	var b router.Batch
	defer b.Flush()
	a.announce(ctx, &b, user, hash)
	return nil
}

// announce gives the presence of a user's resources on this node a picture.
func (a *Avatar) announce(ctx context.Context, b *router.Batch, user stanza.JID, hash string) {
	change := func(p *stanza.Stanza) *stanza.Stanza { return renewed(p, hash) }
	for _, row := range a.table.Local(user) {
		if err := a.reannounce(ctx, b, row.Session, change); err != nil {
			a.log.Log(ctx, stanza.FaultLevel(err), "avatar not announced", "user", row.Session.JID(), "err", err)
		}
	}
}

// renewed is a presence with another hash; p itself if that is no change, or
// if its client has its own update element.
func renewed(p *stanza.Stanza, hash string) *stanza.Stanza {
	inner, ours := withoutHash(p.Inner)
	if !ours {
		return p
	}
	st := withHash(p, inner, hash)
	if bytes.Equal(st.Inner, p.Inner) {
		return p
	}
	return st
}

// withoutHash takes off what withHash put on. ours is false if there is an
// update element that the client has sent.
func withoutHash(inner []byte) (rest []byte, ours bool) {
	if i := bytes.LastIndex(inner, []byte(avatarOpen)); i >= 0 && bytes.HasSuffix(inner, []byte(avatarClose)) {
		inner = inner[:i]
	}
	return inner, !bytes.Contains(inner, []byte(nsAvatar))
}

// photoHash is the hexadecimal SHA-1 of a profile's picture, "" if it has none (XEP-0153 §3.1).
func photoHash(card []byte) string {
	var v struct {
		Photo string `xml:"PHOTO>BINVAL"`
	}
	if err := xml.Unmarshal(card, &v); err != nil {
		return ""
	}
	image, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(v.Photo), "")) // XEP-0153 §4.6
	if err != nil || len(image) == 0 {
		return ""
	}
	sum := sha1.Sum(image)
	return hex.EncodeToString(sum[:])
}
