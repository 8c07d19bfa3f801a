package xep

import (
	"context"
	"errors"
	"hash/maphash"
	"strconv"
	"sync"
	"sync/atomic"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

const (
	nsBlocking = "urn:xmpp:blocking"

	// maxBlocked bounds the addresses that one user blocks.
	maxBlocked = 1000
)

// Blocking keeps block lists and gives them to the sessions (XEP-0191). The
// router enforces them; subscriptions stay as they are ("polite
// blocking", XEP-0191 §4).
type Blocking struct {
	r      *router.Router
	lists  store.Blocklists
	tell   BlocklistChanged
	pushes atomic.Uint64 // counts pushes, for their ids

	seed maphash.Seed
	mu   [64]sync.Mutex // by user: held while a list changes and its consequences are queued
}

// BlocklistChanged sends unavailable presence to those who see the user's
// presence and are blocked now, and the current one to those who are no longer
// blocked (XEP-0191 §3.3, §3.4). The sessions have the new list already. roster
// provides it. It may block on the store.
type BlocklistChanged func(ctx context.Context, b *router.Batch, user stanza.JID, before, after *router.Blocklist) error

// NewBlocking registers the blocking command.
func NewBlocking(r *router.Router, lists store.Blocklists, tell BlocklistChanged) *Blocking {
	b := &Blocking{r: r, lists: lists, tell: tell, seed: maphash.MakeSeed()}
	r.Handle(router.ToOwn, nsBlocking, "blocklist", get(b.list))
	r.Handle(router.ToOwn, nsBlocking, "block", set(b.block))
	r.Handle(router.ToOwn, nsBlocking, "unblock", set(b.unblock))
	return b
}

// Features is XEP-0191 §3.1.
func (*Blocking) Features() []string { return []string{nsBlocking} }

// LoadBlocklist gives a new session its user's list. To be called after the
// session has entered the table, so that it misses no change, and before its
// client learns that it is bound.
func (b *Blocking) LoadBlocklist(ctx context.Context, s router.Session) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	mu := b.lock(s.JID())
	mu.Lock()
	defer mu.Unlock()
	l, err := b.Blocklist(ctx, s.JID().Local())
	if err != nil {
		return err
	}
	s.State().Blocked.Store(l)
	return nil
}

// Reload gives the user's sessions on this node the list as it is in the store, where another node has changed it, and tells
// those concerned as a change here does. It blocks on the store.
func (b *Blocking) Reload(ctx context.Context, user stanza.JID) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	mu := b.lock(user)
	mu.Lock()
	defer mu.Unlock()
	rows := b.r.Table.Local(user)
	if len(rows) == 0 {
		return nil
	}
	after, err := b.Blocklist(ctx, user.Local())
	if err != nil {
		return err
	}
	before := rows[0].Session.State().Blocked.Load()
	for _, row := range rows {
		row.Session.State().Blocked.Store(after)
	}
	var batch router.Batch
	defer batch.Flush()
	return b.tell(ctx, &batch, user, before, after)
}

// Blocklist reads a user's list from the store.
func (b *Blocking) Blocklist(ctx context.Context, user string) (*router.Blocklist, error) {
	jids, err := b.lists.Blocklist(ctx, user)
	if err != nil {
		return nil, err
	}
	return router.NewBlocklist(jids), nil
}

func (b *Blocking) lock(user stanza.JID) *sync.Mutex {
	return &b.mu[maphash.String(b.seed, user.Local())%uint64(len(b.mu))]
}

// list is XEP-0191 §3.2. Who has asked gets pushes from then on.
func (b *Blocking) list(ctx context.Context, req *router.Request) ([]byte, error) {
	if req.Session != nil { // first: a change meanwhile is pushed rather than lost
		b.r.Table.SetFlags(req.Session, router.BlockPushes, 0)
	}
	jids, err := b.lists.Blocklist(ctx, req.To.Local())
	if err != nil {
		return nil, err
	}
	return blockItems("blocklist", jids), nil
}

// block is XEP-0191 §3.3.
func (b *Blocking) block(ctx context.Context, req *router.Request) ([]byte, error) {
	jids, err := parseBlockItems(req.Stanza)
	if err != nil {
		return nil, err
	}
	if len(jids) == 0 {
		return nil, stanza.ErrBadRequest
	}
	return nil, b.add(ctx, req.Batch, req.To, jids)
}

// Block adds addresses to a user's list, as a client of the user's does: with the same pushes and presence. An
// address without a resource, or without a localpart, covers all below it (XEP-0191 §6). Over 1,000
// addresses the error is a *stanza.Error and none is added. It blocks on the store.
func (b *Blocking) Block(ctx context.Context, user stanza.JID, jids []stanza.JID) error {
	if len(jids) == 0 {
		return nil
	}
	var batch router.Batch
	defer batch.Flush()
	return b.add(ctx, &batch, user.Bare(), texts(jids))
}

