package xep

import (
	"context"
	"errors"
	"strings"
	"testing"

	"chatd/auth"
	"chatd/stanza"
)

// accounts notes what is asked of it.
type accounts struct {
	log []string
	err error
}

func (a *accounts) SetPassword(_ context.Context, user, password string) error {
	a.log = append(a.log, "password "+user+" "+password)
	return a.err
}

func (a *accounts) Remove(_ context.Context, user string) error {
	a.log = append(a.log, "remove "+user)
	return a.err
}

func (a *accounts) unfriend(_ context.Context, user stanza.JID) error {
	a.log = append(a.log, "unfriend "+user.String())
	return nil
}

func register(inner string) string { return "<query xmlns='jabber:iq:register'>" + inner + "</query>" }

func TestRegisterGet(t *testing.T) {
	f := newFixture(t)
	NewRegister(f.Router, nil, nil)
	romeo := f.online("romeo@chat.test/orchard", 0)
	want := register("<registered/><username>romeo</username><password/>")
	f.result(f.ask(romeo, "get", "", register("")), want)
	f.result(f.ask(romeo, "get", "chat.test", register("")), want)
	f.refused(f.ask(romeo, "get", "juliet@chat.test", register("")), "service-unavailable")
}

func TestRegisterSet(t *testing.T) {
	for _, c := range []struct {
		inner string
		err   error
		want  string // condition, or "" for a result
		log   string
	}{
		{inner: "<username>romeo</username><password>new &amp;</password>", log: "password romeo new &"},
		{inner: "<username>ROMEO</username><password>x</password>", log: "password romeo x"},
		{inner: "<username>juliet</username><password>secret</password>", want: "not-allowed"},
		{inner: "<username>romeo/x</username><password>secret</password>", want: "not-allowed"},
		{inner: "<username></username><password>secret</password>", want: "not-allowed"},
		{inner: "<password>secret</password>", want: "bad-request"},
		{inner: "<username>romeo</username>", want: "bad-request"},
		{inner: "<username>romeo</username><password/>", want: "bad-request"}, // XEP-0077 §3.3
		{inner: "", want: "bad-request"},
		{inner: "<username xmlns='urn:x'>romeo</username><password xmlns='urn:x'>secret</password>", want: "bad-request"},
		{inner: "<x xmlns='jabber:x:data'><field var='password'><value>secret</value></field></x>", want: "bad-request"},
		{inner: "<username>romeo</username><password>secret</password>", err: auth.ErrBadPassword, want: "not-acceptable", log: "password romeo secret"},
		{inner: "<username>romeo</username><password>secret</password>", err: errors.New("fault"), want: "internal-server-error", log: "password romeo secret"},
		{inner: "<remove/><username>romeo</username>", want: "bad-request"},
		{inner: "<remove/><x xmlns='urn:x'/>", want: "bad-request"},
		{inner: "<remove/>", err: auth.ErrNotFound, want: "registration-required", log: "unfriend romeo@chat.test;remove romeo"},
		{inner: "<remove/>", err: errors.New("fault"), want: "internal-server-error", log: "unfriend romeo@chat.test;remove romeo"},
	} {
		f := newFixture(t)
		a := &accounts{err: c.err}
		NewRegister(f.Router, a, a.unfriend)
		romeo := f.online("romeo@chat.test/orchard", 0)
		got := f.ask(romeo, "set", "", register(c.inner))
		if c.want == "" {
			f.result(got, "")
		} else {
			f.refused(got, c.want)
		}
		if strings.Contains(got, "secret") {
			t.Errorf("%s: the password came back: %s", c.inner, got)
		}
		if log := strings.Join(a.log, ";"); log != c.log {
			t.Errorf("%s: %s, want %s", c.inner, log, c.log)
		}
		if romeo.reason != nil {
			t.Errorf("%s: the session was closed", c.inner)
		}
	}
}

// TestRegisterByToken: a token is not worth a password.
func TestRegisterByToken(t *testing.T) {
	f := newFixture(t)
	a := &accounts{}
	NewRegister(f.Router, a, a.unfriend)
	romeo := f.online("romeo@chat.test/orchard", 0)
	romeo.State().Temporary = true
	got := f.ask(romeo, "set", "", register("<username>romeo</username><password>secret</password>"))
	f.refused(got, "not-allowed")
	if strings.Contains(got, "secret") || len(a.log) > 0 {
		t.Errorf("%s, %q", got, a.log)
	}
}

func TestRegisterRemove(t *testing.T) {
	f := newFixture(t)
	a := &accounts{}
	NewRegister(f.Router, a, a.unfriend)
	romeo := f.online("romeo@chat.test/orchard", 0)
	garden := f.connect("romeo@chat.test/garden")
	juliet := f.online("juliet@chat.test/balcony", 0)
	f.result(f.ask(romeo, "set", "", register("<remove/>")), "") // taken before the session was closed
	if romeo.reason != stanza.StreamNotAuthorized || garden.reason != stanza.StreamNotAuthorized || juliet.reason != nil {
		t.Errorf("closed: %v, %v, %v", romeo.reason, garden.reason, juliet.reason)
	}
	f.equal("done", a.log, "unfriend romeo@chat.test", "remove romeo")
}
