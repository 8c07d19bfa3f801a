package storetest

import (
	"context"
	"fmt"
	"time"

	"chatd/store"
)

// roomKeeper writes to a room, and makes it anew from time to time: each message of its history is there once, whole and in order.
func (w *faultWriter) roomKeeper(rooms store.Rooms, name string) func() {
	const lifetime = 40 // messages
	next := 0
	return func() {
		if next%lifetime == 0 {
			w.remakeRoom(rooms, name)
		}
		m := store.HistoryMessage{ID: fmt.Sprint(next), Stored: time.Now(), Stanza: []byte(text(next))}
		w.ok("AppendHistory", func(ctx context.Context) error {
			_, err := rooms.AppendHistory(ctx, name, m, 0)
			return err
		})
		w.ok("SetAffiliations", func(ctx context.Context) error {
			return rooms.SetAffiliations(ctx, name, []store.Affiliation{{JID: "a@x", As: "owner", Reason: text(next)}, {JID: "b@x", As: "member", Reason: text(next)}})
		})
		w.ok("UpdateRoom", func(ctx context.Context) error {
			return rooms.UpdateRoom(ctx, name, func(r *store.Room) error {
				r.Config, r.Subject = []byte(text(next)), []byte(text(next))
				return nil
			})
		})
		next++
		w.checkRoom(rooms, name, next-1, (next-1)%lifetime+1)
	}
}

func (w *faultWriter) remakeRoom(rooms store.Rooms, name string) {
	err := w.untilKnown("DeleteRoom", func(ctx context.Context, _ bool) error { return rooms.DeleteRoom(ctx, name) })
	if err != nil && err != store.ErrNotFound {
		w.Errorf("room removed: %v", err)
	}
	err = w.untilKnown("CreateRoom", func(ctx context.Context, again bool) error {
		err := rooms.CreateRoom(ctx, store.Room{Name: name, Created: time.Now()}, []store.Affiliation{{JID: "a@x", As: "owner"}})
		if again && err == store.ErrExists {
			return nil
		}
		return err
	})
	if err != nil {
		w.Errorf("room made: %v", err)
	}
}

// checkRoom expects so many messages, the last of which is the one with this number.
func (w *faultWriter) checkRoom(rooms store.Rooms, name string, last, count int) {
	w.ok("HistoryPage", func(ctx context.Context) error {
		page, err := rooms.HistoryPage(ctx, name, 0, 1000)
		if err == nil && len(page) != count {
			w.Errorf("history of %d messages, want %d", len(page), count)
		}
		for i, m := range page {
			if n := last - len(page) + 1 + i; m.ID != fmt.Sprint(n) || string(m.Stanza) != text(n) {
				w.Errorf("message %d of the history is %s", n, m.ID)
			}
		}
		return err
	})
	w.ok("Room", func(ctx context.Context) error {
		r, err := rooms.Room(ctx, name)
		if err == nil && (string(r.Config) != text(last) || string(r.Subject) != text(last)) {
			w.Errorf("room has %q and %q, want %q", r.Config, r.Subject, text(last))
		}
		return err
	})
	w.ok("Affiliations", func(ctx context.Context) error {
		all, err := rooms.Affiliations(ctx, name)
		if err == nil && (len(all) != 2 || all[0].Reason != text(last) || all[1].Reason != text(last)) {
			w.Errorf("affiliations are %+v", all)
		}
		return err
	})
}
