// Package xep holds the small protocol extensions, one file each. Every one of
// them has a constructor that takes what it depends on and registers its
// handlers on the router, and a Features method for service discovery; main
// calls them one after the other. What an extension needs of the friends list
// it declares here and main brings.
package xep

import (
	"context"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// storeTimeout bounds how long something that no request bounds may wait for
// the store.
const storeTimeout = 15 * time.Second

// Friends knows who sees whose presence. roster provides it.
type Friends interface {
	// SeesPresence reports whether viewer has a subscription to owner's
	// presence (RFC 6121 §3). Either may be bare or full. It may block on the
	// store.
	SeesPresence(ctx context.Context, owner, viewer stanza.JID) (bool, error)
}

// get refuses requests of type set to a handler that only reads.
func get(h router.IQHandler) router.IQHandler { return only(stanza.Get, h) }

// set refuses requests of type get to a handler that only acts.
func set(h router.IQHandler) router.IQHandler { return only(stanza.Set, h) }

func only(t stanza.Type, h router.IQHandler) router.IQHandler {
	return func(ctx context.Context, req *router.Request) ([]byte, error) {
		if req.Type != t {
			return nil, stanza.ErrNotAllowed
		}
		return h(ctx, req)
	}
}
