package muc

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"chatd/stanza"
)

// Settings is a room's configuration (XEP-0045 §10.1.3, §16.5.3). It is immutable, so that rooms that are as the service makes them share one.
type Settings struct {
	Title    string `json:"title,omitempty"`
	About    string `json:"about,omitempty"`
	Language string `json:"language,omitempty"`
	Password string `json:"password,omitempty"` // "": none is needed
	PubSub   string `json:"pubsub,omitempty"`   // XMPP URI of a node that belongs to the room

	Public        bool `json:"public,omitempty"`
	Persistent    bool `json:"persistent,omitempty"`
	Moderated     bool `json:"moderated,omitempty"`
	MembersOnly   bool `json:"members_only,omitempty"`
	NonAnonymous  bool `json:"non_anonymous,omitempty"`
	ChangeSubject bool `json:"change_subject,omitempty"` // participants may
	AllowInvites  bool `json:"allow_invites,omitempty"`  // members may, into a members-only room
	Logged        bool `json:"logged,omitempty"`         // publicly, by somebody
	Registration  bool `json:"registration,omitempty"`   // users may become members by themselves; in members-only rooms an admin has to agree
	LockedNicks   bool `json:"locked_nicks,omitempty"`   // who has reserved a nick has no other
	ShowAbsent    bool `json:"show_absent,omitempty"`    // members who are not in the room are shown by their reserved nicks

	Private    Role    `json:"private"`           // the least that may send private messages; above Moderator: nobody
	Broadcast  roleSet `json:"broadcast"`         // whose presence others see
	MemberList roleSet `json:"member_list"`       // who may read the member list
	Occupants  int     `json:"occupants"`         // at most; 0: as many as the service allows
	History    int     `json:"history,omitempty"` // messages for who enters, at most
	VCard      string  `json:"vcard,omitempty"`   // raw XML (XEP-0486)
	Avatars    string  `json:"avatars,omitempty"` // hashes of the pictures in it, with spaces between
	Hats       *Hats   `json:"hats,omitempty"`
}

// equal reports whether two configurations are the same.
func (c *Settings) equal(o *Settings) bool {
	a, b := *c, *o
	a.Hats, b.Hats = nil, nil
	return a == b && c.Hats.equal(o.Hats)
}

// nobody is above every role.
const nobody = Moderator + 1

// defaults is how a service makes rooms.
func defaults(cfg *Config) *Settings {
	return &Settings{Public: true, Registration: true, Private: Visitor, Broadcast: everyRole, MemberList: everyRole, History: cfg.HistoryMessages}
}

// kept is Settings as the store has them, with the secret of the room's occupant ids.
type kept struct {
	Settings
	Secret []byte `json:"secret"`
}

func (c *Settings) encode(s secret) ([]byte, error) {
	return json.Marshal(kept{*c, s[:]})
}

func decodeSettings(raw []byte) (*Settings, secret, error) {
	var k kept
	if err := json.Unmarshal(raw, &k); err != nil {
		return nil, secret{}, fmt.Errorf("muc: configuration: %w", err)
	}
	if len(k.Secret) != len(secret{}) {
		return nil, secret{}, errors.New("muc: configuration without a secret")
	}
	return &k.Settings, secret(k.Secret), nil
}

// Limits of what an owner may write, in bytes.
const (
	maxTitle    = 256
	maxAbout    = 2048
	maxPassword = 256
	maxLanguage = 64
	maxPubSub   = 1024
)

// acceptable reports what is too long, or below zero. Texts are of characters that XML allows.
func (c *Settings) acceptable() error {
	switch {
	case len(c.Title) > maxTitle:
		return stanza.ErrNotAcceptable.WithText("the title is too long")
	case len(c.About) > maxAbout:
		return stanza.ErrNotAcceptable.WithText("the description is too long")
	case len(c.Language) > maxLanguage:
		return stanza.ErrNotAcceptable.WithText("the language is too long")
	case len(c.Password) > maxPassword:
		return stanza.ErrNotAcceptable.WithText("the password is too long")
	case len(c.PubSub) > maxPubSub, c.PubSub != "" && !strings.HasPrefix(c.PubSub, "xmpp:"):
		return stanza.ErrNotAcceptable.WithText("that is no XMPP URI of a node")
	case c.Occupants < 0, c.History < 0, c.Private < Visitor, c.Private > nobody:
		return stanza.ErrNotAcceptable
	}
	return nil
}

