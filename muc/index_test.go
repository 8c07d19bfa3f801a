package muc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"chatd/stanza"
)

// TestIndex compares what a crowd finds with what plain maps have, while occupants and sessions come, leave and take other nicks.
func TestIndex(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var c crowd
	nicks, jids := map[string]*occupant{}, map[string]*occupant{}
	pick := func() *occupant { return c.all[rnd.IntN(len(c.all))] }
	for i := range 20_000 {
		size := 100 * (1 + i/2000%3) // it grows, and falls below few again
		switch n := rnd.IntN(10); {
		case len(c.all) == 0 || n < 4 && len(c.all) < size:
			o := &occupant{at: stanza.MustJID(fmt.Sprintf("r@muc/n%d", i)), seats: []seat{{jid: stanza.MustJID(fmt.Sprintf("u%d@d/0", i))}}}
			c.add(o)
			nicks[o.nick()], jids[o.seats[0].jid.String()] = o, o
		case n < 6 && i%2000 < 1500:
			o, s := pick(), seat{jid: stanza.MustJID(fmt.Sprintf("u@d/%d", i))}
			c.join(o, s)
			jids[s.jid.String()] = o
		case n < 7:
			o := pick()
			delete(nicks, o.nick())
			c.rename(o, stanza.MustJID(fmt.Sprintf("r@muc/m%d", i)))
			nicks[o.nick()] = o
		case n < 9:
			o := pick()
			full := o.seats[rnd.IntN(len(o.seats))].jid
			delete(jids, full.String())
			if c.part(o, full) {
				delete(nicks, o.nick())
			}
		default:
			o := pick()
			c.remove(o)
			delete(nicks, o.nick())
			for _, s := range o.seats {
				delete(jids, s.jid.String())
			}
		}
		if i%50 > 0 && len(c.all) > 0 {
			continue
		}
		if len(c.all) != len(nicks) || c.seats != len(jids) {
			t.Fatalf("%d occupants with %d sessions, want %d with %d", len(c.all), c.seats, len(nicks), len(jids))
		}
		for nick, o := range nicks {
			if c.named(nick) != o {
				t.Fatalf("step %d: %s is %v", i, nick, c.named(nick))
			}
		}
		for full, o := range jids {
			if c.of(stanza.MustJID(full)) != o {
				t.Fatalf("step %d: %s is %v", i, full, c.of(stanza.MustJID(full)))
			}
		}
		if c.named("") != nil || c.named("nobody") != nil || c.of(stanza.MustJID("nobody@d/x")) != nil {
			t.Fatalf("step %d: nobody is found", i)
		}
	}
	if c.dir == nil {
		t.Error("there never were many")
	}
}
