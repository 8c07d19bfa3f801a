package xep

import (
	"context"
	"errors"
	"strings"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

const (
	nsPrivate = "jabber:iq:private"
	nsNotes   = "storage:rosternotes"

	// maxPrivate bounds the elements that one user keeps. The size of each
	// is bounded by that of a stanza.
	maxPrivate = 200
)

// Private keeps XML for clients (XEP-0049), for their own user only: a request
// to another account is not handled, hence <service-unavailable/> (XEP-0049
// §2.3), which does not tell whether the account exists.
type Private struct {
	store store.Private
	notes Notes
}

// Notes keeps the element with annotations, whose content the server knows (XEP-0145). roster provides it. Its
// methods block on the store; an error that is a *stanza.Error is for the client.
type Notes interface {
	NotesXML(ctx context.Context, user string) ([]byte, error)
	SetNotesXML(ctx context.Context, user string, element []byte) error
}

// NewPrivate registers the storage.
func NewPrivate(r *router.Router, s store.Private, notes Notes) *Private {
	p := &Private{s, notes}
	r.Handle(router.ToOwn, nsPrivate, "query", p.query)
	return p
}

// Features is the namespace.
func (*Private) Features() []string { return []string{nsPrivate} }

func (p *Private) query(ctx context.Context, req *router.Request) ([]byte, error) {
	q, err := stanza.RawPayload(req.Stanza)
	if err != nil {
		return nil, err
	}
	all, err := q.Children()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, stanza.ErrNotAcceptable // XEP-0049 §2.3
	}
	for _, e := range all {
		if reserved(e.Name.Space) {
			return nil, stanza.ErrNotAcceptable // XEP-0049 §3
		}
	}
	user := req.To.Local()
	if req.Type == stanza.Set {
		return nil, p.set(ctx, user, all)
	}
	if len(all) > 1 { // XEP-0049 §2.3: one at a time; it also bounds the answer
		return nil, stanza.ErrNotAcceptable
	}
	return p.get(ctx, user, all[0])
}

// get returns what was asked for empty, as it came, if nothing is stored.
func (p *Private) get(ctx context.Context, user string, e stanza.Element) ([]byte, error) {
	if e.Is(nsNotes, "storage") {
		found, err := p.notes.NotesXML(ctx, user)
		return query(nsPrivate, "", found), err
	}
	found, err := p.store.PrivateXML(ctx, user, e.Name.Space, e.Name.Local)
	if errors.Is(err, store.ErrNotFound) {
		found, err = e.Standalone(), nil
	}
	if err != nil {
		return nil, err
	}
	return query(nsPrivate, "", found), nil
}

// set stores the elements one by one: when one is refused those before it are
// stored.
func (p *Private) set(ctx context.Context, user string, all []stanza.Element) error {
	for _, e := range all {
		if e.Is(nsNotes, "storage") {
			if err := p.notes.SetNotesXML(ctx, user, e.Standalone()); err != nil {
				return err
			}
			continue
		}
		err := p.store.SetPrivateXML(ctx, user, e.Name.Space, e.Name.Local, e.Standalone(), maxPrivate)
		if errors.Is(err, store.ErrFull) {
			return stanza.ErrPolicyViolation.WithText("too many private elements")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reserved namespaces hold no private data (XEP-0049 §2.3). jabber:iq:private
// is among them: an element in it has no namespace of its own.
func reserved(space string) bool {
	return space == "" || space == nsVCard || strings.HasPrefix(space, "jabber:") ||
		strings.HasPrefix(space, "http://jabber.org/")
}
