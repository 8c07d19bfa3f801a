package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"strconv"

	"chatd/store"
)

// plusSuffix marks the mechanisms with channel binding (RFC 5802 §4).
const plusSuffix = "-PLUS"

// nonceSize is the random bytes in our half of the nonce.
const nonceSize = 18

// scram is the server's side of one SCRAM exchange (RFC 5802). It verifies
// from StoredKey and ServerKey alone.
type scram struct {
	*Exchange
	hash scramHash
	plus bool

	// What clientFinal needs to remember of clientFirst.
	claimed     string // normalized localpart, not proven yet
	kept        store.Credential
	known       bool
	binding     string // what c= must be
	nonce       string // what r= must be
	firstBare   string
	serverFirst string
}

// clientFirst reads the user name and the client's nonce and answers with
// salt, iterations and the whole nonce (RFC 5802 §5).
func (x *scram) clientFirst(ctx context.Context, response []byte) ([]byte, bool, error) {
	m, failure := parseClientFirst(string(response))
	if failure != nil {
		return nil, false, failure
	}
	bound, failure := x.bind(m)
	if failure != nil {
		return nil, false, failure
	}
	user, err := x.service.localpart(m.user)
	if err != nil {
		return nil, false, errNotAuthorized // no such name: nothing to hide
	}
	if !x.service.mayActAs(m.authzid, user) {
		return nil, false, errInvalidAuthzid
	}
	x.kept, x.known, err = x.credential(ctx, user, x.hash)
	if err != nil {
		return nil, false, err
	}
	x.claimed = user
	x.binding = base64.StdEncoding.EncodeToString(append([]byte(m.gs2Header), bound...))
	x.nonce = m.nonce + newNonce()
	x.firstBare = m.bare
	x.serverFirst = "r=" + x.nonce + ",s=" + base64.StdEncoding.EncodeToString(x.kept.Salt) +
		",i=" + strconv.Itoa(x.kept.Iterations)
	x.next = x.clientFinal
	return []byte(x.serverFirst), false, nil
}

// bind applies RFC 5802 §6: the mechanism, the client's flag and the channel
// must fit. It returns the binding data that the client must prove to have seen.
func (x *scram) bind(m clientFirst) ([]byte, *Failure) {
	switch {
	case m.bindType != "" && !x.plus, m.bindType == "" && x.plus:
		return nil, malformed("channel binding flag and mechanism differ")
	case m.bindType != "":
		data := x.service.bindingData(x.channel, m.bindType)
		if data == nil {
			return nil, malformed("channel binding type not supported")
		}
		return data, nil
	case m.bindIfOffered && len(x.service.ChannelBindings(x.channel)) > 0:
		// The client did not see the -PLUS that we offered: somebody between
		// us took it away.
		return nil, &Failure{Condition: "malformed-request", Text: "this server does support channel binding"}
	}
	return nil, nil
}

// clientFinal verifies the client's proof and answers with the server's (RFC
// 5802 §3). Every mismatch is the same failure.
func (x *scram) clientFinal(_ context.Context, response []byte) ([]byte, bool, error) {
	m, failure := parseClientFinal(string(response))
	if failure != nil {
		return nil, false, failure
	}
	authMessage := x.firstBare + "," + x.serverFirst + "," + m.withoutProof
	clientKey := x.hash.mac(x.kept.StoredKey, authMessage) // so far the ClientSignature
	if len(m.proof) != len(clientKey) {
		return nil, false, malformed("proof of a wrong length")
	}
	subtle.XORBytes(clientKey, clientKey, m.proof)
	match := subtle.ConstantTimeCompare(x.hash.sum(clientKey), x.kept.StoredKey) &
		subtle.ConstantTimeCompare([]byte(m.binding), []byte(x.binding)) &
		subtle.ConstantTimeCompare([]byte(m.nonce), []byte(x.nonce))
	signature := x.hash.mac(x.kept.ServerKey, authMessage)
	if match != 1 || !x.known {
		return nil, false, errNotAuthorized
	}
	x.user, x.storedKey = x.claimed, x.kept.StoredKey
	return []byte("v=" + base64.StdEncoding.EncodeToString(signature)), true, nil
}

func newNonce() string {
	b := make([]byte, nonceSize)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}
