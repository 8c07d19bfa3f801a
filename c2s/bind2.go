package c2s

import (
	"bytes"
	"strings"

	"chatd/router"
	"chatd/stanza"
	"chatd/xmlstream"
)

// nsBind2 is Bind 2 (XEP-0386).
const nsBind2 = "urn:xmpp:bind:0"

// maxTag is in bytes: a resource made of it and a client's name is valid if the tag is.
const maxTag = 512

// An inlineBind is <bind/> within <authenticate/> (XEP-0386 §3.2).
type inlineBind struct {
	tag      string
	carbons  bool   // XEP-0280
	inactive bool   // XEP-0352
	manage   bool   // XEP-0198
	resume   bool   // and the session is to be resumable
	max      string // for as long at most
}

// child takes one child of <bind/>. What is not known is ignored.
func (b *inlineBind) child(c *xmlstream.Token) error {
	switch name(c) {
	case nsBind2 + " tag":
		b.tag = string(bytes.TrimSpace(xmlstream.Text(nil, c.Inner)))
	case nsCarbons + " enable":
		b.carbons = true
	case nsCSI + " inactive":
		b.inactive = true
	case nsSM + " enable":
		b.manage, b.resume, b.max = true, isTrue(attr(c, "resume")), attr(c, "max")
	}
	return nil
}

// bindInline binds a resource and answers with <bound/>. Messages that wait for the user are not dropped, as
// XEP-0386 §3.2 has it for servers whose archive has them as well: they come with the first presence.
func (n *negotiation) bindInline(req *authRequest) (s *Session, answer []byte, err error) {
	bind := req.bind
	var enabled string
	prepare := func(s *Session) {
		if bind.inactive {
			s.out.inactive = &postponement{}
		}
		if bind.manage {
			s.out.managed, enabled = n.srv.newManaged(bind.resume, bind.max)
			s.managed, s.smID = true, s.out.managed.id
		}
	}
	resource, policy := randomName(), Rename
	if req.client != "" {
		// Who has the resource is the same client, earlier.
		resource, policy = n.srv.auth.ClientName(n.user, req.client), Replace
	}
	s, fault, err := n.bindResource(tagged(bind.tag, resource), policy, prepare)
	if err != nil {
		return nil, nil, err
	}
	if fault != nil {
		return nil, nil, stanza.StreamResourceConstraint.WithText(stanza.Fault(fault).Text) // there is no other way to say it
	}
	if s.smID != "" {
		n.srv.resumable(s.smID, s)
	}
	if bind.carbons {
		n.srv.router.Table.SetFlags(s, router.Carbons, 0)
	}
	if req.client != "" {
		n.endOthers(s, resource)
	}
	return s, []byte("<bound xmlns='" + nsBind2 + "'>" + enabled + "</bound>"), nil
}

// tagged is XEP-0386 §3.2.1. A tag that cannot be part of a resource is left out.
func tagged(tag, resource string) string {
	if tag == "" || len(tag) > maxTag {
		return resource
	}
	if _, err := stanza.ParseJID("a.example/" + tag + "/" + resource); err != nil {
		return resource
	}
	return tag + "/" + resource
}

// endOthers ends the client's earlier sessions under other tags (XEP-0386 §3.2). Of two that begin at once the
// later connection's stays.
func (n *negotiation) endOthers(s *Session, client string) {
	for _, row := range n.srv.router.Table.Rows(s.jid) {
		other, local := row.Session.(*Session)
		resource := row.Resource()
		older := local && other.wire.peer().id < s.wire.peer().id || row.Remote && row.Session.State().Begun.Before(s.state.Begun)
		if older && row.Session.JID() != s.jid && (resource == client || strings.HasSuffix(resource, "/"+client)) {
			row.Session.Close(stanza.StreamConflict)
		}
	}
}
