package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

const historian = "historian"

// visit has somebody enter each room by way of a node, who looks at who is there and at what was said.
func (w *world) visit(at int) error {
	c := &client{w: w, name: historian}
	conn, s, err := c.enterNode(w.ctx, w.nodes[at])
	if err != nil {
		return fmt.Errorf("by n%d: %w", at+1, err)
	}
	defer conn.Close()
	if _, err := s.ask("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>visitor</resource></bind></iq>"); err != nil {
		return err
	}
	for _, r := range w.rooms {
		there, history, err := s.visitRoom(r)
		if err != nil {
			return fmt.Errorf("%s by n%d: %w", r.name, at+1, err)
		}
		want := []string{historian}
		for _, m := range r.members {
			want = append(want, m.name)
		}
		if !slices.Equal(sorted(there), sorted(want)) {
			return fmt.Errorf("in %s are, by n%d, %v", r.name, at+1, there)
		}
		w.ledger.checkHistory(r, history, at)
	}
	return s.write("</stream:stream>")
}

// visitRoom enters a room and leaves it again. After the history comes the subject (XEP-0045 §7.1).
func (s *stream) visitRoom(r *room) (there []string, history []kept, err error) {
	err = s.write(fmt.Sprintf("<presence to='%s/%s'><x xmlns='http://jabber.org/protocol/muc'/></presence>", r.bare(), historian))
	for err == nil {
		var e *element
		if e, err = s.read(4 * answerTime); err != nil {
			break
		}
		from, nick, _ := strings.Cut(e.attr("from"), "/")
		if from != r.bare() {
			continue
		}
		switch {
		case e.attr("type") == "error":
			return nil, nil, fmt.Errorf("not let in: %s", e.child("error").condition())
		case e.XMLName.Local == "presence" && e.attr("type") == "":
			there = append(there, nick)
		case e.child("delay") != nil:
			at, err := time.Parse(time.RFC3339Nano, e.child("delay").attr("stamp"))
			if err != nil {
				return nil, nil, err
			}
			history = append(history, kept{e.attr("id"), at})
		case e.child("subject") != nil && e.child("body") == nil:
			return there, history, s.leaveRoom(r)
		}
	}
	return nil, nil, err
}

func (s *stream) leaveRoom(r *room) error {
	err := s.write(fmt.Sprintf("<presence type='unavailable' to='%s/%s'/>", r.bare(), historian))
	for err == nil {
		var e *element
		if e, err = s.read(4 * answerTime); err == nil && e.attr("type") == "unavailable" && e.attr("from") == r.bare()+"/"+historian {
			return nil
		}
	}
	return err
}

// register makes the visitor's account.
func (w *world) register(ctx context.Context) error {
	conn, _, err := (&client{w: w, name: historian}).enterNode(ctx, w.nodes[0])
	if err != nil {
		return err
	}
	return conn.Close()
}
