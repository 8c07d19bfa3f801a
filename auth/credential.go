package auth

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"

	"chatd/store"
)

// iterations is how often a new password is hashed. RFC 5802 §5.1 asks for
// 4096 at least, RFC 7677 too. For SCRAM it is the client that pays, a few
// hundred milliseconds on a weak phone; PLAIN costs us some milliseconds of a
// core for each login, so that more would make a storm of them a danger. It is
// one number for both hashes and all accounts: a decoy must announce the same.
const iterations = 10000

const saltSize = 16

// A scramHash is a hash that SCRAM runs on, named by its mechanism.
type scramHash struct {
	name string
	new  func() hash.Hash
}

// scramHashes is what every account has a credential for, best first. SHA-1 is
// what RFC 6120 §13.8 makes mandatory to implement.
var scramHashes = []scramHash{
	{"SCRAM-SHA-256", sha256.New},
	{"SCRAM-SHA-1", sha1.New},
}

func hashByName(name string) scramHash {
	for _, h := range scramHashes {
		if h.name == name {
			return h
		}
	}
	panic("auth: no such hash: " + name)
}

func (h scramHash) sum(b []byte) []byte {
	d := h.new()
	d.Write(b)
	return d.Sum(nil)
}

func (h scramHash) mac(key []byte, text string) []byte {
	d := hmac.New(h.new, key)
	d.Write([]byte(text))
	return d.Sum(nil)
}

// newCredentials makes what is kept of a new password, for each hash.
func (s *Service) newCredentials(ctx context.Context, password string) ([]store.Credential, error) {
	password, err := preparePassword(password)
	if err != nil {
		return nil, err
	}
	creds := make([]store.Credential, 0, len(scramHashes))
	for _, h := range scramHashes {
		salt := make([]byte, saltSize)
		rand.Read(salt)
		c, err := s.derive(ctx, h, password, salt, iterations)
		if err != nil {
			return nil, err
		}
		creds = append(creds, c)
	}
	return creds, nil
}

// derive computes StoredKey and ServerKey of a prepared password (RFC 5802
// §3). It waits for its turn at the CPU.
func (s *Service) derive(ctx context.Context, h scramHash, password string, salt []byte, rounds int) (store.Credential, error) {
	select {
	case s.hashing <- struct{}{}:
		defer func() { <-s.hashing }()
	case <-ctx.Done():
		return store.Credential{}, fmt.Errorf("auth: waiting to hash a password: %w", ctx.Err())
	}
	salted, err := pbkdf2.Key(h.new, password, salt, rounds, h.new().Size())
	if err != nil {
		return store.Credential{}, fmt.Errorf("auth: hashing a password: %w", err)
	}
	return store.Credential{
		Mechanism:  h.name,
		Salt:       salt,
		Iterations: rounds,
		StoredKey:  h.sum(h.mac(salted, "Client Key")),
		ServerKey:  h.mac(salted, "Server Key"),
	}, nil
}

// credential finds a user's credential for one hash, or a decoy with known
// false. It does the same work either way.
func (e *Exchange) credential(ctx context.Context, user string, h scramHash) (c store.Credential, known bool, err error) {
	decoy := e.service.decoy(user, h)
	player, err := e.service.accounts.Player(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return decoy, false, nil
	}
	if err != nil {
		return store.Credential{}, false, fmt.Errorf("auth: reading credentials: %w", err)
	}
	e.disabled = player.Account.Disabled
	for _, c := range player.Account.Credentials {
		if c.Mechanism == h.name {
			return c, true, nil
		}
	}
	return decoy, false, nil
}

// decoy is the credential of a user who does not exist: its salt is the same
// whenever somebody asks, as a real one would be. Its keys fit nothing.
func (s *Service) decoy(user string, h scramHash) store.Credential {
	d := hmac.New(sha256.New, s.secret)
	d.Write([]byte(h.name + "\x00" + user))
	keys := make([]byte, h.new().Size())
	return store.Credential{
		Mechanism:  h.name,
		Salt:       d.Sum(nil)[:saltSize],
		Iterations: iterations,
		StoredKey:  keys,
		ServerKey:  keys,
	}
}
