package chatd_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A state is what a sender knows of a message.
type state int

const (
	pending  state = iota
	accepted       // acknowledged, and not answered with an error before
	refused        // answered with an error: it may have been kept, if the database was in doubt
	returned       // acknowledged, and answered with an error later
	unknown        // the connection ended before its acknowledgement
	states
)

// A sentMessage is one message of the load.
type sentMessage struct {
	from, to string
	n        int // counts those of from to to
	state    state
	when     time.Time // it became what it is
}

func (m *sentMessage) key() string { return fmt.Sprintf("%s %s %d", m.from, m.to, m.n) }

// A ledger is all messages of the load. Senders write it, the test reads sent when they have ended.
type ledger struct {
	mu    sync.Mutex
	sent  []*sentMessage
	byKey map[string]*sentMessage
	tally [states]int

	stored atomic.Int64 // accepted for who is away
}

func (l *ledger) count(s state) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally[s]
}

func (l *ledger) settle(m *sentMessage, s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.state == pending && s != returned || m.state == accepted && s == returned {
		m.state, m.when = s, time.Now()
		l.tally[s]++
		if s == accepted && strings.HasPrefix(m.to, string(away)) {
			l.stored.Add(1)
		}
	}
}

func (l *ledger) add(m *sentMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, m)
	l.byKey[m.key()] = m
}

// answeredWithError is told of a message that came back.
func (l *ledger) answeredWithError(key string) {
	l.mu.Lock()
	m := l.byKey[key]
	l.mu.Unlock()
	if m == nil {
		return
	}
	l.settle(m, refused)
	l.settle(m, returned)
}

// connect is a client with stream management, to which nothing has been sent yet.
func (k *killTest) connect(user string, resumable bool) (*client, error) {
	c := k.srv.client(clientSpec{name: user, user: user, domain: testDomain, resource: "r", password: "secret", mechanism: "SCRAM-SHA-256", tls: "starttls"})
	err := c.connect()
	if err == nil {
		_, err = c.exchanged(fmt.Sprintf("<enable xmlns='%s' resume='%v'/>", nsSM, resumable), func(n *node) bool { return n.is(nsSM, "enabled") || n.is(nsSM, "failed") })
	}
	if err != nil && c.tcp != nil {
		c.tcp.Close()
	}
	return c, err
}

// login tries until it is in, or returns nil when the load ends.
func (k *killTest) login(user string) *client {
	for k.ctx.Err() == nil {
		if c, err := k.connect(user, false); err == nil {
			return c
		}
		k.pause(20 * time.Millisecond)
	}
	return nil
}

func (k *killTest) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-k.ctx.Done():
	}
}

// A sender sends a few messages to everybody, waits until they are acknowledged, and goes on. It never repeats one.
type sender struct {
	*killTest
	user string
	next map[string]int // by recipient
}

func (s *sender) run() {
	for {
		c := s.login(s.user)
		if c == nil {
			return
		}
		handled := 0
		for s.ctx.Err() == nil && s.burst(c, &handled) == nil {
		}
		c.tcp.Close()
	}
}

// burst sends messages and takes what the server says of them.
func (s *sender) burst(c *client, handled *int) error {
	messages := make(map[string]*sentMessage)
	var b strings.Builder
	for range 2 {
		for _, r := range s.recipient {
			m := &sentMessage{from: s.user, to: r.user, n: s.next[r.user]}
			s.next[r.user]++
			messages[m.key()] = m
			s.ledger.add(m)
			fmt.Fprintf(&b, "<message type='chat' to='%s@%s' id='%s'><body>%[3]s</body></message>", m.to, testDomain, m.key())
		}
	}
	defer func() {
		for _, m := range messages {
			s.ledger.settle(m, unknown)
		}
	}()
	*handled += len(messages)
	_, err := c.exchanged(b.String()+"<r xmlns='"+nsSM+"'/>", func(n *node) bool {
		if n.is(nsClient, "message") && n.attr("type") == "error" {
			s.ledger.answeredWithError(n.attr("id"))
		}
		return n.is(nsSM, "a") && n.attr("h") == strconv.Itoa(*handled)
	})
	c.pending = nil
	c.log.Reset()
	if err != nil {
		return err
	}
	for _, m := range messages {
		s.ledger.settle(m, accepted)
	}
	return nil
}

// A presenceKind is how a recipient comes and goes.
type presenceKind string

const (
	away     presenceKind = "away"
	here     presenceKind = "here"
	leaving  presenceKind = "leaving"  // comes and leaves in order
	breaking presenceKind = "breaking" // its connection breaks, and it resumes its session
)

