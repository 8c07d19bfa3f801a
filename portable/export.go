package portable

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"time"

	"chatd/stanza"
	"chatd/store"
)

// exportPage is how many names or messages are read at once.
const exportPage = 200

// Export writes all accounts of a store as one file, and returns how many. What is kept under names without an account, tokens
// and rooms are not in it.
func Export(ctx context.Context, from store.Store, domain string, to io.Writer) (users int, err error) {
	e := &exporter{from: from, domain: domain, w: bufio.NewWriter(to)}
	e.text("<?xml version='1.0' encoding='UTF-8'?>\n<server-data xmlns='" + nsPIE + "'>\n<host jid='" + stanza.Escape(domain) + "'>\n")
	for after := ""; ; {
		names, err := from.ListAccounts(ctx, after, exportPage)
		if err != nil {
			return users, err
		}
		if len(names) == 0 {
			break
		}
		for _, name := range names {
			if err := e.user(ctx, name); err != nil {
				return users, fmt.Errorf("user %q: %w", name, err)
			}
			users++
		}
		after = names[len(names)-1]
	}
	e.text("</host>\n</server-data>\n")
	return users, e.w.Flush()
}

type exporter struct {
	from   store.Store
	domain string
	w      *bufio.Writer // keeps its first error
}

func (e *exporter) text(s string) { e.w.WriteString(s) }

// raw writes what a store keeps as XML; space is the namespace that it is in without saying so.
func (e *exporter) raw(xml []byte, space string, change func(*element)) error {
	found, err := parseElement(xml, space)
	if err != nil {
		return fmt.Errorf("what is stored cannot be read: %w", err)
	}
	if change != nil {
		change(found)
	}
	e.w.Write(found.append(nil, nsPIE))
	return nil
}

func (e *exporter) user(ctx context.Context, name string) error {
	r, err := e.from.Record(ctx, name)
	if err != nil {
		return err
	}
	e.text("<user name='" + stanza.Escape(name) + "'>")
	if r.Account != nil { // it may have gone meanwhile
		e.account(&r)
	}
	e.roster(r.Roster.Items)
	e.blocked(r.Blocked)
	for _, i := range r.Roster.Items {
		if err := e.request(&i); err != nil {
			return err
		}
	}
	if r.Privacy != (store.Privacy{}) {
		e.text("<privacy xmlns='" + nsSettings + "' messages='" + r.Privacy.Messages.String() + "' requests='" + r.Privacy.Requests.String() + "'/>")
	}
	if len(r.VCard) > 0 {
		if err := e.raw(r.VCard, nsPIE, nil); err != nil {
			return err
		}
	}
	if err := e.private(&r); err != nil {
		return err
	}
	if err := e.messages(ctx, name); err != nil {
		return err
	}
	_, err = io.WriteString(e.w, "</user>\n")
	return err
}

// account is XEP-0227 §4.3, and what the format has no place for.
func (e *exporter) account(r *store.Record) {
	for _, c := range r.Account.Credentials {
		encode := base64.StdEncoding.EncodeToString
		e.text("<scram-credentials xmlns='" + nsSCRAM + "' mechanism='" + stanza.Escape(c.Mechanism) + "'><iter-count>" + strconv.Itoa(c.Iterations) +
			"</iter-count><salt>" + encode(c.Salt) + "</salt><server-key>" + encode(c.ServerKey) + "</server-key><stored-key>" + encode(c.StoredKey) +
			"</stored-key></scram-credentials>")
	}
	e.text("<account xmlns='" + nsAccount + "' created='" + r.Account.Created.UTC().Format(time.RFC3339) + "' disabled='" + strconv.FormatBool(r.Account.Disabled) + "'>")
	if l := r.LastActivity; l != nil {
		e.text("<last at='" + l.At.UTC().Format(time.RFC3339) + "'>" + stanza.Escape(l.Status) + "</last>")
	}
	e.text("</account>")
}

