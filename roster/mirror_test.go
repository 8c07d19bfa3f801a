package roster

import (
	"fmt"
	"math/rand"
	"strconv"
	"strings"
	"sync"
	"testing"

	"chatd/stanza"
)

// Whatever two users do at the same time, their rosters end as mirror images,
// their clients see the pushes in order of version, and each client's picture of
// the other's presence is right.
func TestMirror(t *testing.T) {
	for seed := range int64(40) {
		t.Run(strconv.FormatInt(seed, 10), func(t *testing.T) { mirror(t, seed) })
	}
}

func mirror(t *testing.T, seed int64) {
	w := newWorld(t, Config{})
	names := []string{juliet, romeo}
	var wg sync.WaitGroup
	clients := make([][]*client, len(names))
	for u, name := range names {
		for i := range 2 {
			c := w.login(fmt.Sprintf("%s/%d", name, i))
			clients[u] = append(clients[u], c)
			rng := rand.New(rand.NewSource(seed*100 + int64(10*u+i)))
			wg.Go(func() { act(c, names[1-u], rng) })
		}
	}
	wg.Wait()

	a, _ := w.item("juliet", romeo)
	b, _ := w.item("romeo", juliet)
	mine, theirs := stateOf(&a), stateOf(&b)
	if mine.to() != theirs.from() || mine.from() != theirs.to() ||
		aspects[mine].out != aspects[theirs].in || aspects[mine].in != aspects[theirs].out {
		t.Errorf("juliet has %+v, romeo %+v", a, b)
	}
	for u := range clients {
		for _, c := range clients[u] {
			checkOrder(t, c)
			checkPicture(t, c, clients[1-u], [2]state{mine, theirs}[u].to())
		}
	}
	if err := w.r.Table.ConsistencyCheck(); err != nil {
		t.Error(err)
	}
}

// act does random things of one resource and leaves it available.
func act(c *client, contact string, rng *rand.Rand) {
	verbs := []string{"subscribe", "subscribed", "unsubscribe", "unsubscribed"}
	for i := range 60 {
		switch n := rng.Intn(11); {
		case n < 6:
			c.send("<presence to='" + contact + "' type='" + verbs[rng.Intn(4)] + "'/>")
		case n < 7:
			c.send(set("<item jid='" + contact + "' name='" + strconv.Itoa(i) + "'/>"))
		case n < 8:
			c.send(set("<item jid='" + contact + "' subscription='remove'/>"))
		case n < 9:
			c.send("<iq id='g' type='get'><query xmlns='jabber:iq:roster'/></iq>")
		case n < 10:
			c.send("<presence type='unavailable'/>")
			c.send("<presence id='" + strconv.Itoa(i) + "'/>")
		default:
			c.send("<presence id='" + strconv.Itoa(i) + "'/>")
		}
	}
}

// checkOrder verifies that each push is of a newer roster than all before it, and
// no result of an older one.
func checkOrder(t *testing.T, c *client) {
	t.Helper()
	last := int64(0)
	for _, st := range c.got {
		m := versionOf.FindSubmatch(st.Inner)
		if st.Kind != stanza.IQ || m == nil {
			continue
		}
		v, err := strconv.ParseInt(string(m[1]), 10, 64)
		if err != nil || v < last || st.Type == stanza.Set && v == last {
			t.Errorf("%s: %s of version %d after %d", c.jid, st.Type, v, last)
		}
		last = v
	}
}

// checkPicture compares the last presence that a client got of each of the
// contact's resources with the truth.
func checkPicture(t *testing.T, c *client, others []*client, subscribed bool) {
	t.Helper()
	for _, other := range others {
		var last *stanza.Stanza
		for _, st := range c.got {
			switch {
			case st.From == other.jid:
				last = st
			case st.From == c.jid && st.Type == stanza.Unavailable:
				last = nil // the client's own presence session is over: it knows nothing
			}
		}
		want := "nothing or unavailable"
		if subscribed {
			want = "id='" + string(other.state.Presence.Load().ID) + "'"
		}
		switch {
		case subscribed && (last == nil || last.Type != stanza.None || string(last.ID) != string(other.state.Presence.Load().ID)),
			!subscribed && last != nil && last.Type != stanza.Unavailable:
			got := "nothing"
			if last != nil {
				got = strings.TrimSpace(string(last.Append(nil)))
			}
			t.Errorf("%s last saw of %s %s, want %s", c.jid, other.jid, got, want)
		}
	}
}
