package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"chatd/stanza"
	"chatd/store"
)

// A RoomMessage is one of a room's history.
type RoomMessage struct {
	ID   string    `json:"id" doc:"that the room gave it (XEP-0359), as clients see it"`
	Time time.Time `json:"time" doc:"UTC"`
	Nick string    `json:"nick" doc:"of who wrote it; empty for the room itself"`
	Body string    `json:"body" doc:"its text; empty if it has none, or if it was taken back"`
	XML  string    `json:"xml" doc:"all of it"`
}

type roomMessagesPage struct {
	Messages []RoomMessage `json:"messages" nullable:"false" doc:"the oldest first"`
	Next     string        `json:"next,omitempty" doc:"cursor of those before these; absent at the beginning"`
}

type spoken struct {
	ID string `json:"id" doc:"that the room gave the message (XEP-0359)"`
}

func (s *Server) addTalk() {
	const path = "/rooms/{room}/messages"
	add(s, operation{id: "listRoomMessages", method: http.MethodGet, path: path, scope: ScopeRooms, tag: tagRooms, summary: "A room's history",
		about: "The newest messages, the oldest of them first; the cursor leads to those before. Of a persistent room they come from the store, where a message is a moment after " +
			"it was delivered; of another they are those that are kept in memory for who enters."}, s.listRoomMessages)
	add(s, operation{id: "sendRoomMessage", method: http.MethodPost, path: path, scope: ScopeRooms, tag: tagRooms, write: true,
		summary: "Send a message to all in a room", about: "From the room itself. It becomes part of its history. 429 if too many messages of the room wait for the store.",
		errors: []int{http.StatusTooManyRequests}}, s.sendRoomMessage)
}

func (s *Server) listRoomMessages(ctx context.Context, in *RoomPage) (*struct{ Body roomMessagesPage }, error) {
	name, err := s.there(in.Room)
	if err != nil {
		return nil, err
	}
	before := int64(0)
	if in.Cursor != "" {
		text, err := readCursor(in.Cursor)
		if err != nil {
			return nil, err
		}
		if before, err = strconv.ParseInt(text, 10, 64); err != nil || before < 1 {
			return nil, failure(http.StatusBadRequest, "the cursor is not one of ours")
		}
	}
	list, err := s.cfg.Rooms.History(ctx, name, before, in.Limit+1) // one more, to see whether there is more
	if err != nil {
		return nil, roomProblem(err)
	}
	out := roomMessagesPage{}
	if len(list) > in.Limit {
		list = list[1:]
		out.Next = cursor(strconv.FormatInt(list[0].Seq, 10))
	}
	out.Messages = make([]RoomMessage, len(list))
	for i := range list {
		out.Messages[i] = roomMessage(&list[i])
	}
	return &struct{ Body roomMessagesPage }{out}, nil
}

func roomMessage(m *store.HistoryMessage) RoomMessage {
	out := RoomMessage{ID: m.ID, Time: m.Stored, XML: string(m.Stanza)}
	st, err := stanza.Parse(m.Stanza)
	if err != nil {
		return out
	}
	out.Nick = st.From.Resource()
	all, err := stanza.Elements(st)
	if err != nil {
		return out
	}
	for _, e := range all {
		if e.Is(stanza.NSClient, "body") {
			out.Body = e.Text()
			break
		}
	}
	return out
}

func (s *Server) sendRoomMessage(ctx context.Context, in *struct {
	RoomPath
	Body struct {
		Body string `json:"body" minLength:"1" maxLength:"10000"`
	}
}) (*struct{ Body spoken }, error) {
	name, err := s.there(in.Room)
	if err != nil {
		return nil, err
	}
	if !allowedText(in.Body.Body) {
		return nil, errBadText
	}
	id, err := s.cfg.Rooms.Send(ctx, name, in.Body.Body)
	if err != nil {
		return nil, roomProblem(err)
	}
	return &struct{ Body spoken }{spoken{id}}, nil
}
