package api

import (
	"net/http"
	"time"

	"chatd/muc"
)

// A Room is a room's configuration (XEP-0045 §10.2), and what there is of it now.
type Room struct {
	RoomRef
	Title           string   `json:"title" doc:"empty: none"`
	About           string   `json:"about" doc:"a description"`
	Language        string   `json:"language" example:"en"`
	Password        string   `json:"password" doc:"empty: none is needed"`
	PubSub          string   `json:"pubsub" doc:"XMPP URI of a node that belongs to the room; empty: none"`
	Public          bool     `json:"public" doc:"users can find it"`
	Persistent      bool     `json:"persistent" doc:"stays when it is empty, and is in the store with its history"`
	MembersOnly     bool     `json:"members_only"`
	Moderated       bool     `json:"moderated" doc:"who has just entered and is no member may not speak"`
	NonAnonymous    bool     `json:"non_anonymous" doc:"everybody sees the addresses, not only moderators"`
	ChangeSubject   bool     `json:"change_subject" doc:"participants may change the subject"`
	AllowInvites    bool     `json:"allow_invites" doc:"members may invite others into a room for members only"`
	Logged          bool     `json:"logged" doc:"users are told that what is said is logged publicly"`
	Registration    bool     `json:"registration" doc:"users may become members by themselves; in a room for members only an admin has to agree"`
	LockedNicks     bool     `json:"locked_nicks" doc:"who has a nick reserved has no other"`
	ShowAbsent      bool     `json:"show_absent" doc:"members who are not in the room are shown by the nicks that they have reserved"`
	PrivateMessages string   `json:"private_messages" enum:"anyone,participants,moderators,none" doc:"who may send other occupants private messages"`
	PresenceOf      []string `json:"presence_of" nullable:"false" enum:"moderator,participant,visitor" doc:"roles whose presence others see: without visitor, a crowd may watch"`
	MembersFor      []string `json:"members_for" nullable:"false" enum:"moderator,participant,visitor" doc:"roles that may read the list of members"`
	MaxOccupants    int      `json:"max_occupants" doc:"0: as many as the server allows"`
	History         int      `json:"history" doc:"messages for who enters, at most"`

	Subject   string    `json:"subject" doc:"empty: none"`
	Created   time.Time `json:"created" doc:"UTC, whole seconds"`
	Occupants int       `json:"occupants" minimum:"0" doc:"who are in it now"`
}

// RoomChanges are changes of a configuration. What is left out stays as it is.
type RoomChanges struct {
	Title           *string   `json:"title,omitempty" maxLength:"256" doc:"at most 256 bytes; empty: none"`
	About           *string   `json:"about,omitempty" maxLength:"2048" doc:"a description, at most 2,048 bytes"`
	Language        *string   `json:"language,omitempty" maxLength:"64" example:"en"`
	Password        *string   `json:"password,omitempty" maxLength:"256" doc:"at most 256 bytes; empty: none is needed"`
	PubSub          *string   `json:"pubsub,omitempty" maxLength:"1024" pattern:"^(xmpp:.*)?$" doc:"XMPP URI of a node that belongs to the room; empty: none" example:"xmpp:pubsub.chat.test?;node=lobby"`
	Public          *bool     `json:"public,omitempty" doc:"users can find it"`
	Persistent      *bool     `json:"persistent,omitempty" doc:"stays when it is empty, and is in the store with its history"`
	MembersOnly     *bool     `json:"members_only,omitempty"`
	Moderated       *bool     `json:"moderated,omitempty" doc:"who has just entered and is no member may not speak"`
	NonAnonymous    *bool     `json:"non_anonymous,omitempty" doc:"everybody sees the addresses, not only moderators"`
	ChangeSubject   *bool     `json:"change_subject,omitempty" doc:"participants may change the subject"`
	AllowInvites    *bool     `json:"allow_invites,omitempty" doc:"members may invite others into a room for members only"`
	Logged          *bool     `json:"logged,omitempty" doc:"users are told that what is said is logged publicly"`
	Registration    *bool     `json:"registration,omitempty" doc:"users may become members by themselves; in a room for members only an admin has to agree"`
	LockedNicks     *bool     `json:"locked_nicks,omitempty" doc:"who has a nick reserved has no other"`
	ShowAbsent      *bool     `json:"show_absent,omitempty" doc:"members who are not in the room are shown by the nicks that they have reserved"`
	PrivateMessages *string   `json:"private_messages,omitempty" enum:"anyone,participants,moderators,none" doc:"who may send other occupants private messages"`
	PresenceOf      *[]string `json:"presence_of,omitempty" maxItems:"3" enum:"moderator,participant,visitor" doc:"roles whose presence others see: without visitor, a crowd may watch"`
	MembersFor      *[]string `json:"members_for,omitempty" maxItems:"3" enum:"moderator,participant,visitor" doc:"roles that may read the list of members"`
	MaxOccupants    *int      `json:"max_occupants,omitempty" minimum:"0" maximum:"1000000" doc:"0: as many as the server allows"`
	History         *int      `json:"history,omitempty" minimum:"0" maximum:"1000000" doc:"messages for who enters, at most"`
}

