package roster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// A model is what RFC 6121 §3 says of subscriptions, without the tables of Appendix A: each direction between two
// users by itself. Users are numbered.
type model struct {
	sees     [players][players]bool // [viewer][owner]
	asked    [players][players]bool // [viewer][owner]: the viewer waits for an answer
	waiting  [players][players]bool // [owner][viewer]: the owner was asked
	approved [players][players]bool // [owner][viewer]: in advance (§3.4)
	listed   [players][players]bool // [user][contact]: in the roster that clients see
	blocks   [players][players]bool
	requests [players]store.Audience
}

const players = 3

// settle puts those on the lists who have more to do with each other than a request that waits.
func (m *model) settle() {
	for u := range players {
		for c := range players {
			if m.sees[u][c] || m.sees[c][u] || m.asked[u][c] || m.approved[u][c] {
				m.listed[u][c] = true
			}
		}
	}
}

func (m *model) friends(u, c int) bool { return m.sees[u][c] && m.sees[c][u] }

func (m *model) admits(owner, viewer int) bool {
	if m.blocks[owner][viewer] {
		return false
	}
	if m.sees[owner][viewer] || m.asked[owner][viewer] || m.requests[owner] == store.Everyone {
		return true
	}
	if m.requests[owner] == store.Nobody {
		return false
	}
	for x := range players {
		if m.friends(x, owner) && m.friends(x, viewer) {
			return true
		}
	}
	return m.friends(owner, viewer)
}

func (m *model) subscribe(u, c int) {
	if m.sees[u][c] {
		return
	}
	m.asked[u][c] = true
	m.settle()
	switch {
	case m.waiting[c][u] || !m.admits(c, u):
	case m.approved[c][u]:
		m.approved[c][u], m.asked[u][c], m.sees[u][c] = false, false, true
	default:
		m.waiting[c][u] = true
	}
}

func (m *model) subscribed(u, c int) {
	switch {
	case m.waiting[u][c]:
		m.waiting[u][c], m.asked[c][u], m.sees[c][u] = false, false, true
	case !m.sees[c][u]:
		m.approved[u][c] = true
	}
}

func (m *model) unsubscribe(u, c int) {
	m.asked[u][c], m.sees[u][c], m.waiting[c][u] = false, false, false
}

func (m *model) unsubscribed(u, c int) {
	m.approved[u][c] = false
	if m.waiting[u][c] || m.sees[c][u] {
		m.waiting[u][c], m.sees[c][u], m.asked[c][u] = false, false, false
	}
}

func (m *model) remove(u, c int) {
	if !m.listed[u][c] {
		return
	}
	m.unsubscribe(u, c)
	m.unsubscribed(u, c)
	m.listed[u][c] = false
}

func (m *model) request(u, c int) {
	switch {
	case m.blocks[u][c] || m.friends(u, c):
	case m.waiting[u][c]:
		m.accept(u, c)
	default:
		seen := m.sees[c][u]
		m.subscribe(u, c)
		m.settle()
		if !seen {
			m.subscribed(u, c)
		}
	}
}

func (m *model) accept(u, c int) {
	if !m.waiting[u][c] || m.blocks[u][c] {
		return
	}
	m.subscribed(u, c)
	m.settle()
	m.subscribe(u, c)
	m.settle()
	if m.waiting[c][u] {
		m.subscribed(c, u)
	}
}

func (m *model) decline(u, c int) {
	if m.waiting[u][c] {
		m.unsubscribed(u, c)
	}
}

// A play is a model and a world that is to agree with it.
type play struct {
	model
	*world
	jids    [players]stanza.JID
	clients [players]*client
}

func newPlay(t *testing.T) *play {
	p := &play{world: newWorld(t, Config{})}
	for i, name := range []string{juliet, romeo, "nurse@chat.test"} {
		p.jids[i] = stanza.MustJID(name)
		p.clients[i] = p.login(name + "/1")
	}
	return p
}

