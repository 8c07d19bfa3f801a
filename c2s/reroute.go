package c2s

import (
	"bytes"
	"context"

	"chatd/router"
	"chatd/stanza"
	"chatd/xmlstream"
)

// reroute finds another way for what the client did not get: another resource,
// the offline store, or an answer to the sender. was is the row of the session's full JID.
func (s *Session) reroute(was router.Row) {
	unsent, skip, since := s.unsent()
	if len(unsent) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.srv.ctx), endTimeout)
	defer cancel()
	others := s.others(was, since)
	sc := xmlstream.NewScanner(stanza.RescanLimits(len(unsent)))
	sc.Resume(xmlstream.ClientScope)
	for at := 0; at < len(unsent); {
		tok, n, err := sc.Scan(unsent[at:])
		if err != nil || tok.Kind != xmlstream.Element {
			s.srv.log.Error("unsent stanzas are unreadable", "jid", s.jid, "bytes", len(unsent)-at, "err", err)
			return
		}
		at += n
		var st stanza.Stanza
		if at <= skip || st.Load(tok, nil) != nil || st.From.IsZero() || hadByOthers(&st, was, others) {
			continue
		}
		s.srv.Metrics.Rerouted.Inc()
		s.srv.router.Reroute(ctx, &st)
	}
}

// others is the user's other resources that have been as they are since before
// the oldest of what was not sent was queued: what they were given as well is known.
// Of the rest it is not, and a message that comes twice is better than one that is lost.
func (s *Session) others(was router.Row, since uint64) []router.Row {
	if was.Session != router.Session(s) || was.Since > since {
		return nil // replaced, or changed meanwhile
	}
	var others []router.Row
	for _, row := range s.srv.router.Table.Local(s.jid) {
		if row.Session != router.Session(s) && row.Wait == nil && row.Since <= since {
			others = append(others, row)
		}
	}
	return others
}

// hadByOthers reports whether a stanza need not find another way: presence,
// which the next login brings anew, a carbon copy, or a message that other resources
// of the user were given as well.
func hadByOthers(st *stanza.Stanza, was router.Row, others []router.Row) bool {
	switch {
	case st.Kind == stanza.Presence:
		return true
	case st.Kind != stanza.Message:
		return false
	case isCopy(st):
		return true
	}
	for _, o := range others {
		if st.To.IsBare() && o.Reachable() && o.Priority >= was.Priority ||
			o.Flags&router.Carbons != 0 && surelyCopied(st) {
			return true
		}
	}
	return false
}

// isCopy reports whether a message is a carbon copy (XEP-0280): what it is a copy of finds its own way.
func isCopy(st *stanza.Stanza) bool {
	return string(st.Space) == nsCarbons && string(st.Local) != "private" && st.From == st.To.Bare()
}

const nsCarbons = "urn:xmpp:carbons:2"

// surelyCopied reports whether the rules of XEP-0280 §6.1 leave no doubt that a message is copied.
func surelyCopied(st *stanza.Stanza) bool {
	return st.Type == stanza.Chat && !bytes.Contains(st.Inner, []byte(nsCarbons)) && !bytes.Contains(st.Inner, []byte("urn:xmpp:hints"))
}
