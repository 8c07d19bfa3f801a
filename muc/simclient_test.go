package muc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"chatd/router"
	"chatd/stanza"
)

func formatted(start time.Time, format string, args ...any) string {
	return fmt.Sprintf("%9v ", time.Since(start).Round(100*time.Microsecond)) + fmt.Sprintf(format, args...)
}

// A simClient is a session, which keeps what its user would see.
type simClient struct {
	n     *simNode
	jid   stanza.JID
	tag   string // what it says begins with
	state router.State
	done  chan struct{}
	todo  simWorker

	mu    sync.Mutex
	ended bool
	views map[string]*simView // by room
}

// A simView is a room as a session sees it.
type simView struct {
	wants   bool // it has been let in, and has not said that it leaves
	in      bool
	nick    string
	since   time.Time // that it is in
	until   time.Time // it was; zero: it is
	nicks   map[string]bool
	heard   map[string]int // live messages
	order   []string
	told    []string // history
	failed  map[string]bool
	subject string
	thrown  string
	log     []string
}

func (n *simNode) client(full string) *simClient {
	c := &simClient{n: n, jid: stanza.MustJID(full), done: make(chan struct{}), views: map[string]*simView{}}
	c.tag = c.jid.Resource()
	c.state.Begun = time.Now()
	c.todo.come.L = &c.todo.mu
	go c.todo.run()
	n.r.Table.Bind(c, false)
	n.r.Table.SetPresence(c, true, 0)
	n.clients = append(n.clients, c)
	return c
}

func (c *simClient) JID() stanza.JID { return c.jid }
func (c *simClient) SendNow(context.Context, []*stanza.Stanza, []int64) (bool, error) {
	return false, nil
}
func (c *simClient) Close(*stanza.StreamError) {}
func (c *simClient) Done() <-chan struct{}     { return c.done }
func (c *simClient) State() *router.State      { return &c.state }

func (c *simClient) stop() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.todo.mu.Lock()
	c.todo.end = true
	c.todo.come.Signal()
	c.todo.mu.Unlock()
}

// says has the session's own goroutine route a stanza, as raw XML without 'from'.
func (c *simClient) says(format string, args ...any) {
	st, err := stanza.Parse(fmt.Appendf(nil, format, args...))
	if err != nil {
		panic(err)
	}
	st.From = c.jid
	c.todo.put(func(b *router.Batch) {
		if !c.gone() {
			c.n.Handle(context.Background(), b, c, st)
		}
	})
}

func (c *simClient) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

func (c *simClient) view(room string) *simView {
	v := c.views[room]
	if v == nil {
		v = &simView{nicks: map[string]bool{}, heard: map[string]int{}, failed: map[string]bool{}}
		c.views[room] = v
	}
	return v
}

func (c *simClient) enter(room, nick string) {
	c.mu.Lock()
	v := c.view(room)
	if !v.in {
		clear(v.nicks)
	}
	c.mu.Unlock()
	c.says("<presence to='%s@%s/%s'><x xmlns='%s'/></presence>", room, fakeHost, nick, NS)
}

func (c *simClient) leave(room string) {
	c.mu.Lock()
	v := c.view(room)
	v.wants = false
	nick := v.nick
	c.mu.Unlock()
	c.says("<presence type='unavailable' to='%s@%s/%s'/>", room, fakeHost, nick)
}

func (c *simClient) shout(room, text string) {
	c.says("<message type='groupchat' id='%[3]s' to='%[1]s@%[2]s'><body>%[3]s</body></message>", room, fakeHost, text)
}

// die ends the session: its directed presences are followed by unavailable ones (RFC 6121 §4.6.3).
func (c *simClient) die() {
	c.todo.put(func(b *router.Batch) {
		if c.gone() {
			return
		}
		c.mu.Lock()
		rooms := map[string]string{}
		for room, v := range c.views {
			rooms[room] = v.nick
			v.wants = false
		}
		c.mu.Unlock()
		c.stop()
		c.n.r.Table.Unbind(c)
		for _, room := range slices.Sorted(maps.Keys(rooms)) {
			nick := rooms[room]
			if nick == "" {
				nick = "x"
			}
			at, _ := stanza.MustJID(room + "@" + fakeHost).WithResource(nick)
			c.n.Handle(context.Background(), b, c, &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: c.jid, To: at})
		}
	})
}

func (c *simClient) Send(_ *router.Batch, st *stanza.Stanza) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	text := string(st.Append(nil))
	v := c.view(st.From.Local())
	switch {
	case st.Type == stanza.TypeError:
		v.failed[string(st.ID)] = true
		if st.Kind == stanza.Presence {
			c.n.s.note("%s is refused: %s", c.jid, text)
		}
	case st.Kind == stanza.Message && strings.Contains(text, "<body>"):
		_, rest, _ := strings.Cut(text, "<body>")
		body, _, _ := strings.Cut(rest, "</body>")
		if strings.Contains(text, "<delay") {
			v.told = append(v.told, body)
		} else {
			v.heard[body]++
			v.log = append(v.log, formatted(c.n.s.start, "%s", body))
			v.order = append(v.order, body)
		}
	case st.Kind == stanza.Message && strings.Contains(text, "<subject"):
		_, v.subject, _ = strings.Cut(text, "<subject")
		v.subject, _, _ = strings.Cut(v.subject, "</subject>")
	case st.Kind == stanza.Presence:
		c.sees(v, st, text)
	}
	return true
}

func (c *simClient) sees(v *simView, st *stanza.Stanza, text string) {
	room, nick := st.From.Local(), st.From.Resource()
	v.log = append(v.log, formatted(c.n.s.start, "%s %v", nick, strings.ReplaceAll(text, "http://jabber.org/protocol/muc#user", "")))
	own := strings.Contains(text, "code='110'")
	if st.Type == stanza.Unavailable {
		delete(v.nicks, nick)
		if own && !strings.Contains(text, "code='303'") && v.in {
			v.in, v.until = false, time.Now()
			if v.wants {
				v.thrown = text
			}
		}
		return
	}
	v.nicks[nick] = true
	if !own {
		return
	}
	v.nick = nick
	if !v.in {
		v.in, v.wants, v.since, v.until = true, true, time.Now(), time.Time{}
	}
	if strings.Contains(text, "code='201'") {
		persistent := "0"
		if strings.HasPrefix(room, "kept") {
			persistent = "1"
		}
		go c.says("<iq type='set' id='made' to='%s@%s'><query xmlns='%s'><x xmlns='%s' type='submit'><field var='muc#roomconfig_persistentroom'><value>%s</value></field>"+
			"<field var='muc#roomconfig_whois'><value>anyone</value></field></x></query></iq>", room, fakeHost, nsOwner, nsForms, persistent)
	}
}
