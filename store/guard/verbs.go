package guard

import (
	"context"
	"time"

	"chatd/store"
)

// The verbs, each in the half of the store that it needs. A read-modify-write is a write. Those with more to them are in owed.go. Those of
// store.Mover go past the guard: they may take their time, and nobody else waits.

// Account implements store.Accounts.
func (s *Store) Account(ctx context.Context, user string) (store.Account, error) {
	return ask(ctx, s, s.reads, "Account", func(ctx context.Context) (store.Account, error) { return s.Store.Account(ctx, user) })
}

// CreateAccount implements store.Accounts.
func (s *Store) CreateAccount(ctx context.Context, a store.Account) error {
	return s.run(ctx, s.writes, "CreateAccount", func(ctx context.Context) error { return s.Store.CreateAccount(ctx, a) })
}

// SetCredentials implements store.Accounts.
func (s *Store) SetCredentials(ctx context.Context, user string, creds []store.Credential) error {
	return s.run(ctx, s.writes, "SetCredentials", func(ctx context.Context) error { return s.Store.SetCredentials(ctx, user, creds) })
}

// SetDisabled implements store.Accounts.
func (s *Store) SetDisabled(ctx context.Context, user string, disabled bool) error {
	return s.run(ctx, s.writes, "SetDisabled", func(ctx context.Context) error { return s.Store.SetDisabled(ctx, user, disabled) })
}

// UpdateTokens implements store.Accounts.
func (s *Store) UpdateTokens(ctx context.Context, user string, update func(store.Account) ([]store.LoginToken, error)) error {
	return s.run(ctx, s.writes, "UpdateTokens", func(ctx context.Context) error { return s.Store.UpdateTokens(ctx, user, update) })
}

// DeleteAccount implements store.Accounts.
func (s *Store) DeleteAccount(ctx context.Context, user string) error {
	return s.run(ctx, s.writes, "DeleteAccount", func(ctx context.Context) error { return s.Store.DeleteAccount(ctx, user) })
}

// ListAccounts implements store.Accounts.
func (s *Store) ListAccounts(ctx context.Context, after string, limit int) ([]string, error) {
	return ask(ctx, s, s.reads, "ListAccounts", func(ctx context.Context) ([]string, error) { return s.Store.ListAccounts(ctx, after, limit) })
}

// Player implements store.Players.
func (s *Store) Player(ctx context.Context, user string) (store.Player, error) {
	return ask(ctx, s, s.reads, "Player", func(ctx context.Context) (store.Player, error) { return s.Store.Player(ctx, user) })
}

// Roster implements store.Rosters.
func (s *Store) Roster(ctx context.Context, user string) (store.Roster, error) {
	return ask(ctx, s, s.reads, "Roster", func(ctx context.Context) (store.Roster, error) { return s.Store.Roster(ctx, user) })
}

// Mutual implements store.Rosters.
func (s *Store) Mutual(ctx context.Context, user string) ([]string, error) {
	return ask(ctx, s, s.reads, "Mutual", func(ctx context.Context) ([]string, error) { return s.Store.Mutual(ctx, user) })
}

// UpdateItem implements store.Rosters.
func (s *Store) UpdateItem(ctx context.Context, user, contact string, maxItems int, update func(*store.RosterItem, bool) (store.Verdict, error)) (int64, error) {
	return ask(ctx, s, s.writes, "UpdateItem", func(ctx context.Context) (int64, error) {
		return s.Store.UpdateItem(ctx, user, contact, maxItems, update)
	})
}

// Blocklist implements store.Blocklists.
func (s *Store) Blocklist(ctx context.Context, user string) ([]string, error) {
	return ask(ctx, s, s.reads, "Blocklist", func(ctx context.Context) ([]string, error) { return s.Store.Blocklist(ctx, user) })
}

// Block implements store.Blocklists.
func (s *Store) Block(ctx context.Context, user string, jids []string, max int) error {
	return s.run(ctx, s.writes, "Block", func(ctx context.Context) error { return s.Store.Block(ctx, user, jids, max) })
}

// Unblock implements store.Blocklists.
func (s *Store) Unblock(ctx context.Context, user string, jids []string) error {
	return s.run(ctx, s.writes, "Unblock", func(ctx context.Context) error { return s.Store.Unblock(ctx, user, jids) })
}

