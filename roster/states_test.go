package roster

import (
	"slices"
	"strings"
	"testing"

	"chatd/stanza"
	"chatd/store"
)

// appendixA is RFC 6121 §A.2 and §A.3 to the letter: state before, whether
// the stanza is routed or delivered, state after.
var appendixA = []struct {
	section string
	in      bool
	typ     stanza.Type
	lines   string
}{
	{"A.2.1", false, stanza.Subscribe, `
"None"                  |  MUST [1] |  "None + Pending Out"
"None + Pending Out"    |  MUST     |  no state change
"None + Pending In"     |  MUST [1] |  "None + Pending Out+In"
"None + Pending Out+In" |  MUST     |  no state change
"To"                    |  MUST     |  no state change
"To + Pending In"       |  MUST     |  no state change
"From"                  |  MUST [1] |  "From + Pending Out"
"From + Pending Out"    |  MUST     |  no state change
"Both"                  |  MUST     |  no state change`},
	{"A.2.2", false, stanza.Unsubscribe, `
"None"                  |  MUST    |  no state change
"None + Pending Out"    |  MUST    |  "None"
"None + Pending In"     |  MUST    |  no state change
"None + Pending Out+In" |  MUST    |  "None + Pending In"
"To"                    |  MUST    |  "None"
"To + Pending In"       |  MUST    |  "None + Pending In"
"From"                  |  MUST    |  no state change
"From + Pending Out"    |  MUST    |  "From"
"Both"                  |  MUST    |  "From"`},
	{"A.2.3", false, stanza.Subscribed, `
"None"                  |  M.N.    |  pre-approval [1]
"None + Pending Out"    |  M.N.    |  pre-approval [1]
"None + Pending In"     |  MUST    |  "From"
"None + Pending Out+In" |  MUST    |  "From + Pending Out"
"To"                    |  M.N.    |  pre-approval [1]
"To + Pending In"       |  MUST    |  "Both"
"From"                  |  M.N.    |  no state change
"From + Pending Out"    |  M.N.    |  no state change
"Both"                  |  M.N.    |  no state change`},
	{"A.2.4", false, stanza.Unsubscribed, `
"None"                  |  S.N.    |  no state change [1]
"None + Pending Out"    |  S.N.    |  no state change [1]
"None + Pending In"     |  MUST    |  "None"
"None + Pending Out+In" |  MUST    |  "None + Pending Out"
"To"                    |  S.N.    |  no state change [1]
"To + Pending In"       |  MUST    |  "To"
"From"                  |  MUST    |  "None"
"From + Pending Out"    |  MUST    |  "None + Pending Out"
"Both"                  |  MUST    |  "To"`},
	{"A.3.1", true, stanza.Subscribe, `
"None"                  |  MUST [1]  |  "None + Pending In"
"None + Pending Out"    |  MUST      |  "None + Pending Out+In"
"None + Pending In"     |  S.N.      |  no state change
"None + Pending Out+In" |  S.N.      |  no state change
"To"                    |  MUST      |  "To + Pending In"
"To + Pending In"       |  S.N.      |  no state change
"From"                  |  S.N. [2]  |  no state change
"From + Pending Out"    |  S.N. [2]  |  no state change
"Both"                  |  S.N. [2]  |  no state change`},
	{"A.3.2", true, stanza.Unsubscribe, `
"None"                  |  S.N.      |  no state change
"None + Pending Out"    |  S.N.      |  no state change
"None + Pending In"     |  MUST [1]  |  "None"
"None + Pending Out+In" |  MUST [1]  |  "None + Pending Out"
"To"                    |  S.N.      |  no state change
"To + Pending In"       |  MUST [1]  |  "To"
"From"                  |  MUST [1]  |  "None"
"From + Pending Out"    |  MUST [1]  |  "None + Pending Out"
"Both"                  |  MUST [1]  |  "To"`},
	{"A.3.3", true, stanza.Subscribed, `
"None"                  |  S.N.      |  no state change
"None + Pending Out"    |  MUST      |  "To"
"None + Pending In"     |  S.N.      |  no state change
"None + Pending Out+In" |  MUST      |  "To + Pending In"
"To"                    |  S.N.      |  no state change
"To + Pending In"       |  S.N.      |  no state change
"From"                  |  S.N.      |  no state change
"From + Pending Out"    |  MUST      |  "Both"
"Both"                  |  S.N.      |  no state change`},
	{"A.3.4", true, stanza.Unsubscribed, `
"None"                  |  S.N.      |  no state change
"None + Pending Out"    |  MUST      |  "None"
"None + Pending In"     |  S.N.      |  no state change
"None + Pending Out+In" |  MUST      |  "None + Pending In"
"To"                    |  MUST      |  "None"
"To + Pending In"       |  MUST      |  "None + Pending In"
"From"                  |  S.N.      |  no state change
"From + Pending Out"    |  MUST      |  "From"
"Both"                  |  MUST      |  "From"`},
}