// PrivateMessages is who may send private messages: "anyone", "participants", "moderators" or "none".
func (c *Settings) PrivateMessages() string { return privateOptions[c.Private-Visitor].value }

// SetPrivateMessages changes it, and reports false for another word.
func (c *Settings) SetPrivateMessages(who string) bool {
	i := slices.IndexFunc(privateOptions, func(o option) bool { return o.value == who })
	if i >= 0 {
		c.Private = Visitor + Role(i)
	}
	return i >= 0
}

var rolesOptions = []option{{"moderator", "Moderators"}, {"participant", "Participants"}, {"visitor", "Visitors"}}

var privateOptions = []option{{"anyone", "Anyone"}, {"participants", "Anyone with voice"}, {"moderators", "Moderators"}, {"none", "Nobody"}}

// Fields that are not in the registry of XEP-0045 §16.5.3, named by XEP-0068 §3.4.
const (
	fieldRegistration = "x-muc#roomconfig_registration"
	fieldLockedNicks  = "x-muc#roomconfig_reservednicks"
	fieldShowAbsent   = "x-muc#roomconfig_showunavailable"
)

// form is the configuration form (XEP-0045 §10.1.3, §10.2).
func (c *Settings) form(name string, owners, admins []string) []byte {
	var w formWriter
	w.begin("form", "Configuration of "+name, "", nsRoomConfig)
	w.field("text-single", "muc#roomconfig_roomname", "Name of the room", c.Title)
	w.field("text-single", "muc#roomconfig_roomdesc", "Description", c.About)
	w.field("text-single", "muc#roomconfig_lang", "Language of the discussion", c.Language)
	w.boolean("muc#roomconfig_enablelogging", "The discussion is logged publicly", c.Logged)
	w.boolean("muc#roomconfig_changesubject", "Participants may change the subject", c.ChangeSubject)
	w.boolean("muc#roomconfig_allowinvites", "Members may invite others", c.AllowInvites)
	w.list("list-single", "muc#roomconfig_allowpm", "Who may send private messages", privateOptions, c.PrivateMessages())
	w.list("list-single", "muc#roomconfig_maxusers", "Occupants at most", occupantsOptions(c.Occupants), occupantsValue(c.Occupants))
	w.list("list-multi", "muc#roomconfig_presencebroadcast", "Whose presence is shown to others", rolesOptions, c.Broadcast.Names()...)
	w.list("list-multi", "muc#roomconfig_getmemberlist", "Who may read the list of members", rolesOptions, c.MemberList.Names()...)
	w.boolean("muc#roomconfig_publicroom", "The room can be found", c.Public)
	w.boolean("muc#roomconfig_persistentroom", "The room stays when it is empty", c.Persistent)
	w.boolean("muc#roomconfig_moderatedroom", "The room is moderated", c.Moderated)
	w.boolean("muc#roomconfig_membersonly", "Only members may enter", c.MembersOnly)
	w.boolean("muc#roomconfig_passwordprotectedroom", "A password is needed", c.Password != "")
	w.field("text-private", "muc#roomconfig_roomsecret", "Password", c.Password)
	w.list("list-single", "muc#roomconfig_whois", "Who sees occupants' real addresses", []option{{"moderators", "Moderators"}, {"anyone", "Anyone"}}, c.whois())
	w.number("muc#maxhistoryfetch", "Messages of history for who enters", c.History)
	w.field("text-single", "muc#roomconfig_pubsub", "Associated node, an XMPP URI", c.PubSub)
	w.boolean(fieldRegistration, "Users may register as members", c.Registration)
	w.boolean(fieldLockedNicks, "Members have the nick that they have registered", c.LockedNicks)
	w.boolean(fieldShowAbsent, "Members who are not in the room are shown by the nick that they have registered", c.ShowAbsent)
	w.field("jid-multi", "muc#roomconfig_roomadmins", "Admins", admins...)
	w.field("jid-multi", "muc#roomconfig_roomowners", "Owners", owners...)
	return w.end()
}

func (c *Settings) whois() string {
	if c.NonAnonymous {
		return "anyone"
	}
	return "moderators"
}

func occupantsValue(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n)
}

