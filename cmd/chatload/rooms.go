package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// rooms: users are occupants of rooms (XEP-0045), -occupants of them in each, and all
// speak; a message is delivered once to every occupant, whoever sent it included
// (XEP-0045 §7.4). A room has a name of its own in each run, and ends with its last occupant.
func (w *worker) rooms() error {
	login := w.once
	if w.RelayAddr != "" {
		login = w.occupy
	}
	if err := w.logins(w.all(0, 1), w.Concurrency, login, w.enter); err != nil {
		return err
	}
	if w.out.LoginFailed > 0 {
		return w.loginFailure()
	}
	if w.Create {
		return w.create()
	}
	if w.RelayAddr == "" {
		if err := w.join(); err != nil {
			return err
		}
	}
	t := &traffic{w: w, streams: make([]stream, len(w.online)), fanout: uint64(w.Occupants)}
	fills := make([]messageFill, len(w.online))
	for i, s := range w.online {
		fills[i] = newMessageFill(w.room(s.user), "groupchat", w.Size)
		t.streams[i] = stream{from: s, seen: make([]sequence, w.Occupants)}
	}
	t.fill = func(b []byte, from int, m marker) []byte { return fills[from].append(b, m) }
	t.recipient = func(from int, s *session) int {
		if to := s.user - w.first; to/w.Group == from/w.Group {
			return to % w.Group
		}
		return stranger
	}
	return t.run()
}

// occupy connects to a relay in a user's stead.
func (w *worker) occupy(ctx context.Context, user int) login {
	return w.viaRelay(ctx, user, fmt.Sprintf(roomHello, w.Run, user/w.Group, w.Group))
}

// room is the address of a user's room.
func (w *worker) room(user int) string {
	return fmt.Sprintf("load-%08x-%d@%s", w.Run, user/w.Group, w.Service)
}

// join has the first of each room make it, and the others enter once they can.
func (w *worker) join() error {
	waiting, last := make(map[*session]bool, len(w.online)), time.Now()
	var refused error
	w.element = func(s *session, elem []byte) {
		switch {
		case !waiting[s] || !strings.HasPrefix(string(attribute(elem, "from")), w.room(s.user)):
		case isError(elem):
			refused = fmt.Errorf("user %d cannot enter %s: %s", s.user, w.room(s.user), condition(elem))
		case isReply(elem, "unlock") || isSelfPresence(elem) && !hasStatus(elem, "201"):
			delete(waiting, s)
			last = time.Now()
			if (s.user-w.first)%w.Group == 0 {
				w.others(s, waiting)
			}
		case isSelfPresence(elem):
			w.unlock(s)
		}
	}
	for i := 0; i < len(w.online); i += w.Group {
		w.enterRoom(w.online[i], waiting)
	}
	for len(waiting) > 0 && refused == nil {
		if time.Since(last) > w.Timeout {
			return fmt.Errorf("%d occupants were not let into their rooms", len(waiting))
		}
		if err := w.step(turn); err != nil {
			return err
		}
	}
	if refused != nil {
		return refused
	}
	return w.settle()
}

// others enter a room that its owner has made.
func (w *worker) others(owner *session, waiting map[*session]bool) {
	first := owner.user - w.first
	for _, s := range w.online[first+1 : first+w.Group] {
		w.enterRoom(s, waiting)
	}
}

// enterRoom asks to be let in, without history (XEP-0045 §7.2.1, §7.2.14).
func (w *worker) enterRoom(s *session, waiting map[*session]bool) {
	waiting[s] = true
	w.loop.send(s, func(b []byte) []byte {
		return fmt.Appendf(b, "<presence to='%s/%d'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>", w.room(s.user), s.user)
	})
}

// unlock opens a room that was made just now, with the service's own settings (XEP-0045 §10.1.2).
func (w *worker) unlock(s *session) {
	w.loop.send(s, func(b []byte) []byte { return appendUnlock(b, w.room(s.user)) })
}

func appendUnlock(b []byte, room string) []byte {
	return fmt.Appendf(b, "<iq to='%s' type='set' id='unlock'><query xmlns='http://jabber.org/protocol/muc#owner'>"+
		"<x xmlns='jabber:x:data' type='submit'/></query></iq>", room)
}

// isSelfPresence reports whether this is the room's last word on who is in it (XEP-0045 §7.2.2).
func isSelfPresence(elem []byte) bool {
	return string(tagName(elem)) == "presence" && hasStatus(elem, "110")
}

func hasStatus(elem []byte, code string) bool {
	return contains(elem, "code='"+code+"'") || contains(elem, `code="`+code+`"`)
}

// errNoRooms is an answer too: a server may have none.
var errNoRooms = errors.New("the server offers no rooms: none of the services it lists is a conference of XEP-0045; -service names one that it does not list")

// findRooms asks the server for its chat service (XEP-0045 §6.1), as the first user.
func (o *options) findRooms(ctx context.Context) error {
	d := newDialer(*o, 0)
	s, err := d.login(ctx, 0)
	if err != nil {
		return fmt.Errorf("looking for rooms: %w", err)
	}
	n := &negotiation{d: d, s: s, buf: make([]byte, 4096)}
	o.Service, err = n.roomService()
	return errors.Join(err, d.logout(s))
}

var itemJID = regexp.MustCompile(`<item [^>]*?jid=['"]([^'"]+)`)

// roomService is the first conference among the server's items, or the one that -service names.
func (n *negotiation) roomService() (string, error) {
	services := []string{n.d.Service}
	if n.d.Service == "" {
		items, err := n.disco("items", n.d.Domain)
		if err != nil {
			return "", err
		}
		services = nil
		for _, m := range itemJID.FindAllSubmatch(items, -1) {
			services = append(services, string(m[1]))
		}
	}
	for _, service := range services {
		info, err := n.disco("info", service)
		if err != nil {
			return "", err
		}
		if !isError(info) && isRoomService(info) {
			return service, nil
		}
	}
	return "", errNoRooms
}

func isRoomService(info []byte) bool {
	return slices.ContainsFunc([]string{`'`, `"`}, func(q string) bool {
		return contains(info, "category="+q+"conference"+q) && contains(info, "var="+q+"http://jabber.org/protocol/muc"+q)
	})
}

// disco asks for items or information (XEP-0030 §3.1, §4.1).
func (n *negotiation) disco(what, jid string) ([]byte, error) {
	id := "disco-" + what + jid
	if _, err := io.WriteString(n.s.stream, "<iq type='get' id='"+escape(id)+"' to='"+escape(jid)+"'><query xmlns='http://jabber.org/protocol/disco#"+what+"'/></iq>"); err != nil {
		return nil, err
	}
	for {
		elem, err := n.next()
		if err != nil || isReply(elem, id) {
			return elem, err
		}
	}
}
