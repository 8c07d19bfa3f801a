package router

import (
	"errors"
	"strings"
	"testing"

	"chatd/stanza"
)

// TestNotify: what becomes of a service's message, by who is there and what the spool says.
func TestNotify(t *testing.T) {
	full := stanza.ErrServiceUnavailable
	broken := errors.New("disk on fire")
	for _, tt := range []struct {
		name  string
		typ   stanza.Type
		setup func(f *fixture)
		want  Fate
		err   error
		held  int
	}{
		{"nobody", stanza.Chat, func(*fixture) {}, Stored, nil, 1},
		{"headline to nobody", stanza.Headline, func(*fixture) {}, Dropped, nil, 0},
		{"negative priority", stanza.None, func(f *fixture) { f.online("juliet@chat.test/a", -1) }, Stored, nil, 1},
		{"headline to a negative priority", stanza.Headline, func(f *fixture) { f.online("juliet@chat.test/a", -1) }, Dropped, nil, 0},
		{"online", stanza.Chat, func(f *fixture) { f.online("juliet@chat.test/a", 0) }, Delivered, nil, 0},
		{"headline to somebody", stanza.Headline, func(f *fixture) { f.online("juliet@chat.test/a", 0) }, Delivered, nil, 0},
		{"just ending", stanza.Chat, func(f *fixture) {
			s := f.online("juliet@chat.test/a", 0)
			s.end()
			f.Table.Unbind(s)
		}, Stored, nil, 1},
		{"blocks the domain", stanza.Chat, func(f *fixture) {
			f.online("juliet@chat.test/a", 0).state.Blocked.Store(NewBlocklist([]string{"chat.test"}))
		}, Delivered, nil, 0},
		{"no room", stanza.Chat, func(f *fixture) { f.spool.err = func() error { return full } }, Refused, full, 0},
		{"not worth it", stanza.Chat, func(f *fixture) { f.spool.err = func() error { return ErrTransient } }, Dropped, nil, 0},
		{"broken", stanza.Chat, func(f *fixture) { f.spool.err = func() error { return broken } }, Dropped, broken, 0},
		{"came meanwhile", stanza.Chat, func(f *fixture) {
			f.spool.err = func() error {
				f.online("juliet@chat.test/a", 0)
				return ErrReachable
			}
		}, Delivered, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			tt.setup(f)
			st := &stanza.Stanza{Kind: stanza.Message, Type: tt.typ, From: f.Domain, To: stanza.MustJID("juliet@chat.test"), Inner: []byte("<body>x</body>")}
			got, err := f.Notify(t.Context(), st)
			if got != tt.want || !errors.Is(err, tt.err) || len(f.spool.held) != tt.held {
				t.Errorf("%s, %v, %d stored; want %s, %v, %d", got, err, len(f.spool.held), tt.want, tt.err, tt.held)
			}
			for _, row := range f.Table.Rows(st.To) {
				if sent := strings.Join(row.Session.(*fakeSession).take(), ""); (got == Delivered) != strings.Contains(sent, "<body>x</body>") {
					t.Errorf("%s was sent %q", row.Resource(), sent)
				}
			}
		})
	}
}
