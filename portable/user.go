package portable

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatd/auth"
	"chatd/stanza"
	"chatd/store"
)

// maxUser bounds all that is kept of one user in memory, in bytes.
const maxUser = 32 << 20

// maxRequest bounds a subscription request that is kept whole, in bytes, and maxAsked its text.
const (
	maxRequest = 4096
	maxAsked   = 500
)

// A user is what a file says of one.
type user struct {
	record   store.Record
	messages []store.OfflineMessage // without numbers
	password string
	disabled bool
	skipped  map[string]int // what is not kept, by kind

	hosts hosts
	jid   stanza.JID
	items map[string]*store.RosterItem
	now   time.Time
	size  int
	fault error // why the user is refused
}

var (
	errNoName  = errors.New("a user without a name that is valid in an address")
	errBigUser = fmt.Errorf("more than %d bytes", maxUser)
	errTwice   = errors.New("the same credentials twice")
)

// readUser reads a <user/> to its end. The error is one of the file; what is wrong with the user is in its fault.
func readUser(p *parser, start xml.StartElement, h hosts, now time.Time) (*user, error) {
	u := &user{hosts: h, now: now.UTC(), skipped: make(map[string]int), items: make(map[string]*store.RosterItem)}
	name := attr(start, "name")
	j, err := stanza.ParseJID(name + "@" + h.domain)
	if err != nil || name == "" || strings.ContainsAny(name, "@/") {
		u.fault = errNoName
		return u, p.skip()
	}
	u.jid, u.record.User, u.password = j, j.Local(), attr(start, "password")
	u.record.Account = &store.Account{User: j.Local(), Created: u.now.Truncate(time.Second)}
	if err := p.children(func(child xml.StartElement) error { return u.child(p, child) }); err != nil {
		return nil, err
	}
	for _, item := range u.items {
		u.record.Roster.Items = append(u.record.Roster.Items, *item)
	}
	slices.SortFunc(u.record.Roster.Items, func(a, b store.RosterItem) int { return cmp.Compare(a.JID, b.JID) })
	slices.Sort(u.record.Blocked)
	u.record.Blocked = slices.Compact(u.record.Blocked)
	if u.password == name {
		u.password = "" // what Openfire's plugin writes when it does not know the password: everybody could log in with it
	}
	return u, nil
}

func (u *user) refuse(err error) {
	if u.fault == nil {
		u.fault = err
	}
}

func (u *user) skip(kind string) { u.skipped[kind]++ }

// child is a table of what there can be in a <user/>.
func (u *user) child(p *parser, start xml.StartElement) error {
	is := func(space, local string) bool { return start.Name.Space == space && start.Name.Local == local }
	switch {
	case u.fault != nil:
		return p.skip()
	case isPIE(start.Name.Space) && start.Name.Local == "offline-messages":
		return p.children(func(m xml.StartElement) error { return u.whole(p, m, "messages", u.message) })
	case is(nsPrivate, "query"):
		return p.children(func(e xml.StartElement) error { return u.whole(p, e, "private elements", u.private) })
	case is(nsRoster, "query"):
		return p.children(func(i xml.StartElement) error { return u.whole(p, i, "roster items", u.item) })
	case is(nsSCRAM, "scram-credentials"):
		return u.whole(p, start, "credentials", u.credentials)
	case is(nsVCard, "vCard"):
		return u.whole(p, start, "vCards", u.vCard)
	case is(nsLists, "query"):
		return u.whole(p, start, "privacy lists", u.lists)
	case is(nsBlocking, "blocklist"):
		return u.whole(p, start, "block lists", u.blocklist)
	case (start.Name.Space == stanza.NSClient || isPIE(start.Name.Space)) && start.Name.Local == "presence":
		return u.whole(p, start, "presences", u.presence)
	case is(nsSettings, "privacy"):
		return u.whole(p, start, "privacy settings", u.settings)
	case is(nsAccount, "account"):
		return u.whole(p, start, "account", u.account)
	}
	u.skip(start.Name.Local + " in " + start.Name.Space)
	return p.skip()
}

// whole reads an element into memory for take. One that is too big is not kept; too many refuse the user.
func (u *user) whole(p *parser, start xml.StartElement, kind string, take func(*element)) error {
	if u.size > maxUser {
		u.refuse(errBigUser)
		return p.skip()
	}
	before := p.InputOffset()
	e, err := p.element(start)
	if err == errBig {
		u.skip(fmt.Sprintf("%s over %d bytes", kind, maxElement))
		return nil
	}
	if err != nil {
		return err
	}
	u.size += int(p.InputOffset()-before) + tagSize(start)
	take(e)
	return nil
}

