// Package storetest holds a store.Store to what package store promises. Each
// backend's tests call Run; what a backend promises beyond that, such as
// outliving its process, its own tests show.
package storetest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/store"
)

// Run runs the suite. open returns a new empty store for each test and, by
// t.Cleanup, closes it; closing twice must do no harm.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"Account", testAccount},
		{"AccountMissing", testAccountMissing},
		{"AccountRace", testAccountRace},
		{"Tokens", testTokens},
		{"TokensRace", testTokensRace},
		{"ListAccounts", testListAccounts},
		{"DeleteAccount", testDeleteAccount},
		{"CreateAccountStartsEmpty", testCreateStartsEmpty},
		{"RosterEmpty", testRosterEmpty},
		{"RosterItem", testRosterItem},
		{"RosterOrder", testRosterOrder},
		{"RosterVersion", testRosterVersion},
		{"RosterVersionAcrossAccounts", testRosterVersionAcrossAccounts},
		{"Mutual", testMutual},
		{"UpdateItemVerdicts", testVerdicts},
		{"UpdateItemError", testUpdateError},
		{"UpdateItemUsesStore", testUpdateUsesStore},
		{"UpdateItemConflict", testUpdateConflict},
		{"UpdateItemLimits", testRosterLimits},
		{"UpdateItemRace", testUpdateRace},
		{"UpdateItemLimitRace", testRosterLimitRace},
		{"Blocklist", testBlocklist},
		{"BlocklistLimit", testBlocklistLimit},
		{"Notes", testNotes},
		{"UpdateNotesError", testUpdateNotesError},
		{"UpdateNotesRace", testUpdateNotesRace},
		{"Privacy", testPrivacy},
		{"Offline", testOffline},
		{"OfflinePages", testOfflinePages},
		{"OfflineRemove", testOfflineRemove},
		{"OfflineLimit", testOfflineLimit},
		{"OfflineLimitRace", testOfflineLimitRace},
		{"OfflineSeq", testOfflineSeq},
		{"OfflineSeqNeverReused", testOfflineSeqNeverReused},
		{"OfflineOrderRace", testOfflineOrderRace},
		{"OfflineID", testOfflineID},
		{"OfflineAgain", testOfflineAgain},
		{"OfflineAgainNewest", testOfflineAgainNewest},
		{"OfflineAgainRace", testOfflineAgainRace},
		{"Private", testPrivate},
		{"PrivateLimit", testPrivateLimit},
		{"PrivateElements", testPrivateElements},
		{"VCard", testVCard},
		{"LastActivity", testLastActivity},
		{"Player", testPlayer},
		{"PlayerIsTheParts", testPlayerParts},
		{"Outbox", testOutbox},
		{"OutboxLimit", testOutboxLimit},
		{"OutboxOrderRace", testOutboxOrderRace},
		{"OutboxLease", testOutboxLease},
		{"Announce", testAnnounce},
		{"AnnounceFull", testAnnounceFull},
		{"Room", testRoom},
		{"RoomMissing", testRoomMissing},
		{"RoomRace", testRoomRace},
		{"UpdateRoom", testUpdateRoom},
		{"UpdateRoomRace", testUpdateRoomRace},
		{"DeleteRoom", testDeleteRoom},
		{"ListRooms", testListRooms},
		{"Affiliations", testAffiliations},
		{"AffiliationsRace", testAffiliationsRace},
		{"History", testHistory},
		{"HistoryLimit", testHistoryLimit},
		{"HistoryAgain", testHistoryAgain},
		{"ReplaceHistory", testReplaceHistory},
		{"HistoryRace", testHistoryRace},
		{"HistoryDeleteRace", testHistoryDeleteRace},
		{"RoomOddText", testRoomOddText},
		{"RoomValuesAreCopied", testRoomValuesAreCopied},
		{"Names", testNames},
		{"Record", testRecord},
		{"PutRecord", testPutRecord},
		{"PutRecordSilently", testPutRecordSilently},
		{"PutOffline", testPutOffline},
		{"PutEvents", testPutEvents},
		{"OddText", testOddText},
		{"LargeValues", testLargeValues},
		{"ValuesAreCopied", testValuesAreCopied},
		{"ContextEnded", testContextEnded},
		{"ContextEndsMeanwhile", testContextEndsMeanwhile},
		{"ContextEndsWhileReading", testReadsMeanwhile},
		{"Closed", testClosed},
		{"CloseMeanwhile", testCloseMeanwhile},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// created is a time with more precision than is kept.
var created = time.Date(2024, 2, 29, 23, 59, 58, 765432109, time.FixedZone("", 3600))

var createdKept = created.UTC().Truncate(time.Second)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// inParallel runs n calls at once and returns when all have returned.
func inParallel(n int, call func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { call(i) })
	}
	wg.Wait()
}

func account(user string) store.Account {
	return store.Account{User: user, Created: created, Credentials: credentials(user)}
}

// tokens are with more precision than is kept.
func tokens(seed string) []store.LoginToken {
	return []store.LoginToken{
		{Client: "phone " + seed, Mechanism: "HT-SHA-256-NONE", Nonce: []byte{0, 0xff, 1}, Issued: created, Expires: created.Add(time.Hour), Used: true},
		{Client: "phone " + seed, Mechanism: "HT-SHA-256-EXPR", Nonce: []byte(seed), Issued: created, Expires: created.AddDate(0, 0, 21), Limited: true},
	}
}

func credentials(seed string) []store.Credential {
	var creds []store.Credential
	for i, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1"} {
		creds = append(creds, store.Credential{
			Mechanism:  mechanism,
			Salt:       []byte{0, 1, 0xff, byte(i)},
			Iterations: 4096 + i,
			StoredKey:  []byte("stored " + seed),
			ServerKey:  bytes.Repeat([]byte{0xfe, 0}, 16),
		})
	}
	return creds
}

// Names and texts that a careless backend would mix up, cut or change.
func oddTexts() []string {
	texts := []string{
		"a", "A", "ä", "a\u0308", "Ä", "a ", " a", "a'b", `a"b`, "a\\b", "a%", "a_", "a;--",
		"0", "00", "1e3", "0x1", "null", "NULL", "?", ":a", "$1", "a\x00b", "a\x00c", "a\nb",
		"日本語", "😀", "👨\u200d👩\u200d👧", "\u202eabc", "ß", "ss", "ı", "i", "\xff\xfe", "\xc3",
		"{ns}local", "a:b", "3:abc",
	}
	for _, n := range []int{255, 256, 1023} {
		texts = append(texts, strings.Repeat("x", n), strings.Repeat("x", n-1)+"y")
	}
	return texts
}

// longJIDs are as long as an address can be, and differ only at the end.
func longJIDs(n int) (jids []string) {
	prefix := strings.Repeat("l", 1023) + "@" + strings.Repeat("d", 1019) + ".org/"
	for i := range n {
		jids = append(jids, fmt.Sprintf("%s%0*d", prefix, 3071-len(prefix), i))
	}
	return jids
}
