package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"
)

// chat: users 2n and 2n+1 are a pair, each of whom sends to the other.
func (w *worker) chat() error {
	connect := w.once
	if w.RelayAddr != "" {
		connect = w.pair
	}
	if err := w.logins(w.all(0, 1), w.Concurrency, connect, w.enter); err != nil {
		return err
	}
	if w.out.LoginFailed > 0 {
		return w.loginFailure()
	}
	fills := make([]messageFill, len(w.online))
	t := &traffic{w: w, streams: make([]stream, len(w.online)), fanout: 1}
	for i, s := range w.online {
		fills[i] = newMessageFill(w.online[i^1].jid, "chat", w.Size)
		t.streams[i] = stream{from: s, seen: make([]sequence, 1)}
	}
	t.fill = func(b []byte, from int, m marker) []byte { return fills[from].append(b, m) }
	t.recipient = func(from int, s *session) int {
		if s.user-w.first == from^1 {
			return 0
		}
		return stranger
	}
	return t.run()
}

// loginFailure gives up on a test that needs all of its users.
func (w *worker) loginFailure() error {
	for what, n := range w.out.Failures {
		return fmt.Errorf("%d of %d users could not log in; %d of them: %s", w.out.LoginFailed, len(w.online), n, what)
	}
	return nil
}

// A messageFill makes the messages to one recipient, all of one size.
type messageFill struct {
	head   []byte
	filler []byte
}

const (
	messageID   = 8 + 1 // digits of the number, and a dot
	messageBody = "'><body>"
	messageEnd  = "</body></message>"
)

var fillerText = []byte("the quick brown fox jumps over the lazy dog ")

func newMessageFill(to, kind string, size int) messageFill {
	head := []byte("<message to='" + to + "' type='" + kind + "' id='")
	rest := size - len(head) - messageID - len(messageBody) - markerBytes - len(messageEnd)
	filler := bytes.Repeat(fillerText, max(rest, 0)/len(fillerText)+1)[:max(rest, 0)]
	return messageFill{head, filler}
}

func (f *messageFill) append(b []byte, m marker) []byte {
	b = append(b, f.head...)
	b = appendHex(b, uint64(m.number), 8)
	b = append(b, messageBody...)
	b = appendMarker(b, m)
	b = append(b, f.filler...)
	return append(b, messageEnd...)
}

// pair connects to a relay in a user's stead, under an address of the usual length.
func (w *worker) pair(ctx context.Context, user int) login {
	return w.viaRelay(ctx, user, fmt.Sprintf(relayHello, w.Run, user/2))
}

// viaRelay connects to a relay with a first line.
func (w *worker) viaRelay(ctx context.Context, user int, hello string) login {
	start := time.Now()
	s := &session{user: user, jid: w.dialer.address(user) + "/" + w.Resource}
	var err error
	if s.socket, err = w.dialer.connect(ctx, w.RelayAddr); err == nil {
		s.stream = s.socket
		if _, err = io.WriteString(s.socket, hello); err == nil {
			err = s.socket.detach()
		}
	}
	now := time.Now()
	return login{session: s, err: err, took: now.Sub(start), at: now}
}