var stateNames = map[string]state{
	`"None"`: none, `"None + Pending Out"`: noneOut, `"None + Pending In"`: noneIn,
	`"None + Pending Out+In"`: noneOutIn, `"To"`: toOnly, `"To + Pending In"`: toIn,
	`"From"`: fromOnly, `"From + Pending Out"`: fromOut, `"Both"`: both,
}

// A line is one line of a table, read.
type line struct {
	was, next   state
	pass        bool
	preapproval bool
	note        string
}

func readLine(t *testing.T, text string) line {
	t.Helper()
	col := strings.Split(text, "|")
	for i := range col {
		col[i] = strings.TrimSpace(col[i])
	}
	was, ok := stateNames[col[0]]
	if !ok || len(col) != 3 {
		t.Fatalf("bad line %q", text)
	}
	l := line{was: was, next: was, pass: strings.HasPrefix(col[1], "MUST")}
	_, l.note, _ = strings.Cut(col[1], " ")
	if next, ok := stateNames[col[2]]; ok {
		l.next = next
	} else if strings.HasPrefix(col[2], "pre-approval") {
		l.preapproval = true
	} else if !strings.HasPrefix(col[2], "no state change") {
		t.Fatalf("bad line %q", text)
	}
	return l
}

func TestAppendixA(t *testing.T) {
	for _, table := range appendixA {
		lines := strings.Split(strings.TrimSpace(table.lines), "\n")
		if len(lines) != states {
			t.Fatalf("§%s has %d lines", table.section, len(lines))
		}
		for _, text := range lines {
			l := readLine(t, text)
			name := table.section + "/" + strings.TrimSpace(strings.Split(text, "|")[0])
			check := checkOutbound
			if table.in {
				check = checkInbound
			}
			t.Run(name, func(t *testing.T) { check(t, table.typ, l) })
			switch l.was { // what is not in the roster, in fact or for its owner
			case none:
				t.Run(name+"/unknown", func(t *testing.T) { check(t, table.typ, l, absent) })
			case noneIn:
				t.Run(name+"/hidden", func(t *testing.T) { check(t, table.typ, l, hidden) })
			}
		}
	}
}

// absent stands for an item that is not there at all.
func absent(it *store.RosterItem) { *it = store.RosterItem{} }

func isAbsent(more []func(*store.RosterItem)) bool {
	it := store.RosterItem{JID: "x"}
	for _, f := range more {
		f(&it)
	}
	return it.JID == ""
}

// mirrorOf is a state in which the contact's side delivers a stanza of this
// type, so that one sees whether it was routed.
var mirrorOf = map[stanza.Type]state{
	stanza.Subscribe: none, stanza.Unsubscribe: fromOnly, stanza.Subscribed: noneOut, stanza.Unsubscribed: toOnly,
}

func checkOutbound(t *testing.T, typ stanza.Type, l line, more ...func(*store.RosterItem)) {
	w := newWorld(t, Config{})
	juliet := w.login("juliet@chat.test/balcony")
	romeo := w.login("romeo@chat.test/orchard")
	if !isAbsent(more) {
		w.given("romeo", "juliet@chat.test", l.was, more...)
	}
	w.given("juliet", "romeo@chat.test", mirrorOf[typ])
	romeo.send("<presence to='juliet@chat.test/ignored' type='" + typ.String() + "' id='s1'/>")

	routed := slices.Contains(juliet.take(), "<presence from='romeo@chat.test' to='juliet@chat.test' id='s1' type='"+typ.String()+"'/>")
	if routed != l.pass {
		t.Errorf("routed %v, want %v", routed, l.pass)
	}
	it, _ := w.item("romeo", "juliet@chat.test")
	if got := stateOf(&it); got != l.next {
		t.Errorf("state %v, want %v", got, l.next)
	}
	if it.Approved != l.preapproval {
		t.Errorf("approved %v, want %v", it.Approved, l.preapproval)
	}
	checkItem(t, romeo, &it, l, more)
}

