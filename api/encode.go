package api

import (
	"strconv"
	"unicode/utf8"

	"chatd/roster"
	"chatd/stanza"
)

// The friends list is the answer that is asked for most. It is written without reflection; tests hold every byte of it
// to what encoding/json makes of the types in the document.

// entryBytes is what an entry takes, about.
const entryBytes = 220

// appendSummoners writes those of a list that have a number.
func (s *Server) appendSummoners(b []byte, list []roster.Friend) []byte {
	if b == nil {
		b = make([]byte, 0, len(list)*entryBytes+2)
	}
	b = append(b, '[')
	first := true
	for i := range list {
		f := &list[i]
		n, ok := s.numbers.number(f.JID.Local())
		if !ok {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendCommon(append(b, '{'), f)
		group := ""
		if len(f.Groups) > 0 {
			group = f.Groups[0]
		}
		b = appendString(append(b, `,"group":`...), group)
		b = appendTexts(b, f)
		b = append(append(b, `,"subscription":"`...), f.Subscription.String()...)
		b = strconv.AppendInt(append(b, `","summoner_id":`...), n, 10)
		b = append(b, '}')
	}
	return append(b, "]\n"...)
}

func (s *Server) appendFriendsPage(b []byte, list []roster.Friend, next string) []byte {
	if b == nil {
		b = make([]byte, 0, len(list)*entryBytes+64)
	}
	b = append(b, `{"friends":[`...)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.appendFriend(b, &list[i])
	}
	b = append(b, ']')
	if next != "" {
		b = appendString(append(b, `,"next":`...), next)
	}
	return append(b, "}\n"...)
}

func (s *Server) appendFriend(b []byte, f *roster.Friend) []byte {
	b = appendCommon(append(b, '{'), f)
	b = append(b, `,"groups":[`...)
	for i, g := range f.Groups {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, g)
	}
	b = append(b, ']')
	if n, ok := s.numbers.number(f.JID.Local()); ok {
		b = strconv.AppendInt(append(b, `,"id":`...), n, 10)
	}
	b = appendString(append(b, `,"jid":`...), f.JID.String())
	b = appendTexts(b, f)
	b = append(append(b, `,"subscription":"`...), f.Subscription.String()...)
	return append(b, `"}`...)
}

func appendCommon(b []byte, f *roster.Friend) []byte {
	b = append(append(b, `"ask":"`...), f.Ask.String()...)
	b = appendString(append(b, `","ask_message":`...), f.AskMessage)
	b = append(b, `,"created_at":"`...)
	if !f.Created.IsZero() {
		b = f.Created.UTC().AppendFormat(b, dateLayout)
	}
	return append(b, '"')
}

func appendTexts(b []byte, f *roster.Friend) []byte {
	b = appendString(append(b, `,"nick":`...), f.Name)
	return appendString(append(b, `,"note":`...), f.Note)
}

// appendRef writes the start of an object with a PlayerRef's members.
func (s *Server) appendRef(b []byte, j stanza.JID) []byte {
	b = appendString(append(b, `"jid":`...), j.String())
	if n, ok := s.numbers.number(j.Local()); ok {
		b = strconv.AppendInt(append(b, `,"id":`...), n, 10)
	}
	return b
}

// appendString writes a JSON string (RFC 8259 §7). What is not plain is left to encoding/json.
func appendString(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendQuoted(b, text)
		}
	}
	b = append(append(b, '"'), text...)
	return append(b, '"')
}

func appendQuoted(b []byte, text string) []byte {
	w := writer{b}
	if err := marshal(&w, text); err != nil {
		return append(b, `""`...) // strings can always be encoded
	}
	return w.b[:len(w.b)-1] // the end of the line
}

type writer struct{ b []byte }

func (w *writer) Write(p []byte) (int, error) { w.b = append(w.b, p...); return len(p), nil }
