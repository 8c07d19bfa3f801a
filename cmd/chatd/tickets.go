package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	ticketKeysFile = "tickets.key"
	// ticketKeyUse is how long a key makes tickets for TLS sessions, and ticketKeyLife how long it is kept to read them.
	ticketKeyUse  = 24 * time.Hour
	ticketKeyLife = 3 * ticketKeyUse
)

// A ticketKey encrypts the tickets by which clients resume TLS sessions.
type ticketKey struct {
	Made int64 // Unix seconds
	Key  [32]byte
}

// ticketKeys are kept in the data directory, newest first, so that clients that all come back after a restart
// need no full handshake. In TLS 1.3 a key that becomes known later opens no session, for each has secrets of
// its own (RFC 8446 §2.2); in TLS 1.2 it does. It belongs to the goroutine that starts and reloads.
type ticketKeys struct {
	path string
	keys []ticketKey
}

func loadTicketKeys(dir string) (*ticketKeys, error) {
	t := &ticketKeys{path: filepath.Join(dir, ticketKeysFile)}
	text, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	size := binary.Size(ticketKey{})
	if len(text)%size != 0 {
		return nil, fmt.Errorf("%s is damaged; remove it to have it made anew", t.path)
	}
	t.keys = make([]ticketKey, len(text)/size)
	return t, binary.Read(bytes.NewReader(text), binary.BigEndian, t.keys)
}

// renew puts the keys in force, first a new one if it is time. An error leaves those that are in force.
func (t *ticketKeys) renew(cfg *tls.Config, now time.Time) error {
	if !t.due(now) {
		return nil
	}
	next := ticketKey{Made: now.Unix()}
	rand.Read(next.Key[:])
	keys := append([]ticketKey{next}, slices.DeleteFunc(slices.Clone(t.keys), func(k ticketKey) bool {
		age := now.Sub(time.Unix(k.Made, 0))
		return age >= ticketKeyLife || age < 0
	})...)
	var text bytes.Buffer
	if err := binary.Write(&text, binary.BigEndian, keys); err != nil {
		return err
	}
	if err := writeFile(t.path, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("keys of TLS tickets: %w", err)
	}
	t.keys = keys
	t.use(cfg)
	return nil
}

// due reports whether the newest key has been in use for long enough, or the clock was set back.
func (t *ticketKeys) due(now time.Time) bool {
	if len(t.keys) == 0 {
		return true
	}
	age := now.Sub(time.Unix(t.keys[0].Made, 0))
	return age >= ticketKeyUse || age < 0
}

func (t *ticketKeys) use(cfg *tls.Config) {
	raw := make([][32]byte, len(t.keys))
	for i, k := range t.keys {
		raw[i] = k.Key
	}
	if len(raw) > 0 {
		cfg.SetSessionTicketKeys(raw)
	}
}