// roomOf is a room as it is answered.
func (s *Server) roomOf(name string, c *muc.Description) Room {
	return Room{
		RoomRef: s.roomRef(name), Title: c.Title, About: c.About, Language: c.Language, Password: c.Password, Public: c.Public, Persistent: c.Persistent,
		MembersOnly: c.MembersOnly, Moderated: c.Moderated, NonAnonymous: c.NonAnonymous, ChangeSubject: c.ChangeSubject, AllowInvites: c.AllowInvites,
		Logged: c.Logged, Registration: c.Registration, LockedNicks: c.LockedNicks, ShowAbsent: c.ShowAbsent, PubSub: c.PubSub, PrivateMessages: c.PrivateMessages(),
		PresenceOf: append([]string{}, c.Broadcast.Names()...), MembersFor: append([]string{}, c.MemberList.Names()...),
		MaxOccupants: c.Settings.Occupants, History: c.History, Subject: c.Subject, Created: c.Created, Occupants: c.Occupants,
	}
}

// apply makes the changes in c. The error, which does not depend on what is there, is for the caller.
func (r *RoomChanges) apply(c *muc.Settings) error {
	for _, t := range []struct{ from, to *string }{{r.Title, &c.Title}, {r.About, &c.About}, {r.Language, &c.Language}, {r.Password, &c.Password}, {r.PubSub, &c.PubSub}} {
		if t.from == nil {
			continue
		}
		if !allowedText(*t.from) {
			return errBadText
		}
		*t.to = *t.from
	}
	for _, b := range []struct{ from, to *bool }{
		{r.Public, &c.Public}, {r.Persistent, &c.Persistent}, {r.MembersOnly, &c.MembersOnly}, {r.Moderated, &c.Moderated},
		{r.NonAnonymous, &c.NonAnonymous}, {r.ChangeSubject, &c.ChangeSubject}, {r.AllowInvites, &c.AllowInvites},
		{r.Logged, &c.Logged}, {r.Registration, &c.Registration}, {r.LockedNicks, &c.LockedNicks}, {r.ShowAbsent, &c.ShowAbsent},
	} {
		if b.from != nil {
			*b.to = *b.from
		}
	}
	ok := true
	if r.PrivateMessages != nil {
		ok = c.SetPrivateMessages(*r.PrivateMessages)
	}
	if r.PresenceOf != nil && ok {
		c.Broadcast, ok = muc.RolesOf(*r.PresenceOf)
	}
	if r.MembersFor != nil && ok {
		c.MemberList, ok = muc.RolesOf(*r.MembersFor)
	}
	if !ok {
		return failure(http.StatusUnprocessableEntity, "there is no such role")
	}
	if r.MaxOccupants != nil {
		c.Occupants = *r.MaxOccupants
	}
	if r.History != nil {
		c.History = *r.History
	}
	return nil
}
