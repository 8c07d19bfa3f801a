package muc

import "chatd/stanza"

// A Watcher is told what happens in the rooms that are here, in order for each room. Its methods run under a room's lock: they wait for
// nobody, and keep nothing of a stanza. Users are bare JIDs; one that is zero is a service.
type Watcher interface {
	RoomCreated(room, by stanza.JID)
	// RoomDestroyed: why is LeftEmpty or Destroyed. That those who were in the room have left it is not told besides.
	RoomDestroyed(room stanza.JID, why, reason string)
	// RoomJoined is for a user's first session under a nick.
	RoomJoined(room, user stanza.JID, nick, role, affiliation string)
	// RoomLeft is for the last one. nick is the present one; why is one of the constants.
	RoomLeft(room, user stanza.JID, nick, why string)
	// RoomMessage is for each message to all that is kept for who enters. Its stanza-id (XEP-0359) is id.
	RoomMessage(room, user stanza.JID, nick, id string, st *stanza.Stanza)
}

// Why somebody is not in a room any more, or a room is not.
const (
	Left        = "left"        // by itself, or its session ended
	Kicked      = "kicked"      // XEP-0045 §8.2
	Banned      = "banned"      // XEP-0045 §9.1
	NotMember   = "not-member"  // the room is for members only, and the user is none (XEP-0045 §9.4)
	Unreachable = "unreachable" // what was sent could not be delivered

	LeftEmpty = "empty" // a temporary room that nobody is in
	Destroyed = "destroyed"
)

// why is what a presence that says that an occupant is gone says of the reason.
func (n *notice) why() string {
	for _, code := range n.codes {
		switch code {
		case 301:
			return Banned
		case 307:
			return Kicked
		case 321, 322:
			return NotMember
		case 333:
			return Unreachable
		}
	}
	return Left
}

func (s *Service) tellLeft(r *room, o *occupant, n *notice) {
	if s.Watcher != nil {
		s.Watcher.RoomLeft(r.at, o.user(), o.nick(), n.why())
	}
}

func (s *Service) tellDestroyed(r *room, why, reason string) {
	if s.Watcher != nil {
		s.Watcher.RoomDestroyed(r.at, why, reason)
	}
}