// A move is one thing that a user does to another, in the world and in the model. tolerated
// are the errors that it may return.
type move struct {
	name string
	act  func(p *play, u, c int) error
	want func(p *play, u, c int)
}

var moves = []move{
	presence("subscribe", (*model).subscribe),
	presence("subscribed", (*model).subscribed),
	presence("unsubscribe", (*model).unsubscribe),
	presence("unsubscribed", (*model).unsubscribed),
	{"roster set", func(p *play, u, c int) error {
		p.clients[u].send(set("<item jid='" + p.jids[c].String() + "' name='x'/>"))
		return nil
	}, func(p *play, u, c int) { p.listed[u][c] = true }},
	{"roster remove", func(p *play, u, c int) error {
		p.clients[u].send(set("<item jid='" + p.jids[c].String() + "' subscription='remove'/>"))
		return nil
	}, func(p *play, u, c int) { p.remove(u, c) }},
	call("Request", func(s *Service, ctx context.Context, u, c stanza.JID) error { return s.Request(ctx, u, c, "gg") }, (*model).request),
	call("Accept", (*Service).Accept, (*model).accept),
	call("Decline", (*Service).Decline, (*model).decline),
	call("Remove", (*Service).Remove, (*model).remove),
	{"block", func(p *play, u, c int) error { return p.block(u, c, true) }, func(p *play, u, c int) { p.blocks[u][c] = true }},
	{"unblock", func(p *play, u, c int) error { return p.block(u, c, false) }, func(p *play, u, c int) { p.blocks[u][c] = false }},
	privacyMove(store.Everyone), privacyMove(store.FriendsOfFriends), privacyMove(store.Nobody),
}

func presence(typ string, want func(*model, int, int)) move {
	return move{typ, func(p *play, u, c int) error {
		p.clients[u].send("<presence to='" + p.jids[c].String() + "' type='" + typ + "'/>")
		return nil
	}, func(p *play, u, c int) {
		if !p.blocks[u][c] { // XEP-0191 §3.3: nothing goes to whom one blocks
			want(&p.model, u, c)
		}
	}}
}

func call(name string, act func(s *Service, ctx context.Context, u, c stanza.JID) error, want func(*model, int, int)) move {
	return move{name, func(p *play, u, c int) error {
		err := act(p.s, context.Background(), p.jids[u], p.jids[c])
		if e := (*stanza.Error)(nil); errors.As(err, &e) && (e.Condition == "item-not-found" || e.Condition == "not-acceptable") {
			return nil // there was nothing to do it to, or a block
		}
		return err
	}, func(p *play, u, c int) { want(&p.model, u, c) }}
}

func privacyMove(a store.Audience) move {
	return move{"requests " + a.String(), func(p *play, u, _ int) error {
		return p.s.SetPrivacy(context.Background(), p.jids[u], store.Privacy{Requests: a})
	}, func(p *play, u, _ int) { p.requests[u] = a }}
}

// block changes a list as xep does: the store, the sessions, then who hears of whom.
func (p *play) block(u, c int, on bool) error {
	ctx, user := context.Background(), p.jids[u]
	jids := []string{p.jids[c].String()}
	list, err := p.store.Blocklist(ctx, user.Local())
	if err != nil {
		return err
	}
	before := router.NewBlocklist(list)
	if on {
		err = p.store.Block(ctx, user.Local(), jids, 0)
	} else {
		err = p.store.Unblock(ctx, user.Local(), jids)
	}
	if err != nil {
		return err
	}
	if list, err = p.store.Blocklist(ctx, user.Local()); err != nil {
		return err
	}
	after := router.NewBlocklist(list)
	p.clients[u].state.Blocked.Store(after)
	return p.s.BlocklistChanged(ctx, nil, user, before, after)
}

