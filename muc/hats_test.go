package muc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"chatd/stanza"
)

// TestHatsAndVoiceMove: who wears a hat, and who has been given voice, does so and has it in a room that has moved to another node, or lost its home.
func TestHatsAndVoiceMove(t *testing.T) {
	for name, leave := range map[string]func(*fakeCluster){
		"drained": func(c *fakeCluster) { c.place([]string{"a", "b", "c"}, []string{"a", "b"}) },
		"killed":  func(c *fakeCluster) { c.kill("c") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newFakeCluster(t, "a", "b", "c")
			owner, user := c.node("a").client("owner@chat.test/1"), c.node("b").client("user@chat.test/1")
			const count = 8
			command := func(room, node string, fields ...string) {
				form := "<x xmlns='" + nsForms + "' type='submit'>"
				for i := 0; i < len(fields); i += 2 {
					form += "<field var='" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
				}
				owner.says("<iq type='set' id='c' to='%s@%s'><command xmlns='%s' node='%s:%s'>%s</x></command></iq>", room, fakeHost, nsCommands, nsHatsCommands, node, form)
				c.quiet()
			}
			for i := range count {
				room := fmt.Sprint("r", i)
				owner.enter(room, "owner")
				c.quiet()
				owner.says("<iq type='set' id='u' to='%s@%s'><query xmlns='%s'><x xmlns='%s' type='submit'><field var='muc#roomconfig_moderatedroom'><value>1</value></field></x></query></iq>",
					room, fakeHost, nsOwner, nsForms)
				c.quiet()
				user.enter(room, "user")
				c.quiet()
				command(room, "create", "hats#title", "Captain", "hats#uri", "urn:captain")
				command(room, "assign", "hats#jid", "user@chat.test", "hats#uri", "urn:captain")
				owner.says("<iq type='set' id='v' to='%s@%s'><query xmlns='%s'><item nick='user' role='participant'/></query></iq>", room, fakeHost, nsAdmin)
				c.quiet()
				user.says("<presence type='unavailable' to='%s@%s/user'/>", room, fakeHost)
				c.quiet()
			}
			leave(c)
			c.quiet()
			user.hears("")
			for i := range count {
				user.enter(fmt.Sprint("r", i), "again")
				c.quiet()
				self := strings.Join(user.hears("code='110'"), "\n")
				if !strings.Contains(self, "role='participant'") || !strings.Contains(self, "uri='urn:captain'") {
					t.Errorf("room %d: %s", i, self)
				}
			}
		})
	}
}

// TestNewHats: what hats cannot be.
func TestNewHats(t *testing.T) {
	many := make([]Hat, maxHats+1)
	for i := range many {
		many[i] = Hat{URI: fmt.Sprint("urn:", i), Title: "T"}
	}
	crowd := make([]string, maxWearers+1)
	for i := range crowd {
		crowd[i] = fmt.Sprintf("u%d@chat.test", i)
	}
	for name, hats := range map[string][]Hat{
		"no title":     {{URI: "urn:a"}},
		"no URI":       {{Title: "A"}},
		"long":         {{URI: "urn:a", Title: strings.Repeat("a", maxHatBytes+1)}},
		"hue":          {{URI: "urn:a", Title: "A", Hue: "361"}},
		"no number":    {{URI: "urn:a", Title: "A", Hue: "NaN"}},
		"one twice":    {{URI: "urn:a", Title: "A"}, {URI: "urn:a", Title: "B"}},
		"too many":     many,
		"worn by many": {{URI: "urn:a", Title: "A", Users: crowd}},
	} {
		var refused *stanza.Error
		if _, err := NewHats(hats); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h, err := NewHats([]Hat{{URI: "urn:a", Title: "<A>", Users: []string{"b@chat.test", "a@chat.test", "b@chat.test"}}, {URI: "urn:b", Title: "B"}})
	if err != nil {
		t.Fatal(err)
	}
	a, c := stanza.MustJID("a@chat.test/1"), stanza.MustJID("c@chat.test/1")
	if got := h.worn(a); got != "<hats xmlns='urn:xmpp:hats:0'><hat title='&lt;A&gt;' uri='urn:a'/></hats>" {
		t.Errorf("wears %s", got)
	}
	if got := h.worn(c); got != "" {
		t.Errorf("wears %s", got)
	}
	less, err := h.wornBy("urn:a", "a@chat.test", false)
	if err != nil || less.worn(a) != "" || less.equal(h) || h.worn(a) == "" {
		t.Errorf("%v, %v", less, err)
	}
	if back, err := less.wornBy("urn:a", "a@chat.test", true); err != nil || !back.equal(h) || back.hash() != h.hash() {
		t.Errorf("%v, %v", back, err)
	}
}