// Notes implements store.Notes.
func (s *Store) Notes(ctx context.Context, user string) ([]store.Note, error) {
	return ask(ctx, s, s.reads, "Notes", func(ctx context.Context) ([]store.Note, error) { return s.Store.Notes(ctx, user) })
}

// UpdateNotes implements store.Notes.
func (s *Store) UpdateNotes(ctx context.Context, user string, update func([]store.Note) ([]store.Note, error)) error {
	return s.run(ctx, s.writes, "UpdateNotes", func(ctx context.Context) error { return s.Store.UpdateNotes(ctx, user, update) })
}

// Privacy implements store.Privacies.
func (s *Store) Privacy(ctx context.Context, user string) (store.Privacy, error) {
	return ask(ctx, s, s.reads, "Privacy", func(ctx context.Context) (store.Privacy, error) { return s.Store.Privacy(ctx, user) })
}

// SetPrivacy implements store.Privacies.
func (s *Store) SetPrivacy(ctx context.Context, user string, p store.Privacy) error {
	return s.run(ctx, s.writes, "SetPrivacy", func(ctx context.Context) error { return s.Store.SetPrivacy(ctx, user, p) })
}

// CountOffline implements store.Offline.
func (s *Store) CountOffline(ctx context.Context, user string) (int, error) {
	return ask(ctx, s, s.reads, "CountOffline", func(ctx context.Context) (int, error) { return s.Store.CountOffline(ctx, user) })
}

// PrivateXML implements store.Private.
func (s *Store) PrivateXML(ctx context.Context, user, space, local string) ([]byte, error) {
	return ask(ctx, s, s.reads, "PrivateXML", func(ctx context.Context) ([]byte, error) { return s.Store.PrivateXML(ctx, user, space, local) })
}

// SetPrivateXML implements store.Private.
func (s *Store) SetPrivateXML(ctx context.Context, user, space, local string, xml []byte, max int) error {
	return s.run(ctx, s.writes, "SetPrivateXML", func(ctx context.Context) error { return s.Store.SetPrivateXML(ctx, user, space, local, xml, max) })
}

// PrivateElements implements store.Private.
func (s *Store) PrivateElements(ctx context.Context, user string) ([]store.PrivateElement, error) {
	return ask(ctx, s, s.reads, "PrivateElements", func(ctx context.Context) ([]store.PrivateElement, error) { return s.Store.PrivateElements(ctx, user) })
}

// VCard implements store.VCards.
func (s *Store) VCard(ctx context.Context, user string) ([]byte, error) {
	return ask(ctx, s, s.reads, "VCard", func(ctx context.Context) ([]byte, error) { return s.Store.VCard(ctx, user) })
}

// SetVCard implements store.VCards.
func (s *Store) SetVCard(ctx context.Context, user string, xml []byte) error {
	return s.run(ctx, s.writes, "SetVCard", func(ctx context.Context) error { return s.Store.SetVCard(ctx, user, xml) })
}

// LastActivity implements store.LastActivities.
func (s *Store) LastActivity(ctx context.Context, user string) (store.LastActivity, error) {
	return ask(ctx, s, s.reads, "LastActivity", func(ctx context.Context) (store.LastActivity, error) { return s.Store.LastActivity(ctx, user) })
}

// Post implements store.Outbox.
func (s *Store) Post(ctx context.Context, postings []store.Posting) ([]string, error) {
	return ask(ctx, s, s.writes, "Post", func(ctx context.Context) ([]string, error) { return s.Store.Post(ctx, postings) })
}

// Events implements store.Outbox.
func (s *Store) Events(ctx context.Context, queue string, after int64, limit int) ([]store.Event, error) {
	return ask(ctx, s, s.reads, "Events", func(ctx context.Context) ([]store.Event, error) { return s.Store.Events(ctx, queue, after, limit) })
}

// RemoveEvents implements store.Outbox.
func (s *Store) RemoveEvents(ctx context.Context, queue string, seqs []int64) error {
	return s.run(ctx, s.writes, "RemoveEvents", func(ctx context.Context) error { return s.Store.RemoveEvents(ctx, queue, seqs) })
}