// account is our own element.
func (u *user) account(e *element) {
	u.disabled = e.attr("disabled") == "true"
	if t, err := time.Parse(time.RFC3339, e.attr("created")); err == nil {
		u.record.Account.Created = t.UTC().Truncate(time.Second)
	}
	for _, c := range e.elements() {
		if t, err := time.Parse(time.RFC3339, c.attr("at")); err == nil && c.is(nsAccount, "last") {
			u.record.LastActivity = &store.LastActivity{At: t.UTC().Truncate(time.Second), Status: c.text()}
		}
	}
}

// settings is docs/privacy.md.
func (u *user) settings(e *element) {
	for a := store.Everyone; a <= store.Nobody; a++ {
		if e.attr("messages") == a.String() {
			u.record.Privacy.Messages = a
		}
		if e.attr("requests") == a.String() && a != store.Friends {
			u.record.Privacy.Requests = a
		}
	}
}

// credentials is XEP-0227 §4.3.
func (u *user) credentials(e *element) {
	c := store.Credential{Mechanism: e.attr("mechanism")}
	var fault error
	for _, part := range e.elements() {
		text := strings.TrimSpace(part.text())
		switch part.Name.Local {
		case "iter-count":
			c.Iterations, fault = strconv.Atoi(text)
		case "salt":
			c.Salt, fault = base64.StdEncoding.DecodeString(text)
		case "server-key":
			c.ServerKey, fault = base64.StdEncoding.DecodeString(text)
		case "stored-key":
			c.StoredKey, fault = base64.StdEncoding.DecodeString(text)
		}
		if fault != nil {
			u.refuse(fmt.Errorf("%s of %s: %w", part.Name.Local, c.Mechanism, fault))
			return
		}
	}
	size := auth.KeySize(c.Mechanism)
	if size == 0 {
		u.skip("credentials of " + c.Mechanism)
		return
	}
	decodeAgain(&c, size)
	switch {
	case len(c.StoredKey) != size || len(c.ServerKey) != size || len(c.Salt) == 0 || c.Iterations < 1:
		u.refuse(fmt.Errorf("credentials of %s that are not complete", c.Mechanism))
	case slices.ContainsFunc(u.record.Account.Credentials, func(o store.Credential) bool { return o.Mechanism == c.Mechanism }):
		u.refuse(errTwice)
	default:
		u.record.Account.Credentials = append(u.record.Account.Credentials, c)
	}
}

// decodeAgain is for ejabberd 23.01, which encodes what is encoded already.
func decodeAgain(c *store.Credential, size int) {
	if len(c.StoredKey) == size {
		return
	}
	parts := [...]*[]byte{&c.StoredKey, &c.ServerKey, &c.Salt}
	var decoded [len(parts)][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.StdEncoding.DecodeString(string(*part)); err != nil {
			return
		}
	}
	if len(decoded[0]) == size && len(decoded[1]) == size {
		for i, part := range parts {
			*part = decoded[i]
		}
	}
}

// itemOf is the roster item of a contact; nil for the user itself and for what is no address.
func (u *user) itemOf(jid string) *store.RosterItem {
	j, err := u.hosts.jid(jid)
	if err != nil || j.Bare() == u.jid {
		u.skip("roster items of nobody else")
		return nil
	}
	key := j.Bare().String()
	if u.items[key] == nil {
		u.items[key] = &store.RosterItem{JID: key, Hidden: true, Created: u.now.Truncate(time.Second)}
	}
	return u.items[key]
}

// item is XEP-0227 §4.4.
func (u *user) item(e *element) {
	subscription := e.attr("subscription")
	if e.Name.Local != "item" || subscription == "remove" {
		u.skip("roster items that are none")
		return
	}
	item := u.itemOf(e.attr("jid"))
	if item == nil {
		return
	}
	item.Hidden, item.Name = false, e.attr("name")
	for s := store.SubNone; s <= store.SubBoth; s++ {
		if s.String() == subscription {
			item.Sub = s
		}
	}
	item.Ask = e.attr("ask") == "subscribe" && item.Sub != store.SubTo && item.Sub != store.SubBoth
	item.Approved = e.attr("approved") == "true" || e.attr("approved") == "1"
	if item.Sub == store.SubFrom || item.Sub == store.SubBoth {
		item.PendingIn, item.Request, item.Message = false, nil, ""
	}
	for _, a := range e.Attr {
		if t, err := time.Parse(time.RFC3339, a.Value); err == nil && a.Name == (xml.Name{Space: nsAccount, Local: "created"}) {
			item.Created = t.UTC().Truncate(time.Second)
		}
		if item.Ask && !item.PendingIn && a.Name == (xml.Name{Space: nsAccount, Local: "message"}) && len(a.Value) <= maxAsked {
			item.Message = a.Value
		}
	}
	for _, group := range e.elements() {
		text := group.text()
		if group.Name.Local == "group" && text != "" && !slices.Contains(item.Groups, text) {
			item.Groups = append(item.Groups, text)
		}
	}
}