// A recipient takes messages. It belongs to one goroutine at a time.
type recipient struct {
	*killTest
	user  string
	kind  presenceKind
	got   map[string]string // stanza-id of each message
	last  map[string]int    // the newest of each sender
	again int               // came twice with the same stanza-id

	overtaken []string // came after newer ones of the same sender

	breaks []time.Time // when its connection broke

	id      string // of the session to resume
	handled int    // in it
}

func (r *recipient) run() {
	for r.ctx.Err() == nil {
		c, err := r.arrive()
		if err != nil {
			r.pause(20 * time.Millisecond)
			continue
		}
		r.stay(c)
		c.tcp.Close()
	}
}

// arrive resumes the session or begins a new one.
func (r *recipient) arrive() (*client, error) {
	if r.id != "" {
		if c, err := r.resume(); err == nil {
			return c, nil
		}
	}
	r.id, r.handled = "", 0
	c := r.srv.client(clientSpec{name: r.user, user: r.user, domain: testDomain, resource: "r", password: "secret", mechanism: "SCRAM-SHA-256", tls: "starttls"})
	err := c.connect()
	if err != nil {
		return nil, errors.Join(err, c.hangUp())
	}
	enabled, err := c.exchanged(fmt.Sprintf("<enable xmlns='%s' resume='%v'/>", nsSM, r.kind == breaking), func(n *node) bool { return n.is(nsSM, "enabled") })
	if err == nil {
		r.id = enabled.attr("id")
		err = c.send("<presence/>")
	}
	if err != nil {
		return nil, errors.Join(err, c.hangUp())
	}
	return c, nil
}

func (c *client) hangUp() error {
	if c.tcp == nil {
		return nil
	}
	return c.tcp.Close()
}

// resume is XEP-0198 §5.
func (r *recipient) resume() (*client, error) {
	c := r.srv.client(clientSpec{name: r.user, user: r.user, domain: testDomain, resource: "r", password: "secret", mechanism: "SCRAM-SHA-256", tls: "starttls"})
	err := c.open()
	if err == nil {
		err = c.authenticate()
	}
	if err == nil {
		var answer *node
		answer, err = c.exchanged(fmt.Sprintf("<resume xmlns='%s' previd='%s' h='%d'/>", nsSM, r.id, r.handled),
			func(n *node) bool { return n.is(nsSM, "resumed") || n.is(nsSM, "failed") })
		if err == nil && !answer.is(nsSM, "resumed") {
			err = errors.New("not resumed")
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.hangUp())
	}
	return c, nil
}

// stay takes what comes until the recipient has enough or the connection ends.
func (r *recipient) stay(c *client) {
	enough := len(r.got) + 20 + rand.IntN(300)
	end := context.AfterFunc(r.ctx, func() { c.tcp.SetReadDeadline(time.Now()) })
	defer end()
	if r.ctx.Err() == nil {
		c.tcp.SetReadDeadline(time.Time{})
	}
	for asked := 0; r.kind == here || len(r.got) < enough; {
		n, err := readElement(c.dec)
		switch {
		case err != nil:
			return
		case n.is(nsSM, "r"):
			if asked++; r.kind != breaking || asked%3 == 0 {
				fmt.Fprintf(c.conn, "<a xmlns='%s' h='%d'/>", nsSM, r.handled)
			}
		default:
			r.take(n)
		}
	}
	if r.kind == breaking {
		r.breaks = append(r.breaks, time.Now())
		c.tcp.SetLinger(0)
		return
	}
	fmt.Fprintf(c.conn, "<a xmlns='%s' h='%d'/></stream:stream>", nsSM, r.handled)
	for {
		n, err := readElement(c.dec)
		if err != nil {
			return
		}
		r.take(n)
	}
}

// take notes a stanza.
func (r *recipient) take(n *node) {
	if n.name.Space != nsClient {
		return
	}
	r.handled++
	if !n.is(nsClient, "message") {
		return
	}
	key, id := n.child("body").text, n.child("stanza-id").attr("id")
	if was, ok := r.got[key]; ok {
		if r.again++; id != was {
			r.Errorf("doubled: %s, as %s and as %s", key, was, id)
		}
		return
	}
	r.got[key] = id
	var from, to string
	var number int
	if _, err := fmt.Sscan(key, &from, &to, &number); err != nil || to != r.user || id == "" {
		r.Errorf("%s got %s", r.user, n)
	}
	if last, ok := r.last[from]; ok && number <= last {
		r.overtaken = append(r.overtaken, key)
		return
	}
	r.last[from] = number
}

