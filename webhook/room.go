package webhook

import (
	"slices"
	"unicode/utf8"

	"chatd/stanza"
)

// maxRoomText bounds what is told of a message to a room, in bytes: with all of it the buffer could take much memory.
const maxRoomText = 4096

type (
	roomData struct {
		Room string `json:"room"`
		By   string `json:"by,omitempty"` // "": a service
	}
	roomEndData struct {
		Room   string `json:"room"`
		Why    string `json:"why"`
		Reason string `json:"reason,omitempty"`
	}
	joinedData struct {
		Room        string `json:"room"`
		Player      string `json:"player"`
		Nick        string `json:"nick"`
		Role        string `json:"role"`
		Affiliation string `json:"affiliation"`
	}
	leftData struct {
		Room   string `json:"room"`
		Player string `json:"player"`
		Nick   string `json:"nick"`
		Why    string `json:"why"`
	}
	roomMessageData struct {
		Room      string  `json:"room"`
		Player    string  `json:"player,omitempty"` // "": a service
		Nick      string  `json:"nick,omitempty"`
		ID        string  `json:"id"` // stanza-id (XEP-0359)
		MessageID string  `json:"message_id,omitempty"`
		Body      *string `json:"body,omitempty"`
		Truncated bool    `json:"truncated,omitempty"`
	}
)

// room buffers an event of a room: there are many, and they wait for nobody.
func (s *Service) room(typ string, room stanza.JID, data func(room string) any) {
	if s.wanted(typ) {
		name := room.Bare().String()
		s.buffer.add(s.postings(typ, name, maxVolatile, data(name)))
	}
}

// RoomCreated implements muc.Watcher.
func (s *Service) RoomCreated(room, by stanza.JID) {
	s.room(RoomCreated, room, func(name string) any { return roomData{name, by.String()} })
}

// RoomDestroyed implements muc.Watcher.
func (s *Service) RoomDestroyed(room stanza.JID, why, reason string) {
	s.room(RoomDestroyed, room, func(name string) any { return roomEndData{name, why, reason} })
}

// RoomJoined implements muc.Watcher.
func (s *Service) RoomJoined(room, user stanza.JID, nick, role, affiliation string) {
	s.room(RoomJoined, room, func(name string) any { return joinedData{name, user.String(), nick, role, affiliation} })
}

// RoomLeft implements muc.Watcher.
func (s *Service) RoomLeft(room, user stanza.JID, nick, why string) {
	s.room(RoomLeft, room, func(name string) any { return leftData{name, user.String(), nick, why} })
}

// RoomMessage implements muc.Watcher. What is in the message is told to those webhooks only that are configured for it.
func (s *Service) RoomMessage(room, user stanza.JID, nick, id string, st *stanza.Stanza) {
	if !s.wanted(RoomMessage) {
		return
	}
	name := room.Bare().String()
	data := roomMessageData{Room: name, Player: user.String(), Nick: nick, ID: id, MessageID: idOf(st)}
	all := s.postingsTo(RoomMessage, name, maxVolatile, data, func(h *Hook) bool { return !h.Bodies })
	if slices.ContainsFunc(*s.hooks.Load(), func(h Hook) bool { return h.Bodies && slices.Contains(h.Events, RoomMessage) }) {
		data.Body, data.Truncated = textOf(st)
		all = append(all, s.postingsTo(RoomMessage, name, maxVolatile, data, func(h *Hook) bool { return h.Bodies })...)
	}
	s.buffer.add(all)
}

// textOf is the text of a message's first body; nil if it has none that can be found.
func textOf(st *stanza.Stanza) (text *string, truncated bool) {
	t, err := findBodies(st)
	if err != nil || len(t.bodies) == 0 {
		return nil, false
	}
	b := t.bodies[0].text
	if len(b) <= maxRoomText {
		return &b, false
	}
	cut := maxRoomText
	for cut > 0 && !utf8.RuneStart(b[cut]) {
		cut--
	}
	b = b[:cut]
	return &b, true
}
