package main

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
)

// SASL mechanisms, strongest first, and what they hash with.
var mechanisms = []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"}

var hashes = map[string]func() hash.Hash{"SCRAM-SHA-256": sha256.New, "SCRAM-SHA-1": sha1.New}

// maxIterations bounds what a server can make a client compute.
const maxIterations = 1 << 20

// saltedKeys keeps the keys of a password, which cost thousands of hashes, for each salt
// and count of iterations, as a client that cares about its battery does (RFC 5802).
type saltedKeys struct {
	mu   sync.Mutex
	keys map[saltedBy]scramKeys
}

type saltedBy struct {
	mechanism, password, salt string
	iterations                int
}

type scramKeys struct{ client, server []byte }

func (s *saltedKeys) get(by saltedBy) (scramKeys, error) {
	s.mu.Lock()
	k, ok := s.keys[by]
	s.mu.Unlock()
	if ok {
		return k, nil
	}
	h := hashes[by.mechanism]
	salted, err := pbkdf2.Key(h, by.password, []byte(by.salt), by.iterations, h().Size())
	if err != nil {
		return k, err
	}
	k = scramKeys{hmacOf(h, salted, "Client Key"), hmacOf(h, salted, "Server Key")}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = make(map[saltedBy]scramKeys)
	}
	s.keys[by] = k
	return k, nil
}

func hmacOf(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// A scram is the client's side of one exchange (RFC 5802 §3), without channel binding.
type scram struct {
	mechanism, password string
	cache               *saltedKeys
	firstBare           string
	nonce               string
	signature           []byte // the server's, expected
}

func newScram(mechanism, user, password string, cache *saltedKeys) *scram {
	nonce := rand.Text()
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user)
	return &scram{mechanism: mechanism, password: password, cache: cache, nonce: nonce,
		firstBare: "n=" + name + ",r=" + nonce}
}

func (s *scram) first() string { return "n,," + s.firstBare }

// final answers the server's first message.
func (s *scram) final(serverFirst string) (string, error) {
	var nonce, salt string
	var iterations int
	for part := range strings.SplitSeq(serverFirst, ",") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "r":
			nonce = value
		case "s":
			b, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return "", fmt.Errorf("salt: %w", err)
			}
			salt = string(b)
		case "i":
			iterations, _ = strconv.Atoi(value)
		}
	}
	if !strings.HasPrefix(nonce, s.nonce) || salt == "" || iterations < 1 || iterations > maxIterations {
		return "", errors.New("the server's challenge is not SCRAM")
	}
	keys, err := s.cache.get(saltedBy{s.mechanism, s.password, salt, iterations})
	if err != nil {
		return "", err
	}
	h := hashes[s.mechanism]
	withoutProof := "c=biws,r=" + nonce
	authMessage := s.firstBare + "," + serverFirst + "," + withoutProof
	stored := h()
	stored.Write(keys.client)
	proof := hmacOf(h, stored.Sum(nil), authMessage)
	subtle.XORBytes(proof, proof, keys.client)
	s.signature = hmacOf(h, keys.server, authMessage)
	return withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// verify checks that the server knows the password, too.
func (s *scram) verify(serverFinal string) error {
	value, ok := strings.CutPrefix(serverFinal, "v=")
	got, err := base64.StdEncoding.DecodeString(value)
	if !ok || err != nil || !hmac.Equal(got, s.signature) {
		return errors.New("the server's SCRAM signature is wrong")
	}
	return nil
}
