package xep

import (
	"context"
	"slices"

	"chatd/router"
	"chatd/stanza"
)

const (
	nsDiscoInfo  = "http://jabber.org/protocol/disco#info"
	nsDiscoItems = "http://jabber.org/protocol/disco#items"
)

// An Identity says what an entity is (XEP-0030 §3.1).
type Identity struct{ Category, Type, Name string }

// An Item is an entity that belongs to the server (XEP-0030 §4.1).
type Item struct{ JID, Name string }

// Disco answers service discovery (XEP-0030) for the server and for accounts,
// and makes the server's capabilities (XEP-0115). It is immutable once stanzas are routed.
type Disco struct {
	// Items is the server's, say the address of its rooms (XEP-0045 §6.1).
	Items []Item

	table   *router.Table
	friends Friends
	host    []byte // identities and features, ready to be sent
	account []byte
	node    string // caps node: URI#ver
	caps    []byte
}

// NewDisco registers service discovery. software is a URI that names the
// server software (XEP-0115 §4); host and account are the features of the
// server and of an account besides service discovery itself.
func NewDisco(r *router.Router, friends Friends, software string, host, account []string) *Disco {
	identities := []Identity{{"server", "im", "chatd"}}
	host = distinct(append([]string{nsDiscoInfo, nsDiscoItems, nsCaps}, host...))
	account = distinct(append([]string{nsDiscoInfo, nsDiscoItems}, account...))
	ver := capsVer(identities, host)
	d := &Disco{
		table:   r.Table,
		friends: friends,
		host:    appendInfo(nil, identities, host),
		account: appendInfo(nil, []Identity{{"account", "registered", ""}}, account),
		node:    software + "#" + ver,
		caps:    appendCaps(nil, software, ver),
	}
	r.Handle(router.ToHost, nsDiscoInfo, "query", get(d.hostInfo))
	r.Handle(router.ToHost, nsDiscoItems, "query", get(d.hostItems))
	r.Handle(router.ToOwn|router.ToAccount, nsDiscoInfo, "query", get(d.accountInfo))
	r.Handle(router.ToOwn|router.ToAccount, nsDiscoItems, "query", get(d.accountItems))
	return d
}

func distinct(features []string) []string {
	slices.Sort(features)
	return slices.Compact(features)
}

type discoQuery struct {
	Node string `xml:"node,attr"`
}

func (d *Disco) hostInfo(_ context.Context, req *router.Request) ([]byte, error) {
	q, err := stanza.Payload[discoQuery](req.Stanza)
	if err != nil {
		return nil, err
	}
	if q.Node != "" && q.Node != d.node { // XEP-0115 §6.2
		return nil, stanza.ErrItemNotFound // XEP-0030 §7
	}
	return query(nsDiscoInfo, q.Node, d.host), nil
}

func (d *Disco) hostItems(_ context.Context, req *router.Request) ([]byte, error) {
	q, err := stanza.Payload[discoQuery](req.Stanza)
	if err != nil {
		return nil, err
	}
	if q.Node != "" {
		return nil, stanza.ErrItemNotFound
	}
	var items []byte
	for _, i := range d.Items {
		items = append(items, "<item jid='"+stanza.Escape(i.JID)+"' name='"+stanza.Escape(i.Name)+"'/>"...)
	}
	return query(nsDiscoItems, "", items), nil // XEP-0030 §4.1: no items, an empty query
}

func (d *Disco) accountInfo(ctx context.Context, req *router.Request) ([]byte, error) {
	if err := d.permit(ctx, req); err != nil {
		return nil, err
	}
	return query(nsDiscoInfo, "", d.account), nil
}

// accountItems is the account's available resources (XEP-0030 §4.1).
func (d *Disco) accountItems(ctx context.Context, req *router.Request) ([]byte, error) {
	if err := d.permit(ctx, req); err != nil {
		return nil, err
	}
	var items []byte
	for _, row := range d.table.Rows(req.To) {
		if row.Available {
			items = append(items, "<item jid='"...)
			items = stanza.AppendEscaped(items, row.Session.JID().String())
			items = append(items, "'/>"...)
		}
	}
	return query(nsDiscoItems, "", items), nil
}

// permit lets only those query an account who see its presence (XEP-0030 §8).
// Others get what they get for an account that does not exist, and that is by
// RFC 6121 §8.5.1 the same error for every IQ, also for disco#items.
func (d *Disco) permit(ctx context.Context, req *router.Request) error {
	if !req.Own {
		sees, err := d.friends.SeesPresence(ctx, req.To, req.From)
		if err != nil {
			return err
		}
		if !sees {
			return stanza.ErrServiceUnavailable
		}
	}
	q, err := stanza.Payload[discoQuery](req.Stanza)
	if err == nil && q.Node != "" {
		err = stanza.ErrItemNotFound
	}
	return err
}

// query mirrors the node of the request (XEP-0030 §3.2).
func query(space, node string, content []byte) []byte {
	b := append([]byte("<query xmlns='"), space...)
	if node != "" {
		b = append(b, "' node='"...)
		b = stanza.AppendEscaped(b, node)
	}
	if len(content) == 0 {
		return append(b, "'/>"...)
	}
	b = append(b, "'>"...)
	b = append(b, content...)
	return append(b, "</query>"...)
}

func appendInfo(b []byte, identities []Identity, features []string) []byte {
	for _, i := range identities {
		b = append(b, "<identity category='"...)
		b = stanza.AppendEscaped(b, i.Category)
		b = append(b, "' type='"...)
		b = stanza.AppendEscaped(b, i.Type)
		if i.Name != "" {
			b = append(b, "' name='"...)
			b = stanza.AppendEscaped(b, i.Name)
		}
		b = append(b, "'/>"...)
	}
	for _, f := range features {
		b = append(b, "<feature var='"...)
		b = stanza.AppendEscaped(b, f)
		b = append(b, "'/>"...)
	}
	return b
}
