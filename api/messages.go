package api

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"chatd/router"
	"chatd/stanza"
)

// A Message is what a service sends a player.
type Message struct {
	Type    string `json:"type,omitempty" enum:"chat,normal,headline" default:"normal" doc:"headline: not kept for who is not there"`
	Subject string `json:"subject,omitempty" maxLength:"1000"`
	Body    string `json:"body" minLength:"1" maxLength:"10000"`
}

// A Receipt is what has become of a message.
type Receipt struct {
	ID   string      `json:"id" doc:"of the message, as the player's clients see it"`
	Fate router.Fate `json:"fate" enum:"delivered,stored,dropped" doc:"delivered: written to a client or about to be; stored: waits for the player; dropped: a headline, and nobody was there"`
}

func (s *Server) addMessages() {
	add(s, operation{id: "sendMessage", method: http.MethodPost, path: "/players/{player}/messages", scope: ScopeMessages, tag: tagMessages, write: true,
		summary: "Send a player a message as a service",
		about: "From the server's own address, so that no block list and no privacy setting stops it; to the player's bare address, by the rules for any message. " +
			"429 if too many messages wait for the player already.",
		errors: []int{http.StatusTooManyRequests}}, s.sendMessage)
}

func (s *Server) sendMessage(ctx context.Context, in *struct {
	PlayerPath
	Body Message
}) (*struct{ Body Receipt }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	if !allowedText(in.Body.Subject) || !allowedText(in.Body.Body) {
		return nil, failure(http.StatusUnprocessableEntity, "the text has characters that XML does not allow")
	}
	kinds := map[string]stanza.Type{"": stanza.None, "normal": stanza.None, "chat": stanza.Chat, "headline": stanza.Headline}
	id := rand.Text()
	st := &stanza.Stanza{
		Kind: stanza.Message, Type: kinds[in.Body.Type], From: s.cfg.Router.Domain, To: user, ID: []byte(id), Inner: messageXML(&in.Body),
	}
	fate, err := s.cfg.Router.Notify(ctx, st)
	if err != nil {
		return nil, err
	}
	return &struct{ Body Receipt }{Receipt{id, fate}}, nil
}

func messageXML(m *Message) (b []byte) {
	if m.Subject != "" {
		b = append(stanza.AppendEscaped(append(b, "<subject>"...), m.Subject), "</subject>"...)
	}
	return append(stanza.AppendEscaped(append(b, "<body>"...), m.Body), "</body>"...)
}

// allowedText reports whether XML can carry a text (XML 1.0 §2.2).
func allowedText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) && r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
	})
}
