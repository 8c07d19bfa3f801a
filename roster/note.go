package roster

import (
	"context"
	"encoding/xml"
	"slices"
	"strings"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// nsNotes is the namespace of annotations (XEP-0145), whose element is "storage".
const nsNotes = "storage:rosternotes"

// Bounds of one user's notes.
const (
	maxNotes     = 1000
	maxNote      = 1024      // of one text, in bytes of UTF-8
	maxNoteBytes = 128 << 10 // all texts together
)

var (
	errNoteTooLong  = stanza.ErrPolicyViolation.WithText("a note may have at most 1024 bytes")
	errTooManyNotes = stanza.ErrPolicyViolation.WithText("too many notes, or too long together")
)

// SetNote changes what user has written about contact, who need not be in the user's list; an empty
// note removes it. It returns ErrNoUser if user has no account, and a *stanza.Error over
// a limit: 1,024 bytes each, 1,000 notes, 128 KiB together. It blocks on the store.
func (s *Service) SetNote(ctx context.Context, user, contact stanza.JID, note string) error {
	if len(note) > maxNote {
		return errNoteTooLong
	}
	if !isText(note) {
		return errNotText
	}
	user, contact = user.Bare(), contact.Bare()
	if err := s.known(ctx, user); err != nil {
		return err
	}
	return s.updateNotes(ctx, user, func(notes []store.Note) ([]store.Note, error) {
		i := slices.IndexFunc(notes, func(n store.Note) bool { return n.JID == contact.String() })
		switch {
		case i < 0 && note == "":
			return notes, nil
		case note == "":
			return slices.Delete(notes, i, i+1), nil
		case i < 0:
			i = len(notes)
			notes = append(notes, store.Note{JID: contact.String(), Created: now()})
		}
		notes[i].Text, notes[i].Modified = note, now()
		return notes, checkNotes(notes)
	})
}

// updateNotes changes a user's notes and forgets what is cached of them.
func (s *Service) updateNotes(ctx context.Context, user stanza.JID, update func([]store.Note) ([]store.Note, error)) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := s.store.UpdateNotes(ctx, user.Local(), update)
	s.lists.forget(user, err != nil)
	s.r.Table.Elsewhere.Stale(user, router.KeptFriends)
	return err
}

func checkNotes(notes []store.Note) error {
	size := 0
	for i := range notes {
		size += len(notes[i].Text) + len(notes[i].JID)
		if len(notes[i].Text) > maxNote {
			return errNoteTooLong
		}
	}
	if len(notes) > maxNotes || size > maxNoteBytes {
		return errTooManyNotes
	}
	return nil
}

// NotesXML is a user's notes as the element that clients read (XEP-0145 §2).
func (s *Service) NotesXML(ctx context.Context, user string) ([]byte, error) {
	notes, err := s.store.Notes(ctx, user)
	if err != nil {
		return nil, err
	}
	b := []byte("<storage xmlns='" + nsNotes + "'>")
	for i := range notes {
		b = append(b, "<note jid='"...)
		b = stanza.AppendEscaped(b, notes[i].JID)
		b = appendDate(b, "cdate", notes[i].Created)
		b = appendDate(b, "mdate", notes[i].Modified)
		b = append(b, "'>"...)
		b = stanza.AppendEscaped(b, notes[i].Text)
		b = append(b, "</note>"...)
	}
	return append(b, "</storage>"...), nil
}

// appendDate writes an attribute behind another one whose quote is still open, in the profile of XEP-0082 §3.2.
func appendDate(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = append(b, "' "+name+"='"...)
	return t.UTC().AppendFormat(b, time.RFC3339)
}

// notesElement is the element as clients write it.
type notesElement struct {
	Notes []struct {
		JID      string `xml:"jid,attr"`
		Created  string `xml:"cdate,attr"`
		Modified string `xml:"mdate,attr"`
		Text     string `xml:",chardata"`
	} `xml:"storage:rosternotes note"`
}

// SetNotesXML replaces all of a user's notes by what is in the element (XEP-0145 §2). Anything else in
// it is not kept; empty notes are none. The error for the client is a *stanza.Error.
func (s *Service) SetNotesXML(ctx context.Context, user string, element []byte) error {
	var e notesElement
	if err := xml.Unmarshal(element, &e); err != nil {
		return stanza.ErrBadRequest
	}
	notes := make([]store.Note, 0, len(e.Notes))
	seen := make(map[stanza.JID]bool)
	for _, n := range e.Notes {
		j, err := stanza.ParseJID(n.JID)
		switch {
		case err != nil:
			return stanza.ErrJIDMalformed
		case seen[j.Bare()]:
			return stanza.ErrBadRequest.WithText("two notes about the same address")
		}
		seen[j.Bare()] = true
		if text := strings.TrimSpace(n.Text); text != "" {
			notes = append(notes, store.Note{JID: j.Bare().String(), Text: text, Created: noteDate(n.Created), Modified: noteDate(n.Modified)})
		}
	}
	if err := checkNotes(notes); err != nil {
		return err
	}
	jid, err := stanza.ParseJID(user + "@" + s.r.Domain.Domain())
	if err != nil {
		return err
	}
	return s.updateNotes(ctx, jid, func([]store.Note) ([]store.Note, error) { return notes, nil })
}

// noteDate is zero for what is no date.
func noteDate(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}
