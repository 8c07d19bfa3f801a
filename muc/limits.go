package muc

import (
	"sync"
	"time"

	"chatd/stanza"
)

// A Config is what an operator sets. In numbers 0 is unlimited unless said otherwise.
type Config struct {
	Create     string // who may create rooms: "anyone" or "services"
	Persistent string // who may make rooms that stay: "anyone" or "services"
	Rooms      int    // in memory at once
	Occupants  int    // of one room; a room's own limit may be lower
	Affiliates int    // of one room

	CreationsPerMinute int // of rooms, by one user
	JoinsPerMinute     int // by one user
	NicksPerMinute     int // changes, by one occupant

	RoomJoinsPerSecond float64 // of all users into one room
	RoomJoinBurst      int

	MessagesPerSecond     float64 // of one occupant, with its changes of presence
	MessageBurst          int
	RoomMessagesPerSecond float64 // of all occupants of one room
	RoomMessageBurst      int
	MessageBytes          int // of one message
	PresenceBytes         int // of one presence

	HistoryMessages int // kept in memory for those who enter, of each room; 0: none
	HistoryBytes    int // likewise
	HistoryStored   int // messages in the store, of a persistent room
}

// Who may do something.
const (
	Anyone   = "anyone"
	Services = "services"
)

// DefaultConfig is what a service has that is told nothing else.
func DefaultConfig() Config {
	return Config{
		Create: Anyone, Persistent: Anyone, Rooms: 1_000_000, Occupants: 2000, Affiliates: 10_000,
		CreationsPerMinute: 60, JoinsPerMinute: 300, NicksPerMinute: 10,
		RoomJoinsPerSecond: 100, RoomJoinBurst: 2000,
		MessagesPerSecond: 10, MessageBurst: 50, RoomMessagesPerSecond: 200, RoomMessageBurst: 1000,
		MessageBytes: 65536, PresenceBytes: 4096,
		HistoryMessages: 50, HistoryBytes: 65536, HistoryStored: 1000,
	}
}

// lettersPerMinute is how many messages to users who are not in the room one user may cause: invitations and their refusals, notices of affiliations,
// requests to admins.
const lettersPerMinute = 120

// A bucket is a token bucket. It starts full.
type bucket struct {
	at    int64   // when it was looked at, nanoseconds since 1970; 0: never
	spent float32 // tokens that are missing
}

// take takes a token, of which there come rate in a second up to burst, and reports whether there was one. A rate of 0 is unlimited.
func (k *bucket) take(now time.Time, rate float64, burst int) bool {
	if rate <= 0 {
		return true
	}
	t := now.UnixNano()
	if k.at != 0 {
		k.spent = max(0, k.spent-float32(float64(t-k.at)/1e9*rate))
	}
	k.at = t
	if k.spent+1 > float32(max(burst, 1)) {
		return false
	}
	k.spent++
	return true
}

// rationed bounds for how many users a ration remembers what they have used.
const rationed = 1 << 16

// A ration limits what each user does in a minute.
type ration struct {
	mu    sync.Mutex
	users map[stanza.JID]*bucket // by bare JID
}

// take takes one of a user's perMinute.
func (r *ration) take(user stanza.JID, now time.Time, perMinute int) bool {
	if perMinute <= 0 {
		return true
	}
	user = user.Bare()
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.users[user]
	if k == nil {
		if len(r.users) >= rationed {
			r.forget(now)
		}
		if r.users == nil {
			r.users = make(map[stanza.JID]*bucket)
		}
		k = new(bucket)
		r.users[user] = k
	}
	return k.take(now, float64(perMinute)/60, perMinute)
}

// forget drops who has done nothing for a minute, so has a full bucket, and if that are few, everyone: too much is allowed rather than too much kept.
func (r *ration) forget(now time.Time) {
	for user, k := range r.users {
		if now.UnixNano()-k.at > int64(time.Minute) {
			delete(r.users, user)
		}
	}
	if len(r.users) > rationed/2 {
		clear(r.users)
	}
}

// What limits refuse.
var (
	errTooFast  = &stanza.Error{Type: "wait", Condition: "policy-violation"}
	errTooLarge = stanza.ErrPolicyViolation.WithText("larger than allowed here")
)
