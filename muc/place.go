package muc

import (
	"context"

	"chatd/stanza"
)

// A Place knows where rooms are: each has one home. A cluster provides it; without one every room is here.
type Place interface {
	// Here reports whether this node is the room's home, by the name of the room.
	Here(room string) bool
	// Forward gives st to the home of the room that it is for. false means that there is none that can be reached.
	Forward(ctx context.Context, st *stanza.Stanza) bool
}
