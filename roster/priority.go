package roster

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"

	"chatd/stanza"
)

var (
	errPriority   = stanza.ErrBadRequest.WithText("the priority must be an integer from -128 to 127")
	errPriorities = stanza.ErrBadRequest.WithText("more than one priority")
)

// parsePriority finds the priority among the children of a presence (RFC 6121
// §4.7.2.3); without one it is 0. The error is a *stanza.Error.
func parsePriority(inner []byte) (int8, error) {
	if !bytes.Contains(inner, []byte("priority")) {
		return 0, nil
	}
	d := xml.NewDecoder(bytes.NewReader(inner))
	d.DefaultSpace = stanza.NSClient
	var priority int8
	found := false
	for {
		tok, err := d.Token()
		if err != nil {
			return priority, nil // the end; the bytes have passed the scanner
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if start.Name != (xml.Name{Space: stanza.NSClient, Local: "priority"}) {
			if d.Skip() != nil {
				return priority, nil
			}
			continue
		}
		if found {
			return 0, errPriorities
		}
		found = true
		if priority, err = priorityIn(d); err != nil {
			return 0, err
		}
	}
}

// priorityIn reads the content of a <priority/>, which has only text.
func priorityIn(d *xml.Decoder) (int8, error) {
	var text strings.Builder
	for {
		tok, err := d.Token()
		if err != nil {
			return 0, errPriority
		}
		switch tok := tok.(type) {
		case xml.CharData:
			text.Write(tok)
		case xml.EndElement:
			n, err := strconv.ParseInt(strings.Trim(text.String(), " \t\r\n"), 10, 8)
			if err != nil {
				return 0, errPriority
			}
			return int8(n), nil
		default:
			return 0, errPriority
		}
	}
}
