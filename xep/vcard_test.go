package xep

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// reannounce is the part of roster, without friends.
func reannounce(_ context.Context, _ *router.Batch, s router.Session, change func(*stanza.Stanza) *stanza.Stanza) error {
	old := s.State().Presence.Load()
	if old == nil {
		return nil
	}
	if st := change(old); st != old {
		s.State().Presence.Store(st)
		s.Send(nil, st)
	}
	return nil
}

const emptyVCard = "<vCard xmlns='vcard-temp'/>"

func TestVCard(t *testing.T) {
	f := newFixture(t)
	NewVCard(f.Router, f.db, NewAvatar(f.Router, f.db, reannounce))
	romeo := f.online("romeo@chat.test/orchard", 0)
	tybalt := f.online("tybalt@chat.test/street", 0)

	f.result(f.ask(romeo, "get", "", emptyVCard), emptyVCard)
	f.refused(f.ask(tybalt, "get", "romeo@chat.test", emptyVCard), "service-unavailable")
	f.refused(f.ask(tybalt, "get", "nobody@chat.test", emptyVCard), "service-unavailable")

	card := "<vCard xmlns='vcard-temp' ><FN>Romeo &amp; co</FN><N/></vCard>"
	f.result(f.ask(romeo, "set", "", " "+card+"\n"), "")
	f.result(f.ask(romeo, "get", "romeo@chat.test", emptyVCard), card)
	f.result(f.ask(tybalt, "get", "romeo@chat.test", emptyVCard), card)
	f.refused(f.ask(tybalt, "set", "romeo@chat.test", emptyVCard), "forbidden")
	f.refused(f.ask(romeo, "set", "", "<vCard xmlns='vcard-temp'><FN>"+strings.Repeat("x", maxVCard)+"</FN></vCard>"), "policy-violation")
	f.refused(f.ask(romeo, "set", "", "<vCard xmlns='urn:other'/>"), "service-unavailable")
	f.result(f.ask(romeo, "get", "", emptyVCard), card)

	f.send(romeo, "<iq id='q' type='set' xmlns:v='vcard-temp'><v:vCard><v:FN>R</v:FN></v:vCard></iq>")
	f.result(f.ask(tybalt, "get", "romeo@chat.test", emptyVCard),
		"<v:vCard xmlns='jabber:client' xmlns:v='vcard-temp'><v:FN>R</v:FN></v:vCard>")
}

func photo(image string) string {
	b := base64.StdEncoding.EncodeToString([]byte(image))
	return "<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>\n " + b[:4] + "\r\n\t" + b[4:] + "\n</BINVAL></PHOTO></vCard>"
}

const (
	hashOfImage = "0e76292794888d4f1fa75fb3aff4ca27c58f56a6" // sha1 of "image"
	hashOfOther = "d0941e68da8f38151ff86a61fc59f7c5cf9fcaa2" // sha1 of "other"
)

func update(hash string) string {
	return "<x xmlns='vcard-temp:x:update'><photo>" + hash + "</photo></x>"
}

func TestPhotoHash(t *testing.T) {
	for card, want := range map[string]string{
		photo("image"): hashOfImage,
		emptyVCard:     "",
		"<vCard xmlns='vcard-temp'><PHOTO><BINVAL/></PHOTO></vCard>":                 "",
		"<vCard xmlns='vcard-temp'><PHOTO><BINVAL>&#x21;!</BINVAL></PHOTO></vCard>":  "",
		"<vCard xmlns='vcard-temp'><PHOTO><EXTVAL>aW1hZ2U=</EXTVAL></PHOTO></vCard>": "",
		"<vCard xmlns='vcard-temp'><LOGO><BINVAL>aW1hZ2U=</BINVAL></LOGO></vCard>":   "",
		"<vCard": "",
	} {
		if got := photoHash([]byte(card)); got != want {
			t.Errorf("%s: got %q, want %q", card, got, want)
		}
	}
}