func occupantsOptions(now int) (all []option) {
	numbers := []int{10, 20, 50, 100, 500, 1000}
	if now > 0 && !slices.Contains(numbers, now) {
		numbers = append(numbers, now)
		slices.Sort(numbers)
	}
	for _, n := range numbers {
		all = append(all, option{strconv.Itoa(n), strconv.Itoa(n)})
	}
	return append(all, option{"none", "No limit"})
}

// submitted is the Settings with what an owner has submitted (XEP-0045 §10.1.3). What the form leaves out stays as it is. The error is
// for the owner.
func (c *Settings) submitted(f *form) (*Settings, error) {
	n := *c
	texts := []struct {
		name string
		to   *string
		max  int
	}{
		{"muc#roomconfig_roomname", &n.Title, maxTitle}, {"muc#roomconfig_roomdesc", &n.About, maxAbout},
		{"muc#roomconfig_lang", &n.Language, maxLanguage}, {"muc#roomconfig_roomsecret", &n.Password, maxPassword},
		{"muc#roomconfig_pubsub", &n.PubSub, maxPubSub},
	}
	for _, t := range texts {
		if v, ok := f.value(t.name); ok {
			if len(v) > t.max || !utf8.ValidString(v) {
				return nil, notAcceptable(t.name)
			}
			*t.to = v
		}
	}
	protected := n.Password != ""
	flags := []struct {
		name string
		to   *bool
	}{
		{"muc#roomconfig_enablelogging", &n.Logged}, {"muc#roomconfig_changesubject", &n.ChangeSubject},
		{"muc#roomconfig_allowinvites", &n.AllowInvites}, {"muc#roomconfig_publicroom", &n.Public},
		{"muc#roomconfig_persistentroom", &n.Persistent}, {"muc#roomconfig_moderatedroom", &n.Moderated},
		{"muc#roomconfig_membersonly", &n.MembersOnly}, {"muc#roomconfig_passwordprotectedroom", &protected},
		{fieldRegistration, &n.Registration}, {fieldLockedNicks, &n.LockedNicks}, {fieldShowAbsent, &n.ShowAbsent},
	}
	for _, b := range flags {
		if v, ok := f.value(b.name); ok {
			if *b.to, ok = parseBoolean(v); !ok {
				return nil, notAcceptable(b.name)
			}
		}
	}
	switch {
	case !protected:
		n.Password = ""
	case n.Password == "":
		return nil, notAcceptable("muc#roomconfig_roomsecret") // XEP-0045 §10.1.3
	}
	if err := n.choices(f); err != nil {
		return nil, err
	}
	if n.PubSub != "" && !strings.HasPrefix(n.PubSub, "xmpp:") {
		return nil, notAcceptable("muc#roomconfig_pubsub")
	}
	return &n, nil
}

// choices reads the fields that are neither text nor yes or no.
func (c *Settings) choices(f *form) error {
	if v, ok := f.value("muc#roomconfig_whois"); ok {
		if v != "anyone" && v != "moderators" {
			return notAcceptable("muc#roomconfig_whois")
		}
		c.NonAnonymous = v == "anyone"
	}
	if v, ok := f.value("muc#roomconfig_allowpm"); ok {
		if !c.SetPrivateMessages(v) {
			return notAcceptable("muc#roomconfig_allowpm")
		}
	}
	for name, set := range map[string]*roleSet{"muc#roomconfig_presencebroadcast": &c.Broadcast, "muc#roomconfig_getmemberlist": &c.MemberList} {
		values, ok := f.values(name)
		if !ok {
			continue
		}
		*set = 0
		for _, v := range values {
			r, ok := ParseRole(strings.TrimSuffix(v, "s"))
			if !ok || r == NoRole {
				return notAcceptable(name)
			}
			*set |= 1 << r
		}
	}
	if v, ok := f.value("muc#roomconfig_maxusers"); ok {
		n, err := strconv.Atoi(v)
		if v != "none" && v != "" && (err != nil || n < 1) {
			return notAcceptable("muc#roomconfig_maxusers")
		}
		c.Occupants = n
	}
	if v, ok := f.value("muc#maxhistoryfetch"); ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return notAcceptable("muc#maxhistoryfetch")
		}
		c.History = n
	}
	return nil
}

// notAcceptable is XEP-0045 §10.1.3 for a field that cannot be as it was submitted.
func notAcceptable(field string) *stanza.Error {
	return stanza.ErrNotAcceptable.WithText(field + " cannot be that")
}
