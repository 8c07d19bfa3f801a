package riak_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"

	"chatd/store"
)

// The double answers from memory on the same machine: what is measured is this package, its round trips and the double.

func BenchmarkAppendOffline(b *testing.B) {
	s := open(b, "", cluster(b).Addrs()...)
	stanza := bytes.Repeat([]byte("x"), 250)
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			user := fmt.Sprint("user", n.Add(1)%256)
			if _, err := s.AppendOffline(b.Context(), user, store.OfflineMessage{Stanza: stanza}, 0); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkOfflinePage(b *testing.B) {
	s := open(b, "", cluster(b).Addrs()...)
	for range 1000 {
		if _, err := s.AppendOffline(b.Context(), "anna", store.OfflineMessage{Stanza: bytes.Repeat([]byte("x"), 250)}, 0); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if page, err := s.OfflinePage(b.Context(), "anna", 0, 50); err != nil || len(page) != 50 {
			b.Fatal(len(page), err)
		}
	}
}

// BenchmarkPlayer is what a login reads of a user with 100 friends.
func BenchmarkPlayer(b *testing.B) {
	s := open(b, "", cluster(b).Addrs()...)
	if err := s.CreateAccount(b.Context(), store.Account{User: "anna"}); err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		keepItem(b, s, "anna", store.RosterItem{JID: fmt.Sprintf("friend%d@chat.test", i), Name: "A friend", Sub: store.SubBoth})
	}
	for b.Loop() {
		if p, err := s.Player(b.Context(), "anna"); err != nil || len(p.Roster.Items) != 100 {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdateItem(b *testing.B) {
	s := open(b, "", cluster(b).Addrs()...)
	for i := range 100 {
		keepItem(b, s, "anna", store.RosterItem{JID: fmt.Sprintf("friend%d@chat.test", i), Name: "A friend", Sub: store.SubBoth})
	}
	i := 0
	for b.Loop() {
		i++
		keepItem(b, s, "anna", store.RosterItem{JID: "friend7@chat.test", Name: fmt.Sprint(i)})
	}
}
