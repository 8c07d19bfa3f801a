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

// KeySize is the length of the keys of a SCRAM mechanism in bytes; 0 for one that no account has a credential for.
func KeySize(mechanism string) int {
	for _, h := range scramHashes {
		if h.name == mechanism {
			return h.new().Size()
		}
	}
	return 0
}

// NewCredentials makes what is kept of a password, for each hash. It keeps a core busy for some milliseconds. The error is
// ErrBadPassword.
func NewCredentials(password string) ([]store.Credential, error) {
	password, err := preparePassword(password)
	if err != nil {
		return nil, err
	}
	creds := make([]store.Credential, 0, len(scramHashes))
	for _, h := range scramHashes {
		salt := make([]byte, saltSize)
		rand.Read(salt)
		c, err := compute(h, password, salt, iterations)
		if err != nil {
			return nil, err
		}
		creds = append(creds, c)
	}
	return creds, nil
}

// newCredentials is NewCredentials when it is its turn at the CPU.
func (s *Service) newCredentials(ctx context.Context, password string) (creds []store.Credential, err error) {
	if _, err := preparePassword(password); err != nil {
		return nil, err
	}
	err = s.inTurn(ctx, func() error { creds, err = NewCredentials(password); return err })
	return creds, err
}

// derive is compute when it is its turn at the CPU.
func (s *Service) derive(ctx context.Context, h scramHash, password string, salt []byte, rounds int) (c store.Credential, err error) {
	err = s.inTurn(ctx, func() error { c, err = compute(h, password, salt, rounds); return err })
	return c, err
}

func (s *Service) inTurn(ctx context.Context, hash func() error) error {
	select {
	case s.hashing <- struct{}{}:
		defer func() { <-s.hashing }()
		return hash()
	case <-ctx.Done():
		return fmt.Errorf("auth: waiting to hash a password: %w", ctx.Err())
	}
}

// compute makes StoredKey and ServerKey of a prepared password (RFC 5802 §3).
func compute(h scramHash, password string, salt []byte, rounds int) (store.Credential, error) {
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

// credential finds a user's credential for the first hash that there is one for, or a
// decoy for the first hash with known false. It does the same work either way.
func (e *Exchange) credential(ctx context.Context, user string, hashes ...scramHash) (c store.Credential, known bool, err error) {
	decoy := e.service.decoy(user, hashes[0])
	player, err := e.service.accounts.Player(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return decoy, false, nil
	}
	if err != nil {
		return store.Credential{}, false, fmt.Errorf("auth: reading credentials: %w", err)
	}
	e.disabled = player.Account.Disabled
	for _, h := range hashes {
		for _, c := range player.Account.Credentials {
			if c.Mechanism == h.name {
				return c, true, nil
			}
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