// differences is where the world is not as the model says, nor its rosters mirror images.
func (p *play) differences() error {
	for u := range players {
		list, err := p.s.Friends(context.Background(), p.jids[u])
		if err != nil {
			return err
		}
		for c := range players {
			if u == c {
				continue
			}
			if err := p.compare(u, c, list); err != nil {
				return fmt.Errorf("%s of %s: %w", p.jids[c], p.jids[u], err)
			}
		}
	}
	return nil
}

func (p *play) compare(u, c int, list []Friend) error {
	item, exists := p.item(p.jids[u].Local(), p.jids[c].String())
	now := stateOf(&item)
	got := [...]bool{now.to(), now.from(), aspects[now].out, aspects[now].in, item.Approved, exists && !item.Hidden}
	want := [...]bool{p.sees[u][c], p.sees[c][u], p.asked[u][c], p.waiting[u][c], p.approved[u][c], p.listed[u][c]}
	if got != want {
		return fmt.Errorf("to, from, out, in, approved, listed: %v, want %v", got, want)
	}
	if exists && item.Hidden && !p.waiting[u][c] {
		return errors.New("a hidden item without a request")
	}
	theirs, _ := p.item(p.jids[c].Local(), p.jids[u].String())
	if now == both && !theirs.Created.Equal(item.Created) {
		return fmt.Errorf("friends since %v and %v", item.Created, theirs.Created)
	}
	if item.Message != "" && !item.Ask && !item.PendingIn {
		return fmt.Errorf("message %q without a request", item.Message)
	}
	f := find(list, p.jids[c])
	if (f != nil) != exists || f != nil && (f.Subscription != item.Sub || f.Ask != askOf(&item) || f.AskMessage != item.Message || f.Hidden != item.Hidden) {
		return fmt.Errorf("cached %+v, stored %+v", f, item)
	}
	ok, err := p.s.friends(context.Background(), p.jids[u], p.jids[c])
	if err != nil || ok != (now == both) {
		return fmt.Errorf("friends %v %w, state %d", ok, err, now)
	}
	return nil
}

// TestModel drives random sequences of what clients and services do against the model.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newPlay(t)
		var done []string
		for range rapid.IntRange(1, 40).Draw(rt, "moves") {
			m := rapid.SampledFrom(moves).Draw(rt, "move")
			u := rapid.IntRange(0, players-1).Draw(rt, "user")
			c := (u + rapid.IntRange(1, players-1).Draw(rt, "contact")) % players
			done = append(done, fmt.Sprintf("%d %s %d", u, m.name, c))
			if err := p.make(m, u, c); err != nil {
				rt.Fatalf("after %q: %v", done, err)
			}
		}
	})
}

func (p *play) make(m move, u, c int) error {
	if err := m.act(p, u, c); err != nil {
		return err
	}
	m.want(p, u, c)
	p.settle()
	return p.differences()
}

// TestEveryOrder has two users do two things each, in every order in which these can happen, all
// combinations of what matters most.
func TestEveryOrder(t *testing.T) {
	var some []move
	for _, m := range moves {
		if slices.Contains([]string{"Request", "Accept", "Remove", "subscribe", "subscribed", "block"}, m.name) {
			some = append(some, m)
		}
	}
	orders := [][]int{{0, 0, 1, 1}, {0, 1, 0, 1}, {0, 1, 1, 0}} // the others are these with the users exchanged
	n := len(some)
	for i := range n * n * n * n {
		of := [2][2]move{{some[i%n], some[i/n%n]}, {some[i/n/n%n], some[i/n/n/n]}}
		for _, order := range orders {
			p := newPlay(t)
			var next [2]int
			for _, u := range order {
				m := of[u][next[u]]
				next[u]++
				if err := p.make(m, u, 1-u); err != nil {
					t.Fatalf("%s, %s against %s, %s in order %v: %v", of[0][0].name, of[0][1].name, of[1][0].name, of[1][1].name, order, err)
				}
			}
		}
	}
}
