package muc

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"

	"chatd/stanza"
)

// Limits of the hats of one room.
const (
	maxHats     = 50
	maxWearers  = 1000 // of all hats together
	maxHatBytes = 256  // of an address or a title
)

// A Hat is what some users are in a room besides what XEP-0045 has for them, as "captain" (XEP-0317). It belongs to the room's configuration, and who
// wears it does so whether in the room or not.
type Hat struct {
	URI   string   `json:"uri"` // the key
	Title string   `json:"title"`
	Hue   string   `json:"hue,omitempty"`   // of its colour: degrees, from 0 to 360; "" for any
	Users []string `json:"users,omitempty"` // bare addresses of those who wear it, in byte order
}

// Hats are a room's, in the order in which they were made. They are immutable; nil is none.
type Hats struct {
	All []Hat `json:"all"`
}

// NewHats is hats that a room may have; the error is a *stanza.Error.
func NewHats(all []Hat) (*Hats, error) {
	if len(all) == 0 {
		return nil, nil
	}
	h := &Hats{All: slices.Clone(all)}
	wearers := 0
	for i := range h.All {
		hat := &h.All[i]
		hat.Users = slices.Compact(slices.Sorted(slices.Values(hat.Users)))
		wearers += len(hat.Users)
		hue, err := strconv.ParseFloat(cmp.Or(hat.Hue, "0"), 64)
		switch {
		case hat.URI == "" || hat.Title == "" || len(hat.URI) > maxHatBytes || len(hat.Title) > maxHatBytes:
			return nil, stanza.ErrNotAcceptable.WithText("a hat has a URI and a title of at most " + strconv.Itoa(maxHatBytes) + " bytes")
		case err != nil || !(hue >= 0 && hue <= 360):
			return nil, stanza.ErrNotAcceptable.WithText("a hue is from 0 to 360")
		case h.find(hat.URI) != i:
			return nil, stanza.ErrNotAcceptable.WithText("two hats have one URI")
		}
	}
	if len(all) > maxHats || wearers > maxWearers {
		return nil, stanza.ErrResourceConstraint
	}
	return h, nil
}

// List is the hats; the caller leaves it as it is.
func (h *Hats) List() []Hat {
	if h == nil {
		return nil
	}
	return h.All
}

// find is the place of a hat, -1 if there is none.
func (h *Hats) find(uri string) int {
	return slices.IndexFunc(h.List(), func(x Hat) bool { return x.URI == uri })
}

func (h *Hats) equal(o *Hats) bool {
	return slices.EqualFunc(h.List(), o.List(), func(a, b Hat) bool {
		return a.URI == b.URI && a.Title == b.Title && a.Hue == b.Hue && slices.Equal(a.Users, b.Users)
	})
}

// append writes what a user wears, as presence tells it (XEP-0317 §3.1); nothing if that is nothing.
func (h *Hats) append(b []byte, user stanza.JID) []byte {
	if h == nil {
		return b
	}
	bare, none := user.Bare().String(), len(b)
	for i := range h.All {
		hat := &h.All[i]
		if _, wears := slices.BinarySearch(hat.Users, bare); !wears {
			continue
		}
		if len(b) == none {
			b = append(b, "<hats xmlns='"+nsHats+"'>"...)
		}
		b = stanza.AppendEscaped(append(b, "<hat title='"...), hat.Title)
		b = stanza.AppendEscaped(append(b, "' uri='"...), hat.URI)
		if hat.Hue != "" {
			b = stanza.AppendEscaped(append(b, "' hue='"...), hat.Hue)
		}
		b = append(b, "'/>"...)
	}
	if len(b) > none {
		b = append(b, "</hats>"...)
	}
	return b
}

// worn is what append writes.
func (h *Hats) worn(user stanza.JID) string { return string(h.append(nil, user)) }

// hash says whether the hats are others than before (XEP-0317 §2).
func (h *Hats) hash() string {
	sum := sha1.New()
	for _, hat := range h.List() {
		sum.Write([]byte(hat.URI + "\x00" + hat.Title + "\x00" + hat.Hue + "\x00"))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// with is the hats with one made, or with another title and hue (XEP-0317 §3.2).
func (h *Hats) with(hat Hat) (*Hats, error) {
	all := slices.Clone(h.List())
	if i := h.find(hat.URI); i >= 0 {
		hat.Users = all[i].Users
		all[i] = hat
	} else {
		all = append(all, hat)
	}
	return NewHats(all)
}

// without is the hats without one (XEP-0317 §3.3).
func (h *Hats) without(uri string) (*Hats, error) {
	i := h.find(uri)
	if i < 0 {
		return nil, errNoHat
	}
	return NewHats(slices.Delete(slices.Clone(h.All), i, i+1))
}

// wornBy is the hats with one worn by one more user, or one less (XEP-0317 §3.5, §3.6).
func (h *Hats) wornBy(uri, user string, wears bool) (*Hats, error) {
	i := h.find(uri)
	if i < 0 {
		return nil, errNoHat
	}
	all := slices.Clone(h.All)
	users := make(map[string]bool)
	for _, u := range all[i].Users {
		users[u] = true
	}
	if users[user] = true; !wears {
		delete(users, user)
	}
	all[i].Users = slices.Collect(maps.Keys(users))
	return NewHats(all)
}

var errNoHat = stanza.ErrItemNotFound.WithText("there is no such hat")
