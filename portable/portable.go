// Package portable reads and writes accounts in the format in which XMPP servers hand them to one another (XEP-0227).
//
// A file is read token by token, one user at a time, and nothing in it can make that cost unbounded memory. What a file says is
// turned into a store.Record and the messages that wait; what chatd has no place for is counted by its kind. Users are
// written to the store whole, with their account last.
package portable

import (
	"strings"

	"chatd/stanza"
)

const (
	nsPIE      = "urn:xmpp:pie:0"
	nsOldPIE   = "http://www.xmpp.org/extensions/xep-0227.html#ns" // until version 0.2
	nsSCRAM    = "urn:xmpp:pie:0#scram"
	nsXInclude = "http://www.w3.org/2001/XInclude"
	nsRoster   = "jabber:iq:roster"
	nsPrivate  = "jabber:iq:private"
	nsLists    = "jabber:iq:privacy"
	nsBlocking = "urn:xmpp:blocking"
	nsVCard    = "vcard-temp"
	nsNotes    = "storage:rosternotes"
	nsDelay    = "urn:xmpp:delay"
	nsOldDelay = "jabber:x:delay"
	nsSettings = "urn:x-chatd:privacy"
	// nsAccount is ours, for what the format has no place for: an element <account/> in <user/>.
	nsAccount = "urn:x-chatd:account"
)

// isPIE reports whether a namespace is the format's, or none, which some take for it.
func isPIE(space string) bool { return space == nsPIE || space == nsOldPIE || space == "" }

// hosts says which host of a file is ours.
type hosts struct {
	domain string // ours
	theirs string // its name in the file, normalized
}

// mine reports whether a host of a file is ours.
func (h hosts) mine(name string) bool {
	j, err := stanza.ParseJID(name)
	return err == nil && j.String() == h.theirs
}

// jid is an address as it is here: one of their host's is ours.
func (h hosts) jid(text string) (stanza.JID, error) {
	j, err := stanza.ParseJID(strings.TrimSpace(text))
	if err != nil || h.theirs == h.domain || j.Domain() != h.theirs {
		return j, err
	}
	moved := h.domain
	if j.Local() != "" {
		moved = j.Local() + "@" + moved
	}
	if !j.IsBare() {
		moved += strings.TrimPrefix(j.String(), j.Bare().String())
	}
	return stanza.ParseJID(moved)
}