// presence is XEP-0227 §4.9.
func (u *user) presence(e *element) {
	if e.attr("type") != "subscribe" {
		u.skip("presences that are no request")
		return
	}
	item := u.itemOf(e.attr("from"))
	if item == nil || item.Sub == store.SubFrom || item.Sub == store.SubBoth {
		return
	}
	item.PendingIn = true
	e.setAttr("from", item.JID)
	e.setAttr("to", u.jid.String())
	e.moveTo(stanza.NSClient)
	for _, c := range e.elements() {
		if text := c.text(); c.is(stanza.NSClient, "status") && len(text) <= maxAsked {
			item.Message = text
		}
	}
	if raw := e.append(nil, stanza.NSClient); len(raw) <= maxRequest {
		if _, err := stanza.Parse(raw); err == nil {
			item.Request = raw
		}
	}
}

// vCard is XEP-0227 §4.7.
func (u *user) vCard(e *element) {
	e.moveTo(nsVCard) // Openfire's plugin may leave the children without a namespace
	raw := e.append(nil, "")
	if !wellFormed(raw) {
		u.skip("vCards that are not valid")
		return
	}
	u.record.VCard = raw
}

// private is XEP-0227 §4.6.
func (u *user) private(e *element) {
	if e.is(nsNotes, "storage") {
		u.notes(e)
		return
	}
	if isPIE(e.Name.Space) || strings.HasPrefix(e.Name.Space, "jabber:") {
		u.skip("private elements in no namespace of their own") // XEP-0049 §2.3
		return
	}
	kept := store.PrivateElement{Space: e.Name.Space, Local: e.Name.Local, XML: e.append(nil, "")}
	if !wellFormed(kept.XML) {
		u.skip("private elements that are not valid")
		return
	}
	same := func(o store.PrivateElement) bool { return o.Space == kept.Space && o.Local == kept.Local }
	u.record.Private = append(slices.DeleteFunc(u.record.Private, same), kept)
}

// notes is XEP-0145 §2.
func (u *user) notes(e *element) {
	seen := make(map[string]bool)
	for _, n := range e.elements() {
		j, err := u.hosts.jid(n.attr("jid"))
		text := strings.TrimSpace(n.text())
		if err != nil || text == "" || seen[j.Bare().String()] {
			continue
		}
		seen[j.Bare().String()] = true
		u.record.Notes = append(u.record.Notes, store.Note{JID: j.Bare().String(), Text: text, Created: date(n.attr("cdate")), Modified: date(n.attr("mdate"))})
	}
	slices.SortFunc(u.record.Notes, func(a, b store.Note) int { return cmp.Compare(a.JID, b.JID) })
}

// date is zero for what is none.
func date(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

// message is XEP-0227 §4.5.
func (u *user) message(e *element) {
	e.moveTo(stanza.NSClient)
	if !e.is(stanza.NSClient, "message") {
		u.skip("messages that are none")
		return
	}
	for _, name := range [...]string{"from", "to"} {
		if text := e.attr(name); text != "" {
			j, err := u.hosts.jid(text)
			if err != nil {
				u.skip("messages with an address that is none")
				return
			}
			e.setAttr(name, j.String())
		}
	}
	stored := u.takeDelay(e)
	raw := e.append(nil, stanza.NSClient)
	if _, err := stanza.Parse(raw); err != nil {
		u.skip("messages that are not valid")
		return
	}
	u.messages = append(u.messages, store.OfflineMessage{Stored: stored, Stanza: bytes.Clone(raw)})
}

// takeDelay removes what the other server says of when it took the message, which is said anew when it is handed over.
func (u *user) takeDelay(e *element) time.Time {
	stored := u.now
	e.content = slices.DeleteFunc(e.content, func(c any) bool {
		d, ok := c.(*element)
		if !ok || !d.is(nsDelay, "delay") && !d.is(nsOldDelay, "x") {
			return false
		}
		if from := d.attr("from"); from != "" && !u.hosts.mine(from) {
			return false
		}
		t, err := time.Parse(time.RFC3339, d.attr("stamp"))
		if err != nil {
			t, err = time.Parse("20060102T15:04:05", d.attr("stamp")) // XEP-0091 §2
		}
		if err == nil {
			stored = t.UTC()
		}
		return err == nil
	})
	return stored.Truncate(time.Millisecond)
}
