package resident

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatd/store"
	"chatd/store/memory"
	"chatd/store/storetest"
)

func TestStore(t *testing.T) {
	for _, keep := range []int{0, 100} {
		t.Run(fmt.Sprintf("keep=%d", keep), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Store {
				s := New(memory.New(), keep)
				t.Cleanup(func() { s.Close() })
				return s
			})
		})
	}
}

// A backend counts what is read of it, and fails when it is told to.
type backend struct {
	store.Store
	mu    sync.Mutex
	reads []string
	fault error
	pause func() // in the middle of Player
}

func (b *backend) read(verb string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads = append(b.reads, verb)
	return b.fault
}

func (b *backend) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = err
}

// took returns the reads since the last call.
func (b *backend) took() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.reads = nil }()
	return b.reads
}

func (b *backend) Player(ctx context.Context, user string) (store.Player, error) {
	if err := b.read("Player"); err != nil {
		return store.Player{}, err
	}
	p, err := b.Store.Player(ctx, user)
	if b.pause != nil {
		b.pause()
	}
	return p, err
}

func (b *backend) Account(ctx context.Context, user string) (store.Account, error) {
	if err := b.read("Account"); err != nil {
		return store.Account{}, err
	}
	return b.Store.Account(ctx, user)
}

func (b *backend) Blocklist(ctx context.Context, user string) ([]string, error) {
	if err := b.read("Blocklist"); err != nil {
		return nil, err
	}
	return b.Store.Blocklist(ctx, user)
}

func (b *backend) Privacy(ctx context.Context, user string) (store.Privacy, error) {
	if err := b.read("Privacy"); err != nil {
		return store.Privacy{}, err
	}
	return b.Store.Privacy(ctx, user)
}

func (b *backend) Roster(ctx context.Context, user string) (store.Roster, error) {
	if err := b.read("Roster"); err != nil {
		return store.Roster{}, err
	}
	return b.Store.Roster(ctx, user)
}

func (b *backend) VCard(ctx context.Context, user string) ([]byte, error) {
	if err := b.read("VCard"); err != nil {
		return nil, err
	}
	return b.Store.VCard(ctx, user)
}

func (b *backend) OfflinePage(ctx context.Context, user string, after int64, limit int) ([]store.OfflineMessage, error) {
	if err := b.read("OfflinePage"); err != nil {
		return nil, err
	}
	return b.Store.OfflinePage(ctx, user, after, limit)
}

func (b *backend) SetCredentials(ctx context.Context, user string, creds []store.Credential) error {
	if b.fault != nil {
		return b.fault
	}
	return b.Store.SetCredentials(ctx, user, creds)
}

// open returns a store with the account of anna, who has one friend.
func open(t *testing.T, keep int) (*Store, *backend) {
	t.Helper()
	b := &backend{Store: memory.New()}
	s := New(b, keep)
	t.Cleanup(func() { s.Close() })
	if err := s.CreateAccount(t.Context(), store.Account{User: "anna", Credentials: []store.Credential{{Mechanism: "old"}}}); err != nil {
		t.Fatal(err)
	}
	befriend(t, s, "bob@chat.test")
	return s, b
}