func checkInbound(t *testing.T, typ stanza.Type, l line, more ...func(*store.RosterItem)) {
	w := newWorld(t, Config{})
	juliet := w.login("juliet@chat.test/balcony")
	romeo := w.login("romeo@chat.test/orchard")
	if !isAbsent(more) {
		w.given("romeo", "juliet@chat.test", l.was, more...)
	}
	reply := map[stanza.Type]stanza.Type{stanza.Subscribe: stanza.Subscribed, stanza.Unsubscribe: stanza.Unsubscribed}[typ]
	w.given("juliet", "romeo@chat.test", mirrorOf[reply])
	w.r.Route(t.Context(), nil, &stanza.Stanza{Kind: stanza.Presence, Type: typ, ID: []byte("s1"),
		From: juliet.jid.Bare(), To: romeo.jid.Bare()})

	got := romeo.got
	delivered := slices.ContainsFunc(got, func(st *stanza.Stanza) bool { return st.Type == typ && st.From == juliet.jid.Bare() })
	if delivered != l.pass {
		t.Errorf("delivered %v, want %v", delivered, l.pass)
	}
	if delivered && got[0].Type != typ {
		t.Errorf("something was sent before the stanza: %s", got[0].Append(nil))
	}
	wantReply := typ == stanza.Subscribe && l.note == "[2]" || typ == stanza.Unsubscribe && l.note == "[1]"
	replied := reply != stanza.None && slices.Contains(juliet.take(),
		"<presence from='romeo@chat.test' to='juliet@chat.test' id='s1' type='"+reply.String()+"'/>")
	if replied != wantReply {
		t.Errorf("replied %v, want %v", replied, wantReply)
	}
	it, _ := w.item("romeo", "juliet@chat.test")
	if now := stateOf(&it); now != l.next {
		t.Errorf("state %v, want %v", now, l.next)
	}
	checkItem(t, romeo, &it, l, more)
}

// checkItem verifies what the owner of the item got to see of it.
func checkItem(t *testing.T, owner *client, it *store.RosterItem, l line, more []func(*store.RosterItem)) {
	t.Helper()
	_, exists := owner.w.item(owner.jid.Local(), it.JID)
	unseen := len(more) > 0 // absent or hidden before
	onlyAsked := l.next == noneIn || l.next == none
	if unseen && onlyAsked && !l.preapproval {
		if exists != (l.next == noneIn) || exists && !it.Hidden {
			t.Errorf("item %+v, exists %v: to be seen only after an approval", *it, exists)
		}
	} else if !exists || it.Hidden {
		t.Errorf("item %+v, exists %v: to be seen", *it, exists)
	}
	pushes := 0
	for _, st := range owner.got {
		if st.Kind == stanza.IQ {
			pushes++
		}
	}
	want := 0
	if exists && !it.Hidden && (l.next != l.was || l.preapproval) {
		want = 1
	}
	if pushes != want {
		t.Errorf("%d pushes, want %d", pushes, want)
	}
}

func TestStatesRoundTrip(t *testing.T) {
	for st := state(0); st < states; st++ {
		var it store.RosterItem
		st.put(&it)
		if got := stateOf(&it); got != st {
			t.Errorf("state %d reads as %d", st, got)
		}
	}
}

// RFC 6121 §3.4.2: with a pre-approval the request is answered, not delivered.
func TestPreApprovalAnswers(t *testing.T) {
	for was, next := range map[state]state{none: fromOnly, noneOut: fromOut, toOnly: both} {
		w := newWorld(t, Config{})
		w.given("romeo", "juliet@chat.test", was, approved)
		romeo, juliet := w.login("romeo@chat.test/orchard"), w.login("juliet@chat.test/balcony")
		juliet.send("<presence to='romeo@chat.test' type='subscribe' id='s1'/>")
		it, _ := w.item("romeo", "juliet@chat.test")
		if got := stateOf(&it); got != next || it.Approved || it.PendingIn {
			t.Errorf("from %d to %d, want %d; item %+v", was, got, next, it)
		}
		for _, x := range romeo.take() {
			if strings.Contains(x, "type='subscribe'") {
				t.Errorf("delivered: %s", x)
			}
		}
		juliet.expect(
			juliet.push("<item jid='romeo@chat.test' subscription='none' ask='subscribe'/>"),
			"<presence from='romeo@chat.test' to='juliet@chat.test' id='s1' type='subscribed'/>",
			juliet.push("<item jid='romeo@chat.test' subscription='to'/>"),
			"<presence from='romeo@chat.test/orchard' to='juliet@chat.test'/>")
	}
}
