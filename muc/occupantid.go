package muc

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"chatd/stanza"
)

// A secret makes a room's occupant ids its own.
type secret [16]byte

func newSecret() (s secret) {
	rand.Read(s[:])
	return s
}

// An occupantID is what an occupant is known by in one room, whatever its nick (XEP-0421 §4.1).
type occupantID [22]byte

// identify is the id of a user in a room.
func (s *secret) identify(user stanza.JID) (id occupantID) {
	sum := s.sum(user.Bare().String())
	base64.RawURLEncoding.Encode(id[:], sum[:16])
	return id
}

func (s *secret) sum(text string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, s[:])
	mac.Write([]byte(text))
	return [sha256.Size]byte(mac.Sum(nil))
}

// append writes the element of XEP-0421 §3.
func (id occupantID) append(b []byte) []byte {
	b = append(b, "<occupant-id xmlns='"+nsOccupantID+"' id='"...)
	b = append(b, id[:]...)
	return append(b, "'/>"...)
}