// roster is XEP-0227 §4.4.
func (e *exporter) roster(items []store.RosterItem) {
	e.text("<query xmlns='" + nsRoster + "'>")
	for _, i := range items {
		if i.Hidden {
			continue
		}
		e.text("<item jid='" + stanza.Escape(i.JID) + "' subscription='" + i.Sub.String() + "'")
		if i.Name != "" {
			e.text(" name='" + stanza.Escape(i.Name) + "'")
		}
		if i.Ask {
			e.text(" ask='subscribe'")
		}
		if i.Approved {
			e.text(" approved='true'")
		}
		// What the format has no place for, in a namespace of ours.
		if !i.Created.IsZero() {
			e.text(" xmlns:c='" + nsAccount + "' c:created='" + i.Created.UTC().Format(time.RFC3339) + "'")
			if i.Ask && !i.PendingIn && i.Message != "" {
				e.text(" c:message='" + stanza.Escape(i.Message) + "'")
			}
		}
		e.text(">")
		for _, group := range i.Groups {
			e.text("<group>" + stanza.Escape(group) + "</group>")
		}
		e.text("</item>")
	}
	e.text("</query>")
}

// request is XEP-0227 §4.9.
func (e *exporter) request(i *store.RosterItem) error {
	if !i.PendingIn {
		return nil
	}
	if len(i.Request) > 0 {
		return e.raw(i.Request, stanza.NSClient, nil)
	}
	e.text("<presence xmlns='" + stanza.NSClient + "' type='subscribe' from='" + stanza.Escape(i.JID) + "'>")
	if i.Message != "" {
		e.text("<status>" + stanza.Escape(i.Message) + "</status>")
	}
	e.text("</presence>")
	return nil
}

// blocked is XEP-0227 §4.8: a default list that denies all to some.
func (e *exporter) blocked(jids []string) {
	if len(jids) == 0 {
		return
	}
	e.text("<query xmlns='" + nsLists + "'><default name='blocked'/><list name='blocked'>")
	for n, jid := range jids {
		e.text("<item type='jid' value='" + stanza.Escape(jid) + "' action='deny' order='" + strconv.Itoa(n+1) + "'/>")
	}
	e.text("<item action='allow' order='" + strconv.Itoa(len(jids)+1) + "'/></list></query>")
}

// private is XEP-0227 §4.6, with the notes as XEP-0145 has them.
func (e *exporter) private(r *store.Record) error {
	if len(r.Private) == 0 && len(r.Notes) == 0 {
		return nil
	}
	e.text("<query xmlns='" + nsPrivate + "'>")
	for _, p := range r.Private {
		found, err := parseElement(p.XML, nsPIE)
		if err != nil {
			return fmt.Errorf("what is stored in %s cannot be read: %w", p.Space, err)
		}
		e.w.Write(found.append(nil, nsPrivate))
	}
	if len(r.Notes) > 0 {
		e.text("<storage xmlns='" + nsNotes + "'>")
		for _, n := range r.Notes {
			e.text("<note jid='" + stanza.Escape(n.JID) + "'" + dateAttr("cdate", n.Created) + dateAttr("mdate", n.Modified) + ">" + stanza.Escape(n.Text) + "</note>")
		}
		e.text("</storage>")
	}
	e.text("</query>")
	return nil
}

func dateAttr(name string, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " " + name + "='" + t.UTC().Format(time.RFC3339) + "'"
}

// messages is XEP-0227 §4.5.
func (e *exporter) messages(ctx context.Context, name string) error {
	page, err := e.from.OfflinePage(ctx, name, 0, exportPage)
	if err != nil || len(page) == 0 {
		return err
	}
	e.text("<offline-messages>")
	for len(page) > 0 {
		for _, m := range page {
			err := e.raw(m.Stanza, stanza.NSClient, func(found *element) {
				found.content = append(found.content, e.delay(m.Stored))
			})
			if err != nil {
				return err
			}
		}
		if page, err = e.from.OfflinePage(ctx, name, page[len(page)-1].Seq, exportPage); err != nil {
			return err
		}
	}
	e.text("</offline-messages>")
	return nil
}

// delay is XEP-0203 §2.
func (e *exporter) delay(stored time.Time) *element {
	plain := func(name, value string) xml.Attr { return xml.Attr{Name: xml.Name{Local: name}, Value: value} }
	return &element{StartElement: xml.StartElement{Name: xml.Name{Space: nsDelay, Local: "delay"},
		Attr: []xml.Attr{plain("from", e.domain), plain("stamp", stored.UTC().Format("2006-01-02T15:04:05.000Z"))}}}
}