func (b *Blocking) add(ctx context.Context, batch *router.Batch, user stanza.JID, jids []string) error {
	err := b.change(ctx, batch, user, blockItems("block", jids), func() error {
		return b.lists.Block(ctx, user.Local(), jids, maxBlocked)
	})
	if errors.Is(err, store.ErrFull) {
		return stanza.ErrPolicyViolation.WithText("too many blocked addresses")
	}
	return err
}

// Unblock takes addresses off a user's list, as a client of the user's does; those that are not on it do no
// harm. It blocks on the store.
func (b *Blocking) Unblock(ctx context.Context, user stanza.JID, jids []stanza.JID) error {
	if len(jids) == 0 {
		return nil // in the protocol that is all of them
	}
	var batch router.Batch
	defer batch.Flush()
	return b.remove(ctx, &batch, user.Bare(), texts(jids))
}

// Blocked is a user's list, in byte order. It blocks on the store.
func (b *Blocking) Blocked(ctx context.Context, user stanza.JID) ([]stanza.JID, error) {
	list, err := b.lists.Blocklist(ctx, user.Local())
	if err != nil {
		return nil, err
	}
	jids := make([]stanza.JID, 0, len(list))
	for _, text := range list {
		if j, err := stanza.ParseJID(text); err == nil {
			jids = append(jids, j)
		}
	}
	return jids, nil
}

func texts(jids []stanza.JID) []string {
	all := make([]string, len(jids))
	for i, j := range jids {
		all[i] = j.String()
	}
	return all
}

// unblock is XEP-0191 §3.4, and without items §3.5.
func (b *Blocking) unblock(ctx context.Context, req *router.Request) ([]byte, error) {
	jids, err := parseBlockItems(req.Stanza)
	if err != nil {
		return nil, err
	}
	return nil, b.remove(ctx, req.Batch, req.To, jids)
}

func (b *Blocking) remove(ctx context.Context, batch *router.Batch, user stanza.JID, jids []string) error {
	return b.change(ctx, batch, user, blockItems("unblock", jids), func() error {
		return b.lists.Unblock(ctx, user.Local(), jids)
	})
}

// change writes the list, replaces it in all of the user's sessions, pushes
// what changed, and lets the contacts concerned see the user go or come.
func (b *Blocking) change(ctx context.Context, batch *router.Batch, user stanza.JID, push []byte, write func() error) error {
	mu := b.lock(user)
	mu.Lock()
	defer mu.Unlock()
	before, err := b.Blocklist(ctx, user.Local())
	if err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	after, err := b.Blocklist(ctx, user.Local())
	if err != nil {
		return err
	}
	b.r.Table.Elsewhere.Stale(user, router.KeptBlocklist)
	for _, row := range b.r.Table.Rows(user) {
		if !row.Remote {
			row.Session.State().Blocked.Store(after)
		}
		if row.Flags&router.BlockPushes != 0 {
			id := strconv.AppendUint([]byte("block"), b.pushes.Add(1), 10)
			row.Session.Send(batch, &stanza.Stanza{
				Kind: stanza.IQ, Type: stanza.Set, To: row.Session.JID(), ID: id, Inner: push,
			})
		}
	}
	return b.tell(ctx, batch, user, before, after)
}

func parseBlockItems(st *stanza.Stanza) ([]string, error) {
	p, err := stanza.Payload[struct {
		Items []struct {
			JID string `xml:"jid,attr"`
		} `xml:"urn:xmpp:blocking item"`
		Other []struct{} `xml:",any"` // must not pass for "no items", which unblocks all
	}](st)
	if err != nil {
		return nil, err
	}
	if len(p.Other) > 0 {
		return nil, stanza.ErrBadRequest
	}
	if len(p.Items) > maxBlocked {
		return nil, stanza.ErrPolicyViolation.WithText("too many blocked addresses")
	}
	var jids []string
	for _, item := range p.Items {
		j, err := stanza.ParseJID(item.JID)
		if err != nil {
			return nil, stanza.ErrJIDMalformed
		}
		jids = append(jids, j.String())
	}
	return jids, nil
}

func blockItems(verb string, jids []string) []byte {
	b := append([]byte("<"), verb...)
	b = append(b, " xmlns='"+nsBlocking+"'>"...)
	for _, j := range jids {
		b = append(b, "<item jid='"...)
		b = stanza.AppendEscaped(b, j)
		b = append(b, "'/>"...)
	}
	b = append(b, "</"...)
	b = append(b, verb...)
	return append(b, '>')
}
