package sqlstore

import (
	"context"
	"database/sql"
	"encoding/xml"
	"time"

	"chatd/stanza"
	"chatd/store"
)

// notesVersion is the schema version from which on notes have a table. Before, they were private XML
// like any other (XEP-0145).
const notesVersion = 3

// oldNotes is that XML.
type oldNotes struct {
	XMLName xml.Name `xml:"storage:rosternotes storage"`
	Notes   []struct {
		JID      string `xml:"jid,attr"`
		Created  string `xml:"cdate,attr"`
		Modified string `xml:"mdate,attr"`
		Text     string `xml:",chardata"`
	} `xml:"storage:rosternotes note"`
}

// moveNotes makes notes of the private XML that was some. What cannot be read stays where it is.
func moveNotes(ctx context.Context, conn *sql.Conn) error {
	key := digest("storage", "storage:rosternotes")
	rows, err := conn.QueryContext(ctx, "SELECT user, xml FROM private_xml WHERE digest = ?", key)
	if err != nil {
		return err
	}
	moved := make(map[string][]byte)
	defer rows.Close()
	for rows.Next() {
		var user string
		var text []byte
		if err := rows.Scan(&user, &text); err != nil {
			return err
		}
		if notes, ok := parseOldNotes(text); ok {
			moved[user] = joinNotes(notes)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for user, notes := range moved {
		if err := run(ctx, conn, "REPLACE INTO roster_note (user, notes) VALUES (?, ?)", user, notes); err != nil {
			return err
		}
		if err := run(ctx, conn, "DELETE FROM private_xml WHERE user = ? AND digest = ?", user, key); err != nil {
			return err
		}
	}
	return nil
}

func parseOldNotes(text []byte) (notes []store.Note, ok bool) {
	var old oldNotes
	if xml.Unmarshal(text, &old) != nil {
		return nil, false
	}
	seen := make(map[string]bool)
	for _, n := range old.Notes {
		j, err := stanza.ParseJID(n.JID)
		if err != nil || seen[j.Bare().String()] {
			return nil, false
		}
		seen[j.Bare().String()] = true
		notes = append(notes, store.Note{JID: j.Bare().String(), Text: n.Text,
			Created: oldDate(n.Created), Modified: oldDate(n.Modified)})
	}
	return notes, true
}

// oldDate is zero for what is no date.
func oldDate(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
