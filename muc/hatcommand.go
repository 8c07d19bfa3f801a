package muc

import (
	"context"
	"crypto/rand"
	"encoding/xml"

	"chatd/router"
	"chatd/stanza"
)

const (
	nsCommands     = "http://jabber.org/protocol/commands"
	nsHatsCommands = "urn:xmpp:hats:commands"
)

// A hatCommand is one of the ad-hoc commands of a room (XEP-0317 §3). They have one step, or two of which the first only asks for a form, so that nothing
// is kept between them.
type hatCommand struct {
	name  string // the last part of its node
	title string
	open  bool                              // also to who is no admin
	form  func(*formWriter, *Hats)          // asks for what run needs
	run   func(*Hats, *form) (*Hats, error) // what becomes of the hats; nil: nothing does
	tell  func(*Hats) []byte                // what is answered, if nothing does
}

var hatCommands = []*hatCommand{
	{name: "create", title: "Create or change a hat", form: askLook, run: createHat},
	{name: "destroy", title: "Destroy a hat", form: askHat, run: func(h *Hats, f *form) (*Hats, error) { return h.without(hatIn(f)) }},
	{name: "list", title: "List hats", open: true, tell: listHats},
	{name: "assign", title: "Assign a hat", form: askWearer, run: func(h *Hats, f *form) (*Hats, error) { return wear(h, f, true) }},
	{name: "unassign", title: "Take a hat from somebody", form: askWearer, run: func(h *Hats, f *form) (*Hats, error) { return wear(h, f, false) }},
	{name: "list-assigned", title: "List who wears a hat", tell: listWearers},
}

func askLook(w *formWriter, _ *Hats) {
	w.field("text-single", "hats#title", "Title")
	w.required()
	w.field("text-single", "hats#uri", "URI")
	w.required()
	w.field("text-single", "hats#hue", "Hue of its colour, from 0 to 360")
}

func hatIn(f *form) string {
	uri, _ := f.value("hats#uri")
	return uri
}

func createHat(h *Hats, f *form) (*Hats, error) {
	title, _ := f.value("hats#title")
	hue, _ := f.value("hats#hue")
	return h.with(Hat{URI: hatIn(f), Title: title, Hue: hue})
}

func wear(h *Hats, f *form, wears bool) (*Hats, error) {
	text, _ := f.value("hats#jid")
	user, err := stanza.ParseJID(text)
	if err != nil || user.Local() == "" {
		return nil, stanza.ErrJIDMalformed
	}
	return h.wornBy(hatIn(f), user.Bare().String(), wears)
}

func askWearer(w *formWriter, h *Hats) {
	w.field("jid-single", "hats#jid", "User")
	w.required()
	askHat(w, h)
}

func askHat(w *formWriter, h *Hats) {
	var hats []option
	for _, hat := range h.List() {
		hats = append(hats, option{hat.URI, hat.Title})
	}
	w.list("list-single", "hats#uri", "Hat", hats)
	w.required()
}

func listHats(h *Hats) []byte {
	return hatTable("Hats", []string{"hats#title", "hats#uri", "hats#hue"}, func(row func(...string)) {
		for _, hat := range h.List() {
			row(hat.Title, hat.URI, hat.Hue)
		}
	})
}

func listWearers(h *Hats) []byte {
	return hatTable("Hats and who wears them", []string{"hats#jid", "hats#uri", "hats#title", "hats#hue"}, func(row func(...string)) {
		for _, hat := range h.List() {
			for _, user := range hat.Users {
				row(user, hat.URI, hat.Title, hat.Hue)
			}
		}
	})
}

// hatTable is a result with several items (XEP-0004 §3.4).
func hatTable(title string, fields []string, rows func(row func(...string))) []byte {
	var w formWriter
	w.begin("result", title, "", nsHatsCommands)
	w.b = append(w.b, "<reported>"...)
	for _, f := range fields {
		w.b = append(w.b, "<field var='"+f+"'/>"...)
	}
	w.b = append(w.b, "</reported>"...)
	rows(func(values ...string) {
		w.b = append(w.b, "<item>"...)
		for i, v := range values {
			w.b = append(w.b, "<field var='"+fields[i]+"'>"...)
			w.close([]string{v})
		}
		w.b = append(w.b, "</item>"...)
	})
	return w.end()
}

func (c *hatCommand) node() string { return nsHatsCommands + ":" + c.name }

// hatCommandNamed is the command with a node, nil if there is none.
func hatCommandNamed(node string) *hatCommand {
	for _, c := range hatCommands {
		if node == c.node() {
			return c
		}
	}
	return nil
}

// mayRun reports whether a user may run a command (XEP-0317 §3).
func (r *room) mayRun(user stanza.JID, c *hatCommand) bool {
	return r.affiliation(user) >= Admin || c.open && (r.of(user) != nil || r.maySee(user))
}

// command is a step of an ad-hoc command (XEP-0050 §2.4).
func (s *Service) command(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	e, err := stanza.RawPayload(st)
	if err != nil {
		return err
	}
	var q struct {
		Node    string `xml:"node,attr"`
		Session string `xml:"sessionid,attr"`
		Action  string `xml:"action,attr"`
		Form    *form  `xml:"jabber:x:data x"`
	}
	if xml.Unmarshal(e.Standalone(), &q) != nil || len(q.Session) > maxReason {
		return stanza.ErrBadRequest
	}
	if q.Session == "" {
		q.Session = rand.Text()
	}
	answer := func(status string, payload []byte) {
		inner := "<command xmlns='" + nsCommands + "' node='" + stanza.Escape(q.Node) + "' sessionid='" + stanza.Escape(q.Session) + "' status='" + status + "'>"
		s.answer(b, sess, st, append(append([]byte(inner), payload...), "</command>"...))
	}
	return s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		c := hatCommandNamed(q.Node)
		switch {
		case c == nil:
			return plan{}, stanza.ErrItemNotFound
		case !r.mayRun(st.From, c):
			return plan{}, stanza.ErrForbidden
		case q.Action == "cancel":
			return plan{apply: func() { answer("canceled", nil) }}, nil
		case q.Action != "" && q.Action != "execute" && q.Action != "complete":
			return plan{}, stanza.ErrBadRequest.WithApp("<bad-action xmlns='" + nsCommands + "'/>") // XEP-0050 §4.4
		case c.tell != nil:
			return plan{apply: func() { answer("completed", c.tell(r.cfg.Hats)) }}, nil
		case q.Form == nil || q.Form.Type != "submit":
			return plan{apply: func() { answer("executing", c.ask(r.cfg.Hats)) }}, nil
		}
		next := *r.cfg
		var err error
		if next.Hats, err = c.run(r.cfg.Hats, q.Form); err != nil {
			return plan{}, err
		}
		return s.configuration(b, r, &next, nil, func() { answer("completed", nil) })
	})
}

// ask is the form that a command needs, with what may be done next.
func (c *hatCommand) ask(h *Hats) []byte {
	var w formWriter
	w.b = []byte("<actions execute='complete'><complete/></actions>")
	w.begin("form", c.title, "", nsHatsCommands)
	c.form(&w, h)
	return w.end()
}
