package store

import "context"

// A Player is what a login needs of a user, so that it can be had in one round trip to the database.
type Player struct {
	Account Account
	Blocked []string // as Blocklists has it
	Privacy Privacy
	Roster  Roster
	VCard   []byte // nil: none
	Waiting int    // messages that wait, as CountOffline
}

// Players reads what a login needs at once.
type Players interface {
	// Player returns ErrNotFound for an unknown user. A backend that keeps the parts in several values
	// reads them at the same time; each is then as it was at some moment of the call.
	Player(ctx context.Context, user string) (Player, error)
}
