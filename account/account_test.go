package account

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"chatd/auth"
	"chatd/router"
	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
)

// A session ends as soon as it is closed.
type session struct {
	jid    stanza.JID
	state  router.State
	table  *router.Table
	reason *stanza.StreamError
	done   chan struct{}
	hangs  bool
}

func (s *session) JID() stanza.JID                         { return s.jid }
func (s *session) State() *router.State                    { return &s.state }
func (s *session) Done() <-chan struct{}                   { return s.done }
func (s *session) Send(*router.Batch, *stanza.Stanza) bool { return true }
func (s *session) Close(reason *stanza.StreamError) {
	if s.reason != nil || s.hangs {
		return
	}
	s.reason = reason
	s.table.Unbind(s)
	close(s.done)
}
func (s *session) SendNow(context.Context, []*stanza.Stanza, []int64) (bool, error) {
	return false, errors.New("not here")
}

// friends notes what it is asked to do.
type friends struct{ did []string }

func (f *friends) RemoveUser(_ context.Context, user stanza.JID) error {
	f.did = append(f.did, "remove "+user.String())
	return nil
}
func (f *friends) Forget(user stanza.JID) { f.did = append(f.did, "forget "+user.String()) }

type fixture struct {
	*Service
	t       *testing.T
	friends *friends
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	db := memory.New()
	accounts := auth.New(db, "chat.test", make([]byte, 32))
	for _, user := range []string{"romeo", "juliet"} {
		if _, err := accounts.Register(t.Context(), user, "secret"); err != nil {
			t.Fatal(err)
		}
	}
	f := &friends{}
	return &fixture{New(router.New(stanza.MustJID("chat.test"), slog.New(slog.DiscardHandler)), db, accounts, f), t, f}
}

func (f *fixture) connect(jid string) *session {
	f.t.Helper()
	s := &session{jid: stanza.MustJID(jid), table: f.r.Table, done: make(chan struct{})}
	f.r.Table.Bind(s, false)
	return s
}

func TestEndSessions(t *testing.T) {
	f := newFixture(t)
	one, two, other := f.connect("romeo@chat.test/1"), f.connect("romeo@chat.test/2"), f.connect("juliet@chat.test/1")
	n, err := f.EndSessions(t.Context(), stanza.MustJID("romeo@chat.test"), stanza.StreamPolicyViolation)
	if n != 2 || err != nil || one.reason != stanza.StreamPolicyViolation || two.reason != stanza.StreamPolicyViolation || other.reason != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	other.hangs = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.EndSessions(ctx, other.jid, stanza.StreamPolicyViolation); !errors.Is(err, context.Canceled) {
		t.Errorf("one that hangs: %v", err)
	}
}

// Everything that export shows is gone after erasure.
func TestExportAndErase(t *testing.T) {
	f := newFixture(t)
	ctx, romeo := t.Context(), stanza.MustJID("romeo@chat.test")
	_, err := f.db.UpdateItem(ctx, "romeo", "juliet@chat.test", 0, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
		i.Sub = store.SubBoth
		return store.Keep, nil
	})
	seq := int64(0)
	for _, err := range []error{
		err,
		f.db.UpdateNotes(ctx, "romeo", func([]store.Note) ([]store.Note, error) { return []store.Note{{JID: "a@x", Text: "n"}}, nil }),
		f.db.Block(ctx, "romeo", []string{"b@x"}, 0),
		f.db.SetPrivacy(ctx, "romeo", store.Privacy{Messages: store.Friends}),
		f.db.SetVCard(ctx, "romeo", []byte("<vCard/>")),
		f.db.SetPrivateXML(ctx, "romeo", "s", "l", []byte("<l/>"), 0),
		f.db.SetLastActivity(ctx, "romeo", store.LastActivity{Status: "bye"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range messagesPage + 1 {
		if seq, err = f.db.AppendOffline(ctx, "romeo", store.OfflineMessage{Stanza: []byte("<message/>")}, 0); err != nil {
			t.Fatal(err)
		}
	}
	x, err := f.Export(ctx, romeo)
	if err != nil {
		t.Fatal(err)
	}
	if x.User != romeo || x.Created.IsZero() || len(x.Mechanisms) == 0 || len(x.Contacts) != 1 || len(x.Notes) != 1 || len(x.Blocked) != 1 ||
		x.Privacy.Messages != store.Friends || string(x.VCard) != "<vCard/>" || len(x.Private) != 1 || x.LastSeen.Status != "bye" ||
		len(x.Messages) != messagesPage+1 || x.Messages[messagesPage].Seq != seq {
		t.Errorf("%+v", x)
	}
	s := f.connect("romeo@chat.test/1")
	if err := f.Erase(ctx, romeo); err != nil {
		t.Fatal(err)
	}
	if s.reason != stanza.StreamNotAuthorized || len(f.friends.did) != 2 || f.friends.did[0] != "remove romeo@chat.test" || f.friends.did[1] != "forget romeo@chat.test" {
		t.Errorf("closed with %v, did %q", s.reason, f.friends.did)
	}
	for _, err := range []error{f.Erase(ctx, romeo), func() error { _, err := f.Export(ctx, romeo); return err }()} {
		if !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("erased: %v", err)
		}
	}
	if _, err := f.accounts.Register(ctx, "romeo", "secret"); err != nil {
		t.Fatal(err)
	}
	x, err = f.Export(ctx, romeo)
	if err != nil || len(x.Contacts)+len(x.Notes)+len(x.Blocked)+len(x.VCard)+len(x.Private)+len(x.Messages) != 0 || x.Privacy != (store.Privacy{}) || x.LastSeen != (store.LastActivity{}) {
		t.Errorf("the next owner of the name has %+v %v", x, err)
	}
}

// TestEndOrphans: another process has removed one account and disabled another one.
func TestEndOrphans(t *testing.T) {
	f := newFixture(t)
	if _, err := f.accounts.Register(t.Context(), "tybalt", "secret"); err != nil {
		t.Fatal(err)
	}
	if err := f.db.SetDisabled(t.Context(), "tybalt", true); err != nil {
		t.Fatal(err)
	}
	gone, disabled, here := f.connect("ghost@chat.test/1"), f.connect("tybalt@chat.test/1"), f.connect("romeo@chat.test/1")
	n, err := f.EndOrphans(t.Context())
	if n != 2 || err != nil || gone.reason != stanza.StreamNotAuthorized || disabled.reason != errDisabled || here.reason != nil ||
		len(f.friends.did) != 1 || f.friends.did[0] != "forget " {
		t.Errorf("%d ended, %v, %v, %v, did %q", n, gone.reason, disabled.reason, err, f.friends.did)
	}
}
