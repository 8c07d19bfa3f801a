package main

import (
	"bytes"
	"strings"
)

// What a session of any mode does for its server, and asks of it.

const pingID = "chatload-ping"

// handle answers what a server may ask of a client, and leaves the rest to the mode.
func (w *worker) handle(s *session, elem []byte) {
	if !bytes.HasPrefix(elem, []byte("<iq")) {
		w.element(s, elem)
		return
	}
	switch kind := string(attribute(elem, "type")); {
	case kind == "get" || kind == "set":
		w.loop.send(s, func(b []byte) []byte { return appendReply(b, elem, kind) })
	case !isReply(elem, pingID):
		w.element(s, elem)
	case s.pings > 0:
		s.pings--
		if s.pings == 0 {
			w.element(s, elem)
		}
	}
}

// appendReply answers pings (XEP-0199) and roster pushes (RFC 6121 §2.1.6), and
// refuses the rest.
func appendReply(b, request []byte, kind string) []byte {
	known := contains(request, "urn:xmpp:ping") || kind == "set" && contains(request, "jabber:iq:roster")
	b = append(b, "<iq type='"...)
	if known {
		b = append(b, "result'"...)
	} else {
		b = append(b, "error'"...)
	}
	for _, a := range [][2]string{{" id='", "id"}, {" to='", "from"}} {
		if v := attribute(request, a[1]); v != nil {
			b = append(b, a[0]...)
			b = append(b, strings.ReplaceAll(string(v), "'", "&apos;")...)
			b = append(b, '\'')
		}
	}
	if known {
		return append(b, "/>"...)
	}
	return append(b, "><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"...)
}

// ping asks the server for a sign of life (XEP-0199). Its answer, of whatever type,
// comes after all that the server did for this session before.
func (w *worker) ping(s *session) {
	if s.dead {
		return
	}
	s.pings++
	w.loop.send(s, func(b []byte) []byte {
		return append(b, "<iq type='get' id='"+pingID+"' to='"+escape(w.Domain)+"'><ping xmlns='urn:xmpp:ping'/></iq>"...)
	})
}

// settle pings every session and waits for the answers: what was under way has come
// by then, even what nobody expects.
func (w *worker) settle() error {
	for _, s := range w.online {
		if s != nil {
			w.ping(s)
		}
	}
	at := 0
	_, err := w.until(w.Timeout, func() bool {
		for at < len(w.online) && (w.online[at] == nil || w.online[at].dead || w.online[at].pings == 0) {
			at++
		}
		return at == len(w.online)
	})
	return err
}
