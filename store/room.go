package store

import (
	"context"
	"time"
)

// A Room is what is kept of a persistent room (XEP-0045) but for its affiliations and history.
type Room struct {
	Name    string    // localpart of its address, normalized; the key
	Config  []byte    // its configuration, as package muc writes it
	Subject []byte    // the whole <message/> that set the subject, raw XML; nil: never set
	Created time.Time // UTC, whole seconds
}

// An Affiliation is what one user is to one room (XEP-0045 §5.2).
type Affiliation struct {
	JID    string // bare, or a domain; normalized; the key
	As     string // "owner", "admin", "member", "outcast"; "none" is not kept
	Nick   string // reserved by registration (XEP-0045 §7.10); "" for none
	Reason string // why, as the one who set it says
}

// A HistoryMessage is one message of a room's history.
type HistoryMessage struct {
	Seq    int64     // orders the messages of one room; given by the store, grows, never reused
	ID     string    // the stanza-id that the room gave it (XEP-0359 §3.2), unique in the room
	Stored time.Time // UTC, milliseconds
	Stanza []byte    // the whole <message/>, raw XML, from the occupant's address in the room
}

// Rooms keeps persistent rooms.
type Rooms interface {
	// Room returns ErrNotFound for a room that is not kept.
	Room(ctx context.Context, name string) (Room, error)
	// CreateRoom returns ErrExists if the room is kept already. It starts with these affiliations and without history. The
	// last of several for one JID counts, here and in SetAffiliations.
	CreateRoom(ctx context.Context, r Room, affiliations []Affiliation) error
	// UpdateRoom is a read-modify-write: update changes the room in place, all but its name. It runs on any
	// goroutine, perhaps more than once, must have no side effects, and must not use the store. When it returns an error
	// nothing is changed and that error comes back as it is. ErrNotFound for a room that is not kept.
	UpdateRoom(ctx context.Context, name string, update func(*Room) error) error
	// DeleteRoom removes the room, its affiliations and its history; ErrNotFound for a room that is not kept.
	DeleteRoom(ctx context.Context, name string) error
	// ListRooms returns up to limit names after the given one, in byte order; none if limit is not positive.
	ListRooms(ctx context.Context, after string, limit int) ([]string, error)
	// ListRoomsBefore returns the last up to limit names before the given one ("": of all), in byte order; none if limit is not positive.
	ListRoomsBefore(ctx context.Context, before string, limit int) ([]string, error)
	// Affiliations is all of a room's, in byte order of the JIDs; a room that is not kept has none.
	Affiliations(ctx context.Context, room string) ([]Affiliation, error)
	// SetAffiliations replaces those of the JIDs that are given and leaves the others; "none" removes one.
	// ErrNotFound for a room that is not kept.
	SetAffiliations(ctx context.Context, room string, affiliations []Affiliation) error
	// AppendHistory keeps a message behind all that are there and drops the oldest ones over max (0 = unlimited). A message
	// whose ID is there already changes nothing, and its number is returned. ErrNotFound for a room that is not kept.
	AppendHistory(ctx context.Context, room string, m HistoryMessage, max int) (seq int64, err error)
	// HistoryPage returns the newest messages with Seq less than before (0: of all), up to limit, the oldest of them
	// first; none if limit is not positive.
	HistoryPage(ctx context.Context, room string, before int64, limit int) ([]HistoryMessage, error)
	// HistoryMessage returns the message with this ID; ErrNotFound if it is not there.
	HistoryMessage(ctx context.Context, room, id string) (HistoryMessage, error)
	// ReplaceHistory gives the message with this ID another stanza, say after it was retracted; ErrNotFound if it is not there.
	ReplaceHistory(ctx context.Context, room, id string, stanza []byte) error
}
