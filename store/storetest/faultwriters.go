package storetest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"chatd/store"
)

// addWriters adds those of every domain.
func (o *outages) addWriters() {
	const recipients, senders = 3, 8
	for s := range senders {
		o.add(fmt.Sprintf("sender %d", s), func(w *faultWriter) func() { return w.sender(s, fmt.Sprintf("user%d", s%recipients)) })
	}
	for r := range recipients {
		user := fmt.Sprintf("user%d", r)
		seen := make(map[int]int)
		o.add("recipient "+user, func(w *faultWriter) func() { return w.recipient(user, seen) })
	}
	for i := range 4 {
		o.add(fmt.Sprintf("friend %d", i), func(w *faultWriter) func() { return w.friend("anna", fmt.Sprintf("friend%d@x", i)) })
	}
	for i := range 2 {
		user := fmt.Sprintf("new%d", i)
		o.add(user, func(w *faultWriter) func() { return w.newcomer(user) })
	}
	o.add("values", func(w *faultWriter) func() { return w.values("bob") })
	o.add("notes", func(w *faultWriter) func() { return w.counter("carol") })
	o.add("queue", func(w *faultWriter) func() { return w.poster("q") })
	if rooms, ok := o.store.(store.Rooms); ok {
		o.add("room", func(w *faultWriter) func() { return w.roomKeeper(rooms, "hall") })
	}
}

// sender appends messages one after the other and repeats each until it is known to be kept.
func (w *faultWriter) sender(sender int, user string) func() {
	next, last := 0, int64(0)
	return func() {
		m := store.OfflineMessage{ID: fmt.Sprintf("%d-%d", sender, next), Stored: time.Now(), Stanza: fmt.Appendf(nil, "%d %s", sender, text(next))}
		var seq int64
		err := w.untilKnown("AppendOffline", func(ctx context.Context, again bool) (err error) {
			if m.Again = again; again {
				w.repeated.Store(m.ID, true)
			}
			seq, err = w.store.AppendOffline(ctx, user, m, 0)
			return err
		})
		switch {
		case err != nil:
			w.Errorf("%s: %v", w.name, err)
		case seq <= last:
			w.Errorf("%s: number %d after %d", w.name, seq, last)
		}
		last = seq
		next++
	}
}

// recipient takes pages of what waits, and removes them: each sender's messages come once, whole, and in order. One that its sender
// could not know to be kept comes again if it was removed before the sender repeated it.
func (w *faultWriter) recipient(user string, next map[int]int) func() {
	after := int64(0)
	return func() {
		var page []store.OfflineMessage
		w.ok("OfflinePage", func(ctx context.Context) (err error) {
			page, err = w.store.OfflinePage(ctx, user, after, 20)
			return err
		})
		var seqs []int64
		begun := maps.Clone(next)
		for _, m := range page {
			var sender, i, again int
			var zeros string
			if _, err := fmt.Sscan(string(m.Stanza), &sender, &i, &zeros, &again); err != nil || i != again {
				w.Errorf("%s got a torn message: %q", w.name, m.Stanza)
			}
			_, repeated := w.repeated.Load(m.ID)
			again = begun[sender] - 1 // all to here were removed
			if i != next[sender] && (i != again || !repeated) {
				w.Errorf("%s got message %d of sender %d and not %d", w.name, i, sender, next[sender])
			}
			next[sender] = i + 1
			after = m.Seq
			seqs = append(seqs, m.Seq)
		}
		w.ok("RemoveOffline", func(ctx context.Context) error { return w.store.RemoveOffline(ctx, user, seqs) })
		// What waits is what is after those removed.
		w.ok("OfflinePage", func(ctx context.Context) error {
			rest, err := w.store.OfflinePage(ctx, user, 0, 1)
			if err == nil && len(rest) > 0 && rest[0].Seq <= after {
				w.Errorf("%s: message %d is there, all to %d were removed", w.name, rest[0].Seq, after)
			}
			return err
		})
		w.ok("CountOffline", func(ctx context.Context) error {
			n, err := w.store.CountOffline(ctx, user)
			if n < 0 {
				w.Errorf("%s: %d messages wait", w.name, n)
			}
			return err
		})
	}
}

// friend writes one item of a roster that others write to.
func (w *faultWriter) friend(user, jid string) func() {
	var name possible[string]
	name.wrote("", nil)
	next, version := 0, int64(0)
	return func() {
		next++
		value := text(next)
		var got int64
		err := w.call("UpdateItem", func(ctx context.Context) (err error) {
			got, err = w.store.UpdateItem(ctx, user, jid, 0, func(i *store.RosterItem, exists bool) (store.Verdict, error) {
				name.read(w, "name", i.Name)
				if exists && (string(i.Request) != i.Name || len(i.Groups) != 1 || i.Groups[0] != i.Name) {
					w.Errorf("%s: item is torn: %+v", w.name, i)
				}
				i.Name, i.Groups, i.Request = value, []string{value}, []byte(value)
				return store.Keep, nil
			})
			return err
		})
		name.wrote(value, err)
		if err == nil && got <= version {
			w.Errorf("%s: version %d after %d", w.name, got, version)
		}
		version = max(version, got)
	}
}

