package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"chatd/store"
)

// testOddText uses odd texts as names and as values: each name keeps its own
// value, byte for byte.
func testOddText(t *testing.T, s store.Store) {
	ctx := t.Context()
	texts := oddTexts()
	var notes []store.Note
	for i, text := range texts {
		must(t, s.CreateAccount(ctx, account(text)))
		must(t, s.SetLastActivity(ctx, text, store.LastActivity{Status: text}))
		must(t, s.SetVCard(ctx, text, fmt.Appendf(nil, "%d%s", i, text)))
		appendText(t, s, text, text, 0)
		keepItem(t, s, "anna", store.RosterItem{JID: text, Name: text, Groups: []string{text, text}, Request: []byte(text), Message: text})
		must(t, s.SetPrivateXML(ctx, "anna", text, text, []byte(text), 0))
		notes = append(notes, store.Note{JID: text, Text: text})
	}
	must(t, s.Block(ctx, "anna", texts, 0))
	setNotes(t, s, "anna", notes...)

	for i, text := range texts {
		a, err := s.Account(ctx, text)
		must(t, err)
		equal(t, "user", a.User, text)
		last, err := s.LastActivity(ctx, text)
		must(t, err)
		equal(t, "status", last.Status, text)
		vcard, err := s.VCard(ctx, text)
		must(t, err)
		equal(t, "vCard", string(vcard), fmt.Sprint(i)+text)
		expectWaiting(t, s, text, text)
		xml, err := s.PrivateXML(ctx, "anna", text, text)
		must(t, err)
		equal(t, "private XML", string(xml), text)
	}
	slices.Sort(texts)
	slices.SortFunc(notes, func(a, b store.Note) int { return strings.Compare(a.JID, b.JID) })
	expectNotes(t, s, "anna", notes...)
	expectBlocked(t, s, "anna", texts...)
	names, err := s.ListAccounts(ctx, "", 1000)
	must(t, err)
	if !slices.Equal(names, texts) {
		t.Fatalf("accounts %q\nwant %q", names, texts)
	}
	items := roster(t, s, "anna").Items
	equal(t, "items", len(items), len(texts))
	for i, text := range texts {
		want := store.RosterItem{JID: text, Name: text, Groups: []string{text, text}, Request: []byte(text), Message: text}
		if !items[i].Equal(want) {
			t.Fatalf("got  %+v\nwant %+v", items[i], want)
		}
	}
}

func testLargeValues(t *testing.T, s store.Store) {
	ctx := t.Context()
	large := bytes.Repeat([]byte("0123456789abcde\x00"), 256<<10/16)
	for range 3 {
		must(t, appendOffline(s, ctx, "anna", store.OfflineMessage{Stanza: large}, 0))
	}
	for _, m := range page(t, s, "anna", 0, 10) {
		if !bytes.Equal(m.Stanza, large) {
			t.Fatalf("stanza of %d bytes came back as other %d", len(large), len(m.Stanza))
		}
	}
	must(t, s.SetVCard(ctx, "anna", large))
	must(t, s.SetPrivateXML(ctx, "anna", "ns", "local", large, 0))
	vcard, err := s.VCard(ctx, "anna")
	must(t, err)
	xml, err := s.PrivateXML(ctx, "anna", "ns", "local")
	must(t, err)
	if !bytes.Equal(vcard, large) || !bytes.Equal(xml, large) {
		t.Fatal("a large value came back changed")
	}

	jids := longJIDs(20)
	must(t, s.Block(ctx, "anna", jids, 0))
	expectBlocked(t, s, "anna", jids...)
	for _, jid := range jids {
		keepItem(t, s, "anna", store.RosterItem{JID: jid, Name: jid})
	}
	for i, item := range roster(t, s, "anna").Items {
		equal(t, "item", item.JID, jids[i])
	}
}

// testValuesAreCopied: what was handed in or out is the caller's, who may
// write over it.
func testValuesAreCopied(t *testing.T, s store.Store) {
	ctx := t.Context()
	a := account("anna")
	must(t, s.CreateAccount(ctx, a))
	spoilCredentials(a.Credentials)
	creds := credentials("anna")
	must(t, s.SetCredentials(ctx, "anna", creds))
	spoilCredentials(creds)
	for range 2 {
		got, err := s.Account(ctx, "anna")
		must(t, err)
		equal(t, "stored key", string(got.Credentials[0].StoredKey), "stored anna")
		spoilCredentials(got.Credentials)
	}

	text, groups := []byte("text"), []string{"group"}
	must(t, s.SetVCard(ctx, "anna", text))
	must(t, s.SetPrivateXML(ctx, "anna", "ns", "local", text, 0))
	must(t, appendOffline(s, ctx, "anna", store.OfflineMessage{Stanza: text}, 0))
	keepItem(t, s, "anna", store.RosterItem{JID: "bob@x", Groups: groups, Request: text})
	spoil(text)
	groups[0] = "spoilt"
	for range 2 {
		vcard, err := s.VCard(ctx, "anna")
		must(t, err)
		xml, err := s.PrivateXML(ctx, "anna", "ns", "local")
		must(t, err)
		stanza := page(t, s, "anna", 0, 1)[0].Stanza
		item := roster(t, s, "anna").Items[0]
		for _, got := range [][]byte{vcard, xml, stanza, item.Request} {
			equal(t, "value", string(got), "text")
			spoil(got)
		}
		equal(t, "group", item.Groups[0], "group")
		item.Groups[0] = "spoilt"
	}
}

func spoil(b []byte) {
	for i := range b {
		b[i] = '!'
	}
}

func spoilCredentials(creds []store.Credential) {
	for i := range creds {
		spoil(creds[i].Salt)
		spoil(creds[i].StoredKey)
		creds[i].Mechanism = "spoilt"
	}
}
