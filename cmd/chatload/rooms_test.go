package main

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// answering is a session whose server answers each request by its namespace and address.
func answering(t *testing.T, service string, answers map[string]string) *negotiation {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	client.SetDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // then the test fails
	go func() {                                          // ends with the pipe
		buf := make([]byte, 4096)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			request := buf[:n]
			_, rest, _ := strings.Cut(string(request), "disco#")
			kind, _, _ := strings.Cut(rest, "'")
			to := string(attribute(request, "to"))
			io.WriteString(server, "<iq id='"+string(attribute(request, "id"))+"' from='"+to+"' "+answers[kind+" "+to]+"</iq>") //nolint:errcheck // likewise
		}
	}()
	d := &dialer{options: options{Domain: "chat.test", Service: service}}
	return &negotiation{d: d, s: &session{stream: client}, buf: make([]byte, 4096)}
}

func TestRoomService(t *testing.T) {
	const (
		refusal  = "type='error'><error type='cancel'><item-not-found/></error>"
		items    = "type='result'><query xmlns='http://jabber.org/protocol/disco#items'><item node='x' jid='pubsub.chat.test'/><item jid=\"gone.chat.test\" name='y'/><item jid='rooms.chat.test'/></query>"
		ofPubsub = "type='result'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='pubsub'/><feature var='http://jabber.org/protocol/pubsub'/></query>"
		ofRooms  = "type='result'><query xmlns='http://jabber.org/protocol/disco#info'><identity type='text' category='conference'/><feature var='http://jabber.org/protocol/muc'/></query>"
	)
	answers := map[string]string{"items chat.test": items, "info pubsub.chat.test": ofPubsub, "info gone.chat.test": refusal,
		"info rooms.chat.test": ofRooms, "info hidden.chat.test": strings.ReplaceAll(ofRooms, "'", `"`)}
	for service, want := range map[string]string{"": "rooms.chat.test", "hidden.chat.test": "hidden.chat.test", "gone.chat.test": "", "pubsub.chat.test": ""} {
		got, err := answering(t, service, answers).roomService()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("-service %q: %q, %v", service, got, err)
		}
	}
	answers["items chat.test"] = "type='result'><query xmlns='http://jabber.org/protocol/disco#items'/>"
	if _, err := answering(t, "", answers).roomService(); err != errNoRooms {
		t.Errorf("a server without services: %v", err)
	}
}

func TestSelfPresence(t *testing.T) {
	for elem, want := range map[string]bool{
		`<presence from='r@s/0'><x xmlns='u'><item/><status code='110'/></x></presence>`: true,
		`<presence from="r@s/0"><x xmlns="u"><status code="110"/></x></presence>`:        true,
		`<presence from='r@s/1'><x xmlns='u'><item/></x></presence>`:                     false,
		`<message from='r@s'><x xmlns='u'><status code='110'/></x></message>`:            false,
	} {
		if isSelfPresence([]byte(elem)) != want {
			t.Error(elem)
		}
	}
}
