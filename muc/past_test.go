package muc

import (
	"strings"
	"testing"
)

// TestDated: history that an owner brings is told as of when it was said, once; nobody else says when something was said, nor that it is no history.
func TestDated(t *testing.T) {
	const then, ours = "2004-09-29T01:54:37", "from='verona@conference.chat.test' stamp='"
	old := "<delay xmlns='" + nsDelay + "' from='romeo@chat.test/orchard' stamp='" + then + "Z'/>"
	for name, c := range map[string]struct {
		owner         bool
		inner         string
		delays, dated int // in history, and with the old time by the room
		rooms         int // by the room at all
	}{
		"an owner":               {true, "<body>thou</body>" + old, 1, 1, 1},
		"somebody else":          {false, "<body>thou</body>" + old, 2, 0, 1},
		"in the future":          {true, "<body>thou</body>" + strings.ReplaceAll(old, "2004", "2904"), 2, 0, 1},
		"no time":                {true, "<body>thou</body>" + strings.ReplaceAll(old, then, "then"), 2, 0, 1},
		"the room's, forged":     {false, "<body>thou</body><delay xmlns='" + nsDelay + "' " + ours + then + "Z'/>", 1, 0, 1},
		"the room's, in another": {false, "<body>thou</body><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='" + nsDelay + "' " + ours + then + "Z'/></forwarded>", 2, 1, 2},
		"the room's, as text":    {false, "<body><![CDATA[<delay xmlns='" + nsDelay + "' " + ours + then + "Z'/>]]></body>", 2, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, unlimited())
			romeo, juliet, late := f.online("romeo@chat.test/orchard"), f.online("juliet@chat.test/balcony"), f.online("late@chat.test/1")
			f.join(romeo, "verona", "Romeo")
			f.configure(romeo, "verona")
			f.join(juliet, "verona", "Juliet")
			who := juliet
			if c.owner {
				who = romeo
			}
			f.send(who, "<message type='groupchat' id='m' to='verona@conference.chat.test'>"+c.inner+"</message>")
			late.take()
			f.join(late, "verona", "Late")
			history := ""
			for _, m := range late.take() {
				if strings.Contains(m, "<body>") {
					history = m
				}
			}
			if got := strings.Count(history, "<delay "); got != c.delays {
				t.Errorf("%d delays: %s", got, history)
			}
			if got := strings.Count(history, ours+then); got != c.dated {
				t.Errorf("said then %d times: %s", got, history)
			}
			if got := strings.Count(history, ours); got != c.rooms {
				t.Errorf("%d delays of the room's: %s", got, history)
			}
		})
	}
}