// newcomer makes an account, gives it this and that, and removes it.
func (w *faultWriter) newcomer(user string) func() {
	return func() {
		err := w.untilKnown("CreateAccount", func(ctx context.Context, again bool) error {
			err := w.store.CreateAccount(ctx, account(user))
			if again && err == store.ErrExists {
				return nil
			}
			return err
		})
		if err != nil {
			w.Errorf("%s: made: %v", w.name, err)
		}
		w.ok("SetVCard", func(ctx context.Context) error { return w.store.SetVCard(ctx, user, []byte("<vCard/>")) })
		w.ok("Block", func(ctx context.Context) error { return w.store.Block(ctx, user, []string{"a@x", "b@x"}, 2) })
		w.ok("Blocklist", func(ctx context.Context) error {
			jids, err := w.store.Blocklist(ctx, user)
			if err == nil && len(jids) != 2 {
				w.Errorf("%s has blocked %q", w.name, jids)
			}
			return err
		})
		err = w.untilKnown("DeleteAccount", func(ctx context.Context, again bool) error {
			err := w.store.DeleteAccount(ctx, user)
			if again && err == store.ErrNotFound {
				return nil
			}
			return err
		})
		if err != nil {
			w.Errorf("%s: removed: %v", w.name, err)
		}
		w.ok("Blocklist", func(ctx context.Context) error {
			jids, err := w.store.Blocklist(ctx, user)
			if err == nil && len(jids) != 0 {
				w.Errorf("%s is gone and has blocked %q", w.name, jids)
			}
			return err
		})
	}
}

// values replaces small values and reads them back.
func (w *faultWriter) values(user string) func() {
	next := 0
	var vcard, private, status possible[string]
	return func() {
		next++
		value := text(next)
		vcard.wrote(value, w.call("SetVCard", func(ctx context.Context) error { return w.store.SetVCard(ctx, user, []byte(value)) }))
		private.wrote(value, w.call("SetPrivateXML", func(ctx context.Context) error {
			return w.store.SetPrivateXML(ctx, user, "ns", "local", []byte(value), 1)
		}))
		status.wrote(value, w.call("SetLastActivity", func(ctx context.Context) error {
			return w.store.SetLastActivity(ctx, user, store.LastActivity{At: time.Now(), Status: value})
		}))
		if next == 1 { // there may be nothing yet
			return
		}
		w.readBack("VCard", &vcard, func(ctx context.Context) (string, error) {
			xml, err := w.store.VCard(ctx, user)
			return string(xml), err
		})
		w.readBack("PrivateXML", &private, func(ctx context.Context) (string, error) {
			xml, err := w.store.PrivateXML(ctx, user, "ns", "local")
			return string(xml), err
		})
		w.readBack("LastActivity", &status, func(ctx context.Context) (string, error) {
			last, err := w.store.LastActivity(ctx, user)
			return last.Status, err
		})
	}
}

func (w *faultWriter) readBack(verb string, want *possible[string], read func(context.Context) (string, error)) {
	_ = w.call(verb, func(ctx context.Context) error {
		got, err := read(ctx)
		if err == nil {
			want.read(w, verb, got)
		}
		return err
	})
}

// counter counts in a note: nothing is lost, and what was not answered counts once or not.
func (w *faultWriter) counter(user string) func() {
	var count possible[int]
	count.wrote(0, nil)
	return func() {
		var next int
		err := w.call("UpdateNotes", func(ctx context.Context) error {
			return w.store.UpdateNotes(ctx, user, func(notes []store.Note) ([]store.Note, error) {
				before := 0
				if len(notes) > 0 {
					before = len(notes[0].Text)
				}
				count.read(w, "count", before)
				next = before%100 + 1
				return []store.Note{{JID: "x@y", Text: fmt.Sprintf("%0*d", next, 0)}}, nil
			})
		})
		count.wrote(next, err)
	}
}

// poster posts events and takes them: those that were answered come once and in order, the others once or not.
func (w *faultWriter) poster(queue string) func() {
	next, after := 0, int64(0)
	var waiting []string // posted, and whether they must come
	must := make(map[string]bool)
	return func() {
		next++
		id := fmt.Sprint(next)
		err := w.call("Post", func(ctx context.Context) error {
			_, err := w.store.Post(ctx, []store.Posting{{Queue: queue, Event: store.Event{ID: id, Body: []byte(text(next))}}})
			return err
		})
		waiting, must[id] = append(waiting, id), err == nil
		var events []store.Event
		w.ok("Events", func(ctx context.Context) (err error) {
			events, err = w.store.Events(ctx, queue, after, math.MaxInt32)
			return err
		})
		var seqs []int64
		for _, e := range events {
			i := slices.Index(waiting, e.ID)
			if i < 0 {
				w.Errorf("event %s came out of turn, of %q", e.ID, waiting)
				return
			}
			for _, skipped := range waiting[:i] {
				if must[skipped] {
					w.Errorf("event %s was answered and is missing", skipped)
				}
			}
			waiting, after = waiting[i+1:], e.Seq
			seqs = append(seqs, e.Seq)
		}
		w.ok("RemoveEvents", func(ctx context.Context) error { return w.store.RemoveEvents(ctx, queue, seqs) })
	}
}