func befriend(t *testing.T, s store.Store, contact string) {
	t.Helper()
	_, err := s.UpdateItem(t.Context(), "anna", contact, 0, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
		i.Sub = store.SubBoth
		return store.Keep, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// logIn reads what a login does, in its order.
func logIn(ctx context.Context, s store.Store, user string) error {
	if _, err := s.Player(ctx, user); err != nil {
		return err
	}
	_, account := s.Account(ctx, user)
	_, blocked := s.Blocklist(ctx, user)
	_, privacy := s.Privacy(ctx, user)
	_, roster := s.Roster(ctx, user) // for the client
	_, card := s.VCard(ctx, user)
	if errors.Is(card, store.ErrNotFound) {
		card = nil
	}
	_, again := s.Roster(ctx, user) // for the presence
	_, page := s.OfflinePage(ctx, user, 0, 50)
	return errors.Join(account, blocked, privacy, roster, card, again, page)
}

func expectReads(t *testing.T, b *backend, want ...string) {
	t.Helper()
	if got := b.took(); !slices.Equal(got, want) {
		t.Fatalf("read %q, want %q", got, want)
	}
}

func TestLoginIsOneRead(t *testing.T) {
	s, b := open(t, 0)
	for range 2 {
		if err := logIn(t.Context(), s, "anna"); err != nil {
			t.Fatal(err)
		}
		expectReads(t, b, "Player")
		if n := len(s.shard("anna").entries); n != 0 {
			t.Fatalf("%d entries after the login", n)
		}
	}
	if _, err := s.AppendOffline(t.Context(), "anna", store.OfflineMessage{}, 0); err != nil {
		t.Fatal(err)
	}
	if err := logIn(t.Context(), s, "anna"); err != nil {
		t.Fatal(err)
	}
	expectReads(t, b, "Player", "OfflinePage")
}

// TestUnknownUser: one who does not exist costs what one who does, the first time and the second.
func TestUnknownUser(t *testing.T) {
	s, b := open(t, 0)
	for _, user := range []string{"anna", "nobody"} {
		for range 3 {
			if _, err := s.Player(t.Context(), user); err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
		}
		expectReads(t, b, "Player")
	}
	if err := s.CreateAccount(t.Context(), store.Account{User: "nobody"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Player(t.Context(), "nobody"); err != nil {
		t.Fatal("just made:", err)
	}
}

// TestChangesShow: whatever this process changes in the middle of a login, the rest of the login sees.
func TestChangesShow(t *testing.T) {
	s, _ := open(t, 10)
	ctx := t.Context()
	if _, err := s.Player(ctx, "anna"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		s.SetDisabled(ctx, "anna", true),
		s.SetCredentials(ctx, "anna", []store.Credential{{Mechanism: "new"}}),
		s.Block(ctx, "anna", []string{"spam.example"}, 0),
		s.SetPrivacy(ctx, "anna", store.Privacy{Messages: store.Nobody}),
		s.SetVCard(ctx, "anna", []byte("<vCard/>")),
	); err != nil {
		t.Fatal(err)
	}
	befriend(t, s, "carol@chat.test")
	if _, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{}, 0); err != nil {
		t.Fatal(err)
	}
	a, err := s.Account(ctx, "anna")
	if err != nil || !a.Disabled || a.Credentials[0].Mechanism != "new" {
		t.Fatal(a, err)
	}
	list, _ := s.Blocklist(ctx, "anna")
	p, _ := s.Privacy(ctx, "anna")
	friends, _ := s.Roster(ctx, "anna")
	card, _ := s.VCard(ctx, "anna")
	page, _ := s.OfflinePage(ctx, "anna", 0, 10)
	if len(list) != 1 || p.Messages != store.Nobody || len(friends.Items) != 2 || len(card) == 0 || len(page) != 1 {
		t.Fatal(list, p, friends, card, page)
	}
	if err := s.DeleteAccount(ctx, "anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Player(ctx, "anna"); !errors.Is(err, store.ErrNotFound) {
		t.Fatal("deleted:", err)
	}
}

// TestTokenAtLogin: a login that changes the account's tokens, and reads the account again, still has the rest.
func TestTokenAtLogin(t *testing.T) {
	s, b := open(t, 0)
	if _, err := s.Player(t.Context(), "anna"); err != nil {
		t.Fatal(err)
	}
	tokens := []store.LoginToken{{Client: "phone"}}
	if err := s.UpdateTokens(t.Context(), "anna", func(store.Account) ([]store.LoginToken, error) { return tokens, nil }); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Account(t.Context(), "anna"); err != nil || len(a.Tokens) != 1 {
		t.Fatal(a, err)
	}
	if _, err := s.Roster(t.Context(), "anna"); err != nil {
		t.Fatal(err)
	}
	expectReads(t, b, "Player", "Account")
}

// TestChangeWhileReading: what a read found before a change ended is not kept.
func TestChangeWhileReading(t *testing.T) {
	s, b := open(t, 10)
	b.pause = func() {
		b.pause = nil
		if err := s.SetDisabled(t.Context(), "anna", true); err != nil {
			t.Error(err)
		}
	}
	if p, err := s.Player(t.Context(), "anna"); err != nil || p.Account.Disabled {
		t.Fatal("the read began before:", p, err)
	}
	if a, err := s.Account(t.Context(), "anna"); err != nil || !a.Disabled {
		t.Fatal("stale:", a, err)
	}
}

func TestForget(t *testing.T) {
	for _, who := range []string{"anna", ""} {
		s, b := open(t, 10)
		if _, err := s.Player(t.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		if err := b.Store.SetDisabled(t.Context(), "anna", true); err != nil { // by another process
			t.Fatal(err)
		}
		s.Forget(who)
		if a, err := s.Account(t.Context(), "anna"); err != nil || !a.Disabled {
			t.Fatal(a, err)
		}
		b.fail(store.ErrNotTried)
		if _, err := s.Player(t.Context(), "anna"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal("kept what was to be forgotten:", err)
		}
	}
}

// TestFreshness: what others change without a word shows within seconds.
func TestFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := open(t, 0)
		if _, err := s.Player(t.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		if err := b.Store.SetDisabled(t.Context(), "anna", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(fresh + time.Second)
		synctest.Wait()
		if p, err := s.Player(t.Context(), "anna"); err != nil || !p.Account.Disabled {
			t.Fatal(p, err)
		}
		time.Sleep(2 * fresh)
		synctest.Wait()
		if n := len(s.shard("anna").entries); n != 0 {
			t.Fatalf("%d entries of a login that came to nothing", n)
		}
	})
}

// TestOutage: who was here lately gets what a login cannot do without, as it was when it was last changed here.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := open(t, 10)
		if err := logIn(t.Context(), s, "anna"); err != nil {
			t.Fatal(err)
		}
		befriend(t, s, "carol@chat.test")
		if err := s.SetCredentials(t.Context(), "anna", []store.Credential{{Mechanism: "new"}}); err != nil {
			t.Fatal(err)
		}
		b.fail(fmt.Errorf("lost: %w", store.ErrUnavailable))
		time.Sleep(KeptFor / 2)
		p, err := s.Player(t.Context(), "anna")
		if err != nil || p.Account.Credentials[0].Mechanism != "new" || len(p.Roster.Items) != 2 {
			t.Fatal(p, err)
		}
		if r, err := s.Roster(t.Context(), "anna"); err != nil || len(r.Items) != 2 {
			t.Fatal(r, err)
		}
		if _, err := s.Player(t.Context(), "nobody"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal("nobody:", err)
		}
		if s.Served() != 1 {
			t.Fatal("served", s.Served())
		}
		time.Sleep(KeptFor)
		if _, err := s.Player(t.Context(), "anna"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal("kept for too long:", err)
		}
	})
}

