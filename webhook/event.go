package webhook

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"

	"chatd/stanza"
	"chatd/store"
	"chatd/xmlstream"
)

// Types of events.
const (
	AccountMade     = "account.made"
	FriendshipMade  = "friendship.made"
	FriendshipEnded = "friendship.ended"
	MessageRejected = "message.rejected"
	PlayerOnline    = "player.online"
	PlayerOffline   = "player.offline"
	RoomCreated     = "room.created"
	RoomDestroyed   = "room.destroyed"
	RoomJoined      = "room.joined"
	RoomLeft        = "room.left"
	RoomMessage     = "room.message"
)

// Types is every type of event that there is.
func Types() []string {
	return []string{AccountMade, FriendshipMade, FriendshipEnded, MessageRejected, PlayerOnline, PlayerOffline,
		RoomCreated, RoomDestroyed, RoomJoined, RoomLeft, RoomMessage}
}

// An envelope is what is sent.
type envelope struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Data any       `json:"data"`
}

// The data of the events. Addresses are JIDs.
type (
	playerData struct {
		Player string `json:"player"`
	}
	friendshipData struct {
		Players [2]string `json:"players"` // in byte order
		Since   time.Time `json:"since"`
	}
	rejectedData struct {
		From      string `json:"from"`
		To        string `json:"to"`
		Rule      string `json:"rule"`
		Side      string `json:"side"`
		MessageID string `json:"message_id,omitempty"`
	}
)

// wanted reports whether any webhook wants events of a type.
func (s *Service) wanted(typ string) bool {
	for _, h := range *s.hooks.Load() {
		if slices.Contains(h.Events, typ) {
			return true
		}
	}
	return false
}

// postings is an event on its way to each webhook that wants it.
func (s *Service) postings(typ, key string, max int, data any) []store.Posting {
	return s.postingsTo(typ, key, max, data, func(*Hook) bool { return true })
}

// postingsTo is the same for those of which to is true.
func (s *Service) postingsTo(typ, key string, max int, data any, to func(*Hook) bool) []store.Posting {
	now := time.Now().UTC().Truncate(time.Millisecond)
	e := store.Event{ID: rand.Text(), Type: typ, Key: key, Queued: now}
	body, err := json.Marshal(envelope{e.ID, typ, now, data})
	if err != nil { // strings and times only
		s.log.Error("event not made", "type", typ, "err", err)
		return nil
	}
	e.Body = body
	var all []store.Posting
	hooks := *s.hooks.Load()
	for i := range hooks {
		if h := &hooks[i]; slices.Contains(h.Events, typ) && to(h) {
			all = append(all, store.Posting{Queue: h.Name, Max: max, Event: e})
		}
	}
	return all
}

// AccountMade implements store.Announcer.
func (s *Service) AccountMade(a *store.Account) []store.Posting {
	if !s.wanted(AccountMade) {
		return nil
	}
	player := s.address(a.User)
	return s.postings(AccountMade, player, MaxQueue, playerData{player})
}

// ItemChanged implements store.Announcer. A friendship is two items, written one after the other: it is told with that of
// the player whose address comes first, so that each is told once.
func (s *Service) ItemChanged(user string, before, after *store.RosterItem) []store.Posting {
	was, is := before.Sub == store.SubBoth, after.Sub == store.SubBoth
	player := s.address(user)
	if was == is || player > before.JID {
		return nil
	}
	typ, since := FriendshipMade, after.Created
	if was {
		typ, since = FriendshipEnded, before.Created
	}
	if !s.wanted(typ) {
		return nil
	}
	return s.postings(typ, player+" "+before.JID, MaxQueue, friendshipData{[2]string{player, before.JID}, since.UTC()})
}

// Dropped implements store.Announcer.
func (s *Service) Dropped(queue string) { s.lost(queue, lostQueueFull) }

func (s *Service) address(user string) string { return user + "@" + s.domain.Domain() }

// Presence is told that a player's first resource has become available, or that the last one has gone. It does not block.
func (s *Service) Presence(player stanza.JID, online bool) {
	typ := PlayerOffline
	if online {
		typ = PlayerOnline
	}
	if s.wanted(typ) {
		name := player.Bare().String()
		s.buffer.add(s.postings(typ, name, maxVolatile, playerData{name}))
	}
}

// Rejected is told which rule has refused a stanza, and at which side; messages become events. It does not block and keeps
// nothing of st.
func (s *Service) Rejected(st *stanza.Stanza, rule, side string) {
	if st.Kind == stanza.Message && s.wanted(MessageRejected) {
		s.buffer.add(s.postings(MessageRejected, st.From.Bare().String(), maxVolatile,
			rejectedData{st.From.String(), st.To.String(), rule, side, idOf(st)}))
	}
}

// maxMessageID bounds what is told of a message's id, in bytes.
const maxMessageID = 256

func idOf(st *stanza.Stanza) string {
	if len(st.ID) > maxMessageID {
		return ""
	}
	return string(xmlstream.Unescape(nil, st.ID))
}