func TestAmend(t *testing.T) {
	f := newFixture(t)
	a := NewAvatar(f.Router, f.db, reannounce)
	NewVCard(f.Router, f.db, a)
	romeo := f.connect("romeo@chat.test/orchard")
	amend := func(inner string, typ stanza.Type) string {
		st := a.Amend(t.Context(), romeo, &stanza.Stanza{Kind: stanza.Presence, Type: typ, Inner: []byte(inner)})
		return string(st.Inner)
	}
	f.equal("no profile", []string{amend("<show>xa</show>", stanza.None)}, "<show>xa</show>")
	f.ask(romeo, "set", "", emptyVCard)
	f.equal("no picture", []string{amend("", stanza.None)}, update(""))
	f.ask(romeo, "set", "", photo("image"))
	f.equal("picture", []string{amend("<show>xa</show>", stanza.None)}, "<show>xa</show>"+update(hashOfImage))
	f.equal("unavailable", []string{amend("<show>xa</show>", stanza.Unavailable)}, "<show>xa</show>")
	own := "<x xmlns='vcard-temp:x:update'/>"
	f.equal("client's own", []string{amend(own, stanza.None)}, own)

	// The account is made anew behind our back: an initial presence looks again.
	if err := f.db.SetVCard(t.Context(), "romeo", nil); err != nil {
		t.Fatal(err)
	}
	f.equal("initial", []string{amend("", stanza.None)}, "")
}

func TestAvatarChange(t *testing.T) {
	f := newFixture(t)
	a := NewAvatar(f.Router, f.db, reannounce)
	NewVCard(f.Router, f.db, a)
	romeo := f.online("romeo@chat.test/orchard", 0)
	garden := f.online("romeo@chat.test/garden", 0)
	clever := f.online("romeo@chat.test/clever", 0)
	absent := f.connect("romeo@chat.test/absent")
	own := &stanza.Stanza{Kind: stanza.Presence, From: clever.jid, Inner: []byte(update(hashOfOther) + "<show>xa</show>")}
	clever.state.Presence.Store(own)
	garden.state.Presence.Store(&stanza.Stanza{Kind: stanza.Presence, From: garden.jid, Inner: []byte("<show>dnd</show>")})

	for _, step := range []struct{ card, hash string }{
		{photo("image"), hashOfImage}, {photo("other"), hashOfOther}, {emptyVCard, ""},
	} {
		f.send(romeo, "<iq id='q' type='set'>"+step.card+"</iq>")
		f.equal("setter", romeo.take(), "<presence from='romeo@chat.test/orchard'>"+update(step.hash)+"</presence>",
			"<iq from='romeo@chat.test' to='romeo@chat.test/orchard' id='q' type='result'/>")
		f.equal("other", garden.take(), "<presence from='romeo@chat.test/garden'><show>dnd</show>"+update(step.hash)+"</presence>")
		f.send(romeo, "<iq id='q' type='set'>"+step.card+"</iq>") // again: no news
		f.equal("other, no news", garden.take())
		romeo.take()
	}
	f.equal("announces by itself", clever.take())
	f.equal("not available", absent.take())
	if clever.state.Presence.Load() != own {
		t.Error("a client's own announcement was changed")
	}
}

func TestAvatarsAreBounded(t *testing.T) {
	f := newFixture(t)
	a := NewAvatar(f.Router, f.db, reannounce)
	for i := range maxAvatars + 10 {
		a.mu.Lock()
		a.enterLocked(fmt.Sprint("user", i), hashOfImage)
		a.mu.Unlock()
	}
	if len(a.hashes) != maxAvatars {
		t.Errorf("%d hashes", len(a.hashes))
	}
}

// changing changes a profile while it is being read.
type changing struct {
	store.VCards
	during func()
}

func (c changing) VCard(ctx context.Context, user string) ([]byte, error) {
	card, err := c.VCards.VCard(ctx, user)
	c.during()
	return card, err
}

func TestAmendDuringChange(t *testing.T) {
	f := newFixture(t)
	romeo := f.connect("romeo@chat.test/orchard")
	if err := f.db.SetVCard(t.Context(), "romeo", []byte(photo("image"))); err != nil {
		t.Fatal(err)
	}
	a := NewAvatar(f.Router, nil, reannounce)
	a.cards = changing{f.db, func() { a.changed(t.Context(), nil, romeo.jid, []byte(photo("other"))) }}
	st := a.Amend(t.Context(), romeo, &stanza.Stanza{Kind: stanza.Presence})
	f.equal("amended", []string{string(st.Inner)}, update(hashOfOther))
}
