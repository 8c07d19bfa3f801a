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
	// Rebroadcast sends a presence of the session, available or unavailable, to all
	// who see it. It changes nothing else. Set before the first stanza.
	Rebroadcast func(ctx context.Context, b *router.Batch, s router.Session, st *stanza.Stanza)

	table *router.Table
	cards store.VCards
	log   *slog.Logger

	mu      sync.Mutex
	hashes  map[string]string // by user; noVCard if there is no profile, "" without a picture
	changes int               // counts profile changes, so that no stale hash is entered
}

const noVCard = "-"

// NewAvatar makes the amendment of presences.
func NewAvatar(r *router.Router, cards store.VCards) *Avatar {
	return &Avatar{table: r.Table, cards: cards, log: r.Log, hashes: make(map[string]string)}
}

// Amend returns what is to be broadcast for an available presence of a
// client: st itself, or a copy with the hash. It may block on the store.
func (a *Avatar) Amend(ctx context.Context, s router.Session, st *stanza.Stanza) *stanza.Stanza {
	if st.Type != stanza.None || bytes.Contains(st.Inner, []byte(nsAvatar)) {
		return st
	}
	hash, err := a.hash(ctx, s.JID().Local())
	if err != nil {
		a.log.Error("avatar not looked up", "user", s.JID(), "err", err)
		return st
	}
	if hash == noVCard {
		return st
	}
	return withHash(st, st.Inner, hash)
}

// withHash is st with these children and the update element of XEP-0153 §3.1;
// an empty hash says that there is no picture (§4.1).
func withHash(st *stanza.Stanza, inner []byte, hash string) *stanza.Stanza {
	c := *st
	c.Inner = make([]byte, 0, len(inner)+len(avatarOpen)+len(hash)+len(avatarClose))
	c.Inner = append(c.Inner, inner...)
	c.Inner = append(c.Inner, avatarOpen+hash+avatarClose...)
	return &c
}

func (a *Avatar) hash(ctx context.Context, user string) (string, error) {
	a.mu.Lock()
	hash, ok := a.hashes[user]
	before := a.changes
	a.mu.Unlock()
	if ok {
		return hash, nil
	}
	card, err := a.cards.VCard(ctx, user)
	switch {
	case errors.Is(err, store.ErrNotFound):
		hash = noVCard
	case err != nil:
		return "", err
	default:
		hash = photoHash(card)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changes == before {
		a.enterLocked(user, hash)
	}
	return hash, nil
}

func (a *Avatar) enterLocked(user, hash string) {
	if len(a.hashes) >= maxAvatars {
		for other := range a.hashes {
			delete(a.hashes, other)
			break
		}
	}
	a.hashes[user] = hash
}

// SessionEnded forgets what is known of a user whose last session has left the table.
func (a *Avatar) SessionEnded(s router.Session) {
	if len(a.table.Rows(s.JID())) == 0 {
		a.mu.Lock()
		delete(a.hashes, s.JID().Local())
		a.mu.Unlock()
	}
}

// changed announces the picture of a new profile for all of the user's
// available resources, except where a client announces pictures by itself.
func (a *Avatar) changed(ctx context.Context, b *router.Batch, user stanza.JID, card []byte) {
	hash := photoHash(card)
	a.mu.Lock()
	a.changes++
	a.enterLocked(user.Local(), hash)
	a.mu.Unlock()
	for _, row := range a.table.Rows(user) {
		a.announce(ctx, b, row.Session, hash)
	}
}

func (a *Avatar) announce(ctx context.Context, b *router.Batch, s router.Session, hash string) {
	for {
		old := s.State().Presence.Load()
		if old == nil {
			return
		}
		inner, ours := withoutHash(old.Inner)
		if !ours {
			return
		}
		st := withHash(old, inner, hash)
		if bytes.Equal(st.Inner, old.Inner) {
			return
		}
		if !s.State().Presence.CompareAndSwap(old, st) {
			continue // the client has just sent another
		}
		a.Rebroadcast(ctx, b, s, st)
		if s.State().Presence.Load() == nil { // it left meanwhile: be sure that this is the last word
			a.Rebroadcast(ctx, b, s, &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: st.From})
		}
		return
	}
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