// A killed is a kill of chatd: from when it was about to be until it was seen to be dead.
type killed struct{ at, dead time.Time }

// underway reports whether a message was on its way to a connection that had broken just before one of these kills: the
// server had handed it to the system, and could not know yet that nobody was to read it.
func (r *recipient) underway(m *sentMessage, kills []killed) bool {
	for _, broke := range r.breaks {
		for _, kill := range kills {
			if broke.Before(kill.dead) && kill.at.Sub(broke) < noticed && m.when.After(broke.Add(-noticed)) && m.when.Before(kill.at.Add(noticed)) {
				return true
			}
		}
	}
	return false
}

// noticed is how long after its end the server knows of a connection's, however busy the machine.
const noticed = time.Second

// fetch gets all that waits, when the load has ended.
func (r *recipient) fetch() {
	r.Helper()
	r.id = ""
	for empty := 0; empty < 2; empty++ {
		r.handled = 0
		c, err := r.connect(r.user, false)
		if err == nil {
			err = errors.Join(c.send("<presence/>"), c.ping())
		}
		if err != nil {
			r.Fatal(r.user, err)
		}
		for _, n := range c.pending {
			if n.is(nsClient, "message") {
				empty = -1
			}
			r.take(n)
		}
		c.pending = nil
		if err := c.send(fmt.Sprintf("<a xmlns='%s' h='%d'/>", nsSM, r.handled)); err != nil {
			r.Fatal(err)
		}
		if err := errors.Join(c.ping(), c.close()); err != nil {
			r.Fatal(r.user, err)
		}
	}
}

// A befriender makes friends, each new one with a user who is new.
type befriender struct {
	asked  []string // the request was acknowledged
	made   []string // so was its acceptance
	broken int
}

const lover = "lover"

func (b *befriender) run(k *killTest) {
	for i := 0; k.ctx.Err() == nil; i++ {
		user := fmt.Sprint("friend", i)
		switch err := b.befriend(k, user); {
		case err != nil:
			b.broken++
			k.pause(100 * time.Millisecond)
		default:
			b.made = append(b.made, user)
			k.pause(20 * time.Millisecond)
		}
	}
}

var errNotDone = errors.New("answered with an error")

// befriend asks a new user for friendship, who accepts.
func (b *befriender) befriend(k *killTest, user string) error {
	if err := k.srv.register(user, "secret"); err != nil {
		return err
	}
	if err := b.present(k, lover, "subscribe", user); err != nil {
		return err
	}
	b.asked = append(b.asked, user)
	return b.present(k, user, "subscribed", lover)
}

// present sends presence of a type and waits until it is acknowledged.
func (b *befriender) present(k *killTest, from, typ, to string) error {
	c, err := k.connect(from, false)
	if err != nil {
		return err
	}
	defer c.hangUp()
	if err := errors.Join(c.send("<presence type='"+typ+"' to='"+to+"@"+testDomain+"'/>"), c.ping()); err != nil {
		return err
	}
	for _, n := range c.pending {
		if n.attr("type") == "error" {
			return errNotDone
		}
	}
	return nil
}

// check holds both lists of friends to what was acknowledged.
func (b *befriender) check(k *killTest) {
	k.Helper()
	made, asked := make(map[string]bool), make(map[string]bool)
	for _, user := range b.made {
		made[user] = true
	}
	of := b.subscriptions(k, lover)
	for _, user := range b.asked {
		asked[user] = true
		item, there := of[user]
		switch {
		case !there:
			k.Errorf("%s was asked and is not in the list", user)
		case made[user] && item != "to":
			k.Errorf("%s has accepted, and the list has subscription %q", user, item)
		case made[user] && b.subscriptions(k, user)[lover] != "from":
			k.Errorf("%s has accepted and has no such friend", user)
		}
	}
}

// subscriptions is a user's list.
func (b *befriender) subscriptions(k *killTest, user string) map[string]string {
	k.Helper()
	c, err := k.connect(user, false)
	if err != nil {
		k.Fatal(err)
	}
	defer c.hangUp()
	reply, err := c.request(rosterGet)
	if err != nil || reply.child("query") == nil {
		k.Fatal(reply, err)
	}
	all := make(map[string]string)
	for _, item := range reply.child("query").kids {
		name, _, _ := strings.Cut(item.attr("jid"), "@")
		all[name] = item.attr("subscription")
	}
	return all
}