// CountEvents implements store.Outbox.
func (s *Store) CountEvents(ctx context.Context, queue string) (int, error) {
	return ask(ctx, s, s.reads, "CountEvents", func(ctx context.Context) (int, error) { return s.Store.CountEvents(ctx, queue) })
}

// LeaseQueue implements store.Outbox.
func (s *Store) LeaseQueue(ctx context.Context, queue, holder string, now, until time.Time) (bool, error) {
	return ask(ctx, s, s.writes, "LeaseQueue", func(ctx context.Context) (bool, error) { return s.Store.LeaseQueue(ctx, queue, holder, now, until) })
}

// Room implements store.Rooms.
func (s *Store) Room(ctx context.Context, name string) (store.Room, error) {
	return ask(ctx, s, s.reads, "Room", func(ctx context.Context) (store.Room, error) { return s.Store.Room(ctx, name) })
}

// CreateRoom implements store.Rooms.
func (s *Store) CreateRoom(ctx context.Context, r store.Room, affiliations []store.Affiliation) error {
	return s.run(ctx, s.writes, "CreateRoom", func(ctx context.Context) error { return s.Store.CreateRoom(ctx, r, affiliations) })
}

// UpdateRoom implements store.Rooms.
func (s *Store) UpdateRoom(ctx context.Context, name string, update func(*store.Room) error) error {
	return s.run(ctx, s.writes, "UpdateRoom", func(ctx context.Context) error { return s.Store.UpdateRoom(ctx, name, update) })
}

// DeleteRoom implements store.Rooms.
func (s *Store) DeleteRoom(ctx context.Context, name string) error {
	return s.run(ctx, s.writes, "DeleteRoom", func(ctx context.Context) error { return s.Store.DeleteRoom(ctx, name) })
}

// ListRooms implements store.Rooms.
func (s *Store) ListRooms(ctx context.Context, after string, limit int) ([]string, error) {
	return ask(ctx, s, s.reads, "ListRooms", func(ctx context.Context) ([]string, error) { return s.Store.ListRooms(ctx, after, limit) })
}

// ListRoomsBefore implements store.Rooms.
func (s *Store) ListRoomsBefore(ctx context.Context, before string, limit int) ([]string, error) {
	return ask(ctx, s, s.reads, "ListRoomsBefore", func(ctx context.Context) ([]string, error) { return s.Store.ListRoomsBefore(ctx, before, limit) })
}

// Affiliations implements store.Rooms.
func (s *Store) Affiliations(ctx context.Context, room string) ([]store.Affiliation, error) {
	return ask(ctx, s, s.reads, "Affiliations", func(ctx context.Context) ([]store.Affiliation, error) { return s.Store.Affiliations(ctx, room) })
}

// SetAffiliations implements store.Rooms.
func (s *Store) SetAffiliations(ctx context.Context, room string, affiliations []store.Affiliation) error {
	return s.run(ctx, s.writes, "SetAffiliations", func(ctx context.Context) error { return s.Store.SetAffiliations(ctx, room, affiliations) })
}

// AppendHistory implements store.Rooms.
func (s *Store) AppendHistory(ctx context.Context, room string, m store.HistoryMessage, max int) (int64, error) {
	return ask(ctx, s, s.writes, "AppendHistory", func(ctx context.Context) (int64, error) { return s.Store.AppendHistory(ctx, room, m, max) })
}

// HistoryPage implements store.Rooms.
func (s *Store) HistoryPage(ctx context.Context, room string, before int64, limit int) ([]store.HistoryMessage, error) {
	return ask(ctx, s, s.reads, "HistoryPage", func(ctx context.Context) ([]store.HistoryMessage, error) {
		return s.Store.HistoryPage(ctx, room, before, limit)
	})
}

// HistoryMessage implements store.Rooms.
func (s *Store) HistoryMessage(ctx context.Context, room, id string) (store.HistoryMessage, error) {
	return ask(ctx, s, s.reads, "HistoryMessage", func(ctx context.Context) (store.HistoryMessage, error) {
		return s.Store.HistoryMessage(ctx, room, id)
	})
}

// ReplaceHistory implements store.Rooms.
func (s *Store) ReplaceHistory(ctx context.Context, room, id string, stanza []byte) error {
	return s.run(ctx, s.writes, "ReplaceHistory", func(ctx context.Context) error { return s.Store.ReplaceHistory(ctx, room, id, stanza) })
}
