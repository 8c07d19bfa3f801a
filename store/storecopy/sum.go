package storecopy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math/bits"
	"time"

	"chatd/store"
)

// A domain is one kind of records.
type domain int

const (
	accounts domain = iota
	rosters
	rosterItems
	blocked
	notes
	privacies
	privateXML
	vCards
	lastActivities
	sequences
	messages
	queues
	events
	rooms
	affiliations
	history
	domains
)

var domainNames = [domains]string{
	"accounts", "rosters", "roster items", "blocked", "notes", "privacy", "private XML", "vCards", "last activity",
	"message numbers", "messages", "queues", "events",
	"rooms", "affiliations", "room history",
}

// String is the domain's name for people.
func (d domain) String() string { return domainNames[d] }

// A Sum is how many records of a domain there are, and a checksum of them all.
type Sum struct {
	Domain string
	Count  int64
	sum    [4]uint64 // of the records' SHA-256 as numbers, modulo 2^256: their order does not matter
}

// Checksum is the checksum in hex.
func (s Sum) Checksum() string {
	var b [32]byte
	for i, word := range s.sum {
		binary.BigEndian.PutUint64(b[8*i:], word)
	}
	return hex.EncodeToString(b[:])
}

// Sums are those of all domains of a store. One goroutine may add to it.
type Sums struct {
	all [domains]Sum
	h   hash.Hash
}

func newSums() *Sums {
	s := &Sums{h: sha256.New()}
	for d := range s.all {
		s.all[d].Domain = domain(d).String()
	}
	return s
}

// All is one Sum for each domain, always the same domains in the same order.
func (s *Sums) All() []Sum { return s.all[:] }

// add counts one record, which is said by its fields: each with its length, and times in milliseconds.
func (s *Sums) add(d domain, fields ...any) {
	s.h.Reset()
	var number [8]byte
	integer := func(n int64) {
		binary.BigEndian.PutUint64(number[:], uint64(n))
		s.h.Write(number[:])
	}
	for _, f := range fields {
		switch f := f.(type) {
		case int64:
			integer(f)
		case bool:
			integer(map[bool]int64{true: 1}[f])
		case time.Time:
			integer(f.UnixMilli())
		case string:
			integer(int64(len(f)))
			s.h.Write([]byte(f))
		case []byte:
			integer(int64(len(f)))
			s.h.Write(f)
		default:
			panic(fmt.Sprintf("storecopy: no encoding for %T", f))
		}
	}
	var digest [sha256.Size]byte
	s.h.Sum(digest[:0])
	sum := &s.all[d]
	sum.Count++
	var words [4]uint64
	for i := range words {
		words[i] = binary.BigEndian.Uint64(digest[8*i:])
	}
	sum.addWords(words)
}

func (s *Sum) addWords(words [4]uint64) {
	var carry uint64
	for i := 3; i >= 0; i-- {
		s.sum[i], carry = bits.Add64(s.sum[i], words[i], carry)
	}
}

// merge adds what another goroutine has counted.
func (s *Sums) merge(o *Sums) {
	for d := range s.all {
		s.all[d].Count += o.all[d].Count
		s.all[d].addWords(o.all[d].sum)
	}
}

// equal compares counts and checksums.
func (s *Sums) equal(o *Sums) bool { return s.all == o.all }

func (s *Sums) addRecord(r *store.Record) {
	if a := r.Account; a != nil {
		fields := []any{r.User, a.Created, a.Disabled, int64(len(a.Credentials))}
		for _, c := range a.Credentials {
			fields = append(fields, c.Mechanism, c.Salt, int64(c.Iterations), c.StoredKey, c.ServerKey)
		}
		for _, t := range a.Tokens {
			fields = append(fields, t.Client, t.Mechanism, t.Nonce, t.Issued, t.Expires, t.Used, t.Limited)
		}
		s.add(accounts, fields...)
	}
	if r.Roster.Version != 0 {
		s.add(rosters, r.User, r.Roster.Version)
	}
	for _, i := range r.Roster.Items {
		fields := []any{r.User, i.JID, i.Name, int64(i.Sub), i.Ask, i.PendingIn, i.Approved, i.Hidden, i.Request, i.Message, i.Created}
		for _, group := range i.Groups {
			fields = append(fields, group)
		}
		s.add(rosterItems, fields...)
	}
	for _, jid := range r.Blocked {
		s.add(blocked, r.User, jid)
	}
	for _, n := range r.Notes {
		s.add(notes, r.User, n.JID, n.Text, n.Created, n.Modified)
	}
	if r.Privacy != (store.Privacy{}) {
		s.add(privacies, r.User, int64(r.Privacy.Messages), int64(r.Privacy.Requests))
	}
	for _, e := range r.Private {
		s.add(privateXML, r.User, e.Space, e.Local, e.XML)
	}
	if len(r.VCard) > 0 {
		s.add(vCards, r.User, r.VCard)
	}
	if l := r.LastActivity; l != nil {
		s.add(lastActivities, r.User, l.At, l.Status)
	}
	if r.LastSeq != 0 {
		s.add(sequences, r.User, r.LastSeq)
	}
}

func (s *Sums) addMessage(user string, m *store.OfflineMessage) {
	s.add(messages, user, m.Seq, m.Stored, m.ID, m.Stanza)
}

func (s *Sums) addEvent(queue string, e *store.Event) {
	s.add(events, queue, e.Seq, e.ID, e.Type, e.Key, e.Queued, e.Fault, e.Body)
}

// Summed reads a whole store. done counts on.
func Summed(ctx context.Context, from store.Store, done *Done) (*Sums, error) {
	total := newSums()
	parts := make([]*Sums, workers)
	for i := range parts {
		parts[i] = newSums()
	}
	err := eachName(ctx, from, func(ctx context.Context, worker int, name string) error {
		return sumName(ctx, from, name, parts[worker], done)
	})
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		total.merge(part)
	}
	if err := sumQueues(ctx, from, total); err != nil {
		return nil, err
	}
	return total, walkRooms(ctx, from, func(name string) error { return sumRoom(ctx, from, name, total) })
}

func sumName(ctx context.Context, from store.Store, name string, sums *Sums, done *Done) error {
	r, err := from.Record(ctx, name)
	if err != nil {
		return err
	}
	sums.addRecord(&r)
	err = eachPage(ctx, from, name, 0, func(page []store.OfflineMessage) error {
		for i := range page {
			sums.addMessage(name, &page[i])
		}
		done.Messages.Add(int64(len(page)))
		return nil
	})
	done.Names.Add(1)
	return err
}

func sumQueues(ctx context.Context, from store.Store, sums *Sums) error {
	all, err := from.Queues(ctx)
	if err != nil {
		return err
	}
	for _, q := range all {
		sums.add(queues, q.Name, q.LastSeq)
		err := eachEvents(ctx, from, q.Name, func(page []store.Event) error {
			for i := range page {
				sums.addEvent(q.Name, &page[i])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
