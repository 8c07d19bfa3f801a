package muc

import (
	"bytes"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// An utterance is one message that is kept for those who enter later.
type utterance struct {
	id   stanza.ID
	by   occupantID // who wrote it
	at   int64      // milliseconds since 1970
	wire []byte     // the whole message, without 'to'
}

// kept is the message as the store has it.
func (m *utterance) kept() store.HistoryMessage {
	return store.HistoryMessage{ID: string(m.id[:]), Stored: time.UnixMilli(m.at).UTC(), Stanza: m.wire}
}

// A past is the newest messages of a room, oldest first, bounded in number and bytes.
type past struct {
	messages []utterance
	bytes    int
	dropped  int64 // how many there were before
}

// add keeps a message and drops the oldest ones over the limits.
func (p *past) add(m utterance, limits *Config) {
	if limits.HistoryMessages <= 0 {
		return
	}
	p.messages = append(p.messages, m)
	p.bytes += len(m.wire)
	drop := 0
	for len(p.messages)-drop > limits.HistoryMessages || limits.HistoryBytes > 0 && p.bytes > limits.HistoryBytes && drop < len(p.messages) {
		p.bytes -= len(p.messages[drop].wire)
		drop++
	}
	if drop > 0 {
		p.dropped += int64(drop)
		n := copy(p.messages, p.messages[drop:])
		clear(p.messages[n:])
		p.messages = p.messages[:n]
	}
}

// after is when a message has been said that has just come, in milliseconds since 1970: after all others, so that time alone keeps them in order.
func (p *past) after(now int64) int64 {
	if n := len(p.messages); n > 0 {
		return max(now, p.messages[n-1].at+1)
	}
	return now
}

// find is a message by its id, nil if it is not there.
func (p *past) find(id string) *utterance {
	for i := range p.messages {
		if string(p.messages[i].id[:]) == id {
			return &p.messages[i]
		}
	}
	return nil
}

// replace puts another text in the place of a message's.
func (p *past) replace(m *utterance, wire []byte) {
	p.bytes += len(wire) - len(m.wire)
	m.wire = wire
}

// wanted is how much history a client wants (XEP-0045 §7.2.14); negative numbers are no limit.
type wanted struct {
	chars, stanzas int
	since          time.Time
}

var everything = wanted{chars: -1, stanzas: -1}

// recount sends history to a session that has entered (XEP-0045 §7.2.13): the newest messages that all limits allow.
func (s *Service) recount(b *router.Batch, r *room, to *seat, w wanted) {
	all := r.past.messages
	limit := r.cfg.History
	if w.stanzas >= 0 {
		limit = min(limit, w.stanzas)
	}
	if len(all) > limit {
		all = all[len(all)-limit:]
	}
	for len(all) > 0 && !w.since.IsZero() && all[0].at < w.since.UnixMilli() {
		all = all[1:]
	}
	if len(all) == 0 {
		return
	}
	first, chars := len(all), 0
	told := make([][]byte, len(all))
	for first > 0 {
		m := &all[first-1]
		wire := delayed(m.wire, r.at, time.UnixMilli(m.at))
		chars += len(wire) + len(" to=''") + len(to.jid.String())
		if w.chars >= 0 && chars > w.chars {
			break
		}
		first--
		told[first] = wire
	}
	st := stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: r.at}
	for _, wire := range told[first:] {
		st.Wire = wire
		s.send(b, r, to, &st)
	}
}

const messageEnd = "</message>"

// delayed is an encoded message with the time at which the room got it (XEP-0203 §2), unless it has one already.
func delayed(wire []byte, by stanza.JID, at time.Time) []byte {
	d := make([]byte, 0, len(wire)+160)
	if id := bytes.LastIndex(wire, []byte("<occupant-id xmlns='"+nsOccupantID+"'")); id > 0 { // which is the room's, and dated puts the time before it
		last := wire[bytes.LastIndexByte(wire[:id], '<'):]
		if bytes.HasPrefix(last, appendDelayFrom(d, by)) {
			return wire
		}
	}
	d = append(d, bytes.TrimSuffix(wire, []byte(messageEnd))...)
	return append(appendDelay(d, by, at), messageEnd...)
}

func appendDelay(b []byte, by stanza.JID, at time.Time) []byte {
	b = append(appendDelayFrom(b, by), " stamp='"...)
	b = at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	return append(b, "'/>"...)
}

func appendDelayFrom(b []byte, by stanza.JID) []byte {
	b = append(b, "<delay xmlns='"+nsDelay+"' from='"...)
	return append(stanza.AppendEscaped(b, by.String()), '\'')
}

// dated is the children of an owner's message with the time at which it was said, if it says that: it is from a chat that goes on in the room, whose history
// the room tells as its own (XEP-0045 §7.9).
func dated(room stanza.JID, st *stanza.Stanza, inner []byte) ([]byte, error) {
	if !bytes.Contains(inner, []byte(nsDelay)) {
		return inner, nil
	}
	own := *st
	own.Inner = inner
	all, err := stanza.Elements(&own)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if !e.Is(nsDelay, "delay") {
			continue
		}
		at, err := time.Parse(time.RFC3339, e.Attribute("stamp"))
		if err != nil || at.After(time.Now()) {
			return inner, nil
		}
		rest := append(bytes.Clone(inner[:e.At]), inner[e.At+len(e.Raw):]...)
		return appendDelay(rest, room, at), nil
	}
	return inner, nil
}

// remembered is a message of the store's.
func remembered(h store.HistoryMessage) utterance {
	m := utterance{at: h.Stored.UnixMilli(), wire: h.Stanza}
	copy(m.id[:], h.ID)
	if st, err := stanza.Parse(h.Stanza); err == nil {
		m.by = authorOf(st)
	}
	return m
}

// authorOf is the occupant id in a message of the room's.
func authorOf(st *stanza.Stanza) (by occupantID) {
	all, err := stanza.Elements(st)
	if err != nil {
		return by
	}
	for _, e := range all {
		if e.Is(nsOccupantID, "occupant-id") {
			copy(by[:], e.Attribute("id"))
		}
	}
	return by
}
