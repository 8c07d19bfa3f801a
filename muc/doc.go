// Package muc is Multi-User Chat (XEP-0045): rooms at a domain of their own, to which the router hands all that
// is for them.
//
// A room is a value in memory under two locks. mu guards all of it and is held for as long as it takes to look and to
// queue what is to be sent, which waits for nobody: so everyone sees the same order of events. admin is held for as long as a
// change of what is kept is being stored (change.go); it is taken first, and never while mu is held.
//
// Persistent rooms are in the store, with their configuration, subject, affiliations and history, and in memory only
// while somebody is in them. What a message costs the store is paid by a goroutine of the room's that lives while
// there is something to write (archive.go). Temporary rooms are nowhere but in memory.
//
// A stanza to all occupants is encoded once (broadcast.go); only the address is written anew for each.
//
// An occupant's session says that it is gone, since entering a room is directed presence (RFC 6121 §4.6.3). A stanza of type
// error from an occupant, or in its name, removes it as well (bounce.go), and so does a session that is nowhere to be found when something is sent to it.
package muc

// Namespaces.
const (
	NS           = "http://jabber.org/protocol/muc"
	nsUser       = "http://jabber.org/protocol/muc#user"
	nsAdmin      = "http://jabber.org/protocol/muc#admin"
	nsOwner      = "http://jabber.org/protocol/muc#owner"
	nsRequest    = "http://jabber.org/protocol/muc#request"
	nsRoomConfig = "http://jabber.org/protocol/muc#roomconfig"
	nsRoomInfo   = "http://jabber.org/protocol/muc#roominfo"
	nsRegForm    = "http://jabber.org/protocol/muc#register"
	nsTraffic    = "http://jabber.org/protocol/muc#traffic"
	nsStableID   = "http://jabber.org/protocol/muc#stable_id"
	nsSelfPing   = "http://jabber.org/protocol/muc#self-ping-optimization"
	nsRegister   = "jabber:iq:register"
	nsForms      = "jabber:x:data"
	nsConference = "jabber:x:conference"
	nsDiscoInfo  = "http://jabber.org/protocol/disco#info"
	nsDiscoItems = "http://jabber.org/protocol/disco#items"
	nsRSM        = "http://jabber.org/protocol/rsm"
	nsDelay      = "urn:xmpp:delay"
	nsPing       = "urn:xmpp:ping"
	nsVCard      = "vcard-temp"
	nsOccupantID = "urn:xmpp:occupant-id:0"
	nsRetract    = "urn:xmpp:message-retract:1"
	nsModerate   = "urn:xmpp:message-moderate:1"
	nsHats       = "urn:xmpp:hats:0"
)