// TestDoubt: a password that may have been changed verifies nobody any more while the database is out of reach.
func TestDoubt(t *testing.T) {
	s, b := open(t, 10)
	if err := logIn(t.Context(), s, "anna"); err != nil {
		t.Fatal(err)
	}
	b.fail(store.ErrUnavailable)
	if err := s.SetCredentials(t.Context(), "anna", nil); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := s.Player(t.Context(), "anna"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal("served in doubt:", err)
	}
	b.fail(nil)
	b.took()
	for range 2 {
		if _, err := s.Player(t.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
	}
	expectReads(t, b, "Player", "Player") // none of it is kept
}

// TestBounds: a flood of names, those who exist and those who do not, takes bounded memory.
func TestBounds(t *testing.T) {
	const keep = 2 * shards
	s, b := open(t, keep)
	for i := range 3000 {
		if err := b.Store.CreateAccount(t.Context(), store.Account{User: fmt.Sprint("user", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3000 {
		_ = logIn(t.Context(), s, fmt.Sprint("user", i))
	}
	if n := s.Kept(); n > keep || n < keep/2 {
		t.Fatalf("%d kept", n)
	}
	for i := range 40000 {
		_, _ = s.Player(t.Context(), fmt.Sprint("nobody", i))
	}
	used := 0
	for i := range s.shards {
		used += s.shards[i].used
	}
	if used > freshRoom {
		t.Fatalf("%d bytes", used)
	}
}

// TestRace: readers never see a password older than the last change that had ended when they began.
func TestRace(t *testing.T) {
	s, _ := open(t, 10)
	var ended atomic.Int64
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				floor := ended.Load()
				p, err := s.Player(t.Context(), "anna")
				if err != nil || int64(p.Account.Credentials[0].Iterations) < floor {
					t.Error("stale:", p.Account.Credentials, floor, err)
					return
				}
			}
		})
	}
	for i := range int64(2000) {
		if err := s.SetCredentials(t.Context(), "anna", []store.Credential{{Iterations: int(i)}}); err != nil {
			t.Error(err)
		}
		ended.Store(i)
	}
	close(done)
	wg.Wait()
}
