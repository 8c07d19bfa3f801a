package portable

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"chatd/auth"
	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// importFile imports what must have no fault but those of users, which are returned.
func importFile(t *testing.T, to store.Store, name string, how Importing) (Report, map[string]error) {
	t.Helper()
	refused := make(map[string]error)
	how.Domain = cmp.Or(how.Domain, "chat.test")
	how.Refused = func(user string, why error) { refused[user] = why }
	r, err := Import(t.Context(), to, name, how)
	must(t, err)
	return r, refused
}

// writeFile makes a file of what is in a <host/>.
func writeFile(t *testing.T, inner string) string {
	t.Helper()
	return writeWhole(t, "<?xml version='1.0'?><server-data xmlns='urn:xmpp:pie:0'><host jid='chat.test'>"+inner+"</host></server-data>")
}

func writeWhole(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "export.xml")
	must(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func record(t *testing.T, s store.Store, user string) store.Record {
	t.Helper()
	r, err := s.Record(t.Context(), user)
	must(t, err)
	return r
}

func waiting(t *testing.T, s store.Store, user string) []store.OfflineMessage {
	t.Helper()
	page, err := s.OfflinePage(t.Context(), user, 0, 1000)
	must(t, err)
	return page
}

// bodies are the texts of messages.
func bodies(t *testing.T, page []store.OfflineMessage) (all []string) {
	t.Helper()
	for _, m := range page {
		e, err := parseElement(m.Stanza, stanza.NSClient)
		must(t, err)
		for _, c := range e.elements() {
			if c.is(stanza.NSClient, "body") {
				all = append(all, c.text())
			}
			if c.Name.Space == nsDelay {
				t.Errorf("a delay is left in %s", m.Stanza)
			}
		}
	}
	return all
}

var passwords = map[string]string{
	"romeo": "wherefore öld Pässwort", "juliet": "balcony 7", "mercutio": "a plague", "jürgen": "grüße", "tybalt": "king of cats",
}

// TestRealExports is what servers of Debian have written: see testdata/README.md.
func TestRealExports(t *testing.T) {
	for _, test := range []struct {
		name              string
		offline, vCard    bool // whether the server exports them
		blocked, onlySHA1 bool
		pending           string
	}{
		{name: "ejabberd", offline: true, vCard: true, blocked: true, pending: "Come to the masque?"},
		{name: "ejabberd-scram", offline: true, vCard: true, blocked: true, onlySHA1: true, pending: "Come to the masque?"},
		{name: "prosody", onlySHA1: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := memory.New()
			report, refused := importFile(t, s, filepath.Join("testdata", test.name), Importing{})
			if report.Imported != 5 || len(refused) != 0 {
				t.Fatalf("%+v, refused %v", report, refused)
			}
			if want := map[bool]int{true: 5}[test.onlySHA1]; report.OnlySHA1 != want {
				t.Errorf("%d users have SHA-1 only, want %d", report.OnlySHA1, want)
			}
			for user, password := range passwords {
				expectPassword(t, s, user, password)
			}
			romeo, juliet, mercutio := record(t, s, "romeo"), record(t, s, "juliet"), record(t, s, "mercutio")
			expectItems(t, romeo.Roster.Items,
				store.RosterItem{JID: "juliet@chat.test", Name: "Júlia & <Co>", Groups: []string{"Friends", "Vérone"}, Sub: store.SubBoth},
				store.RosterItem{JID: "jürgen@chat.test", Ask: true},
				store.RosterItem{JID: "mercutio@chat.test", Name: "Mercutio", Ask: true})
			expectItems(t, juliet.Roster.Items,
				store.RosterItem{JID: "romeo@chat.test", Sub: store.SubBoth}, store.RosterItem{JID: "tybalt@chat.test", Sub: store.SubFrom})
			expectItems(t, mercutio.Roster.Items,
				store.RosterItem{JID: "romeo@chat.test", Hidden: true, PendingIn: true, Message: test.pending},
				store.RosterItem{JID: "tybalt@chat.test", Hidden: true, PendingIn: true})
			for _, item := range mercutio.Roster.Items {
				if st, err := stanza.Parse(item.Request); err != nil || st.Type != stanza.Subscribe || st.From.String() != item.JID {
					t.Errorf("request %s: %v", item.Request, err)
				}
			}
			if len(romeo.Private) != 1 || romeo.Private[0].Space != "storage:bookmarks" || !bytes.Contains(romeo.Private[0].XML, []byte("ball@rooms.chat.test")) {
				t.Errorf("private elements %q", romeo.Private)
			}
			if len(romeo.Notes) != 1 || romeo.Notes[0].Text != "the sun" || romeo.Notes[0].Created.Year() != 2024 {
				t.Errorf("notes %+v", romeo.Notes)
			}
			if has := strings.Contains(string(romeo.VCard), "Rómeó 😀"); has != test.vCard {
				t.Errorf("vCard %q", romeo.VCard)
			}
			if want := map[bool][]string{true: {"spam.test", "tybalt@chat.test"}}[test.blocked]; !slices.Equal(juliet.Blocked, want) {
				t.Errorf("blocked %q", juliet.Blocked)
			}
			var want []string
			if test.offline {
				want = []string{"But soft!", "What light through yonder window breaks? ☀", "It is the east & <\u200b Juliet is the sun."}
			}
			messages := waiting(t, s, "juliet")
			if got := bodies(t, messages); !slices.Equal(got, want) {
				t.Errorf("messages %q", got)
			}
			for _, m := range messages {
				if st, err := stanza.Parse(m.Stanza); err != nil || st.From.String() != "romeo@chat.test/r" || !bytes.Contains(m.Stanza, []byte("urn:example:x")) {
					t.Errorf("message %s: %v", m.Stanza, err)
				}
				if age := time.Since(m.Stored); age < time.Minute && age > -time.Minute {
					t.Errorf("stored at %v, which is not what the file says", m.Stored)
				}
			}
		})
	}
}

// expectItems compares all but times and raw requests.
func expectItems(t *testing.T, got []store.RosterItem, want ...store.RosterItem) {
	t.Helper()
	got = slices.Clone(got)
	for i := range got {
		got[i].Created, got[i].Request = time.Time{}, nil
	}
	if !slices.EqualFunc(got, want, store.RosterItem.Equal) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// expectPassword logs in by PLAIN.
func expectPassword(t *testing.T, s store.Store, user, password string) {
	t.Helper()
	x, err := auth.New(s, "chat.test", make([]byte, 32)).Start("PLAIN", auth.Channel{Private: true})
	must(t, err)
	if _, done, err := x.Step(t.Context(), []byte("\x00"+user+"\x00"+password)); err != nil || !done {
		t.Errorf("login of %s: %v", user, err)
	}
}

func TestRoundTrip(t *testing.T) {
	ctx, from := t.Context(), memory.New()
	creds, err := auth.NewCredentials("secret")
	must(t, err)
	noon := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	for i, name := range []string{"anna", "o\\27brien", "jürgen", "日本", "a&b"} {
		j, err := stanza.ParseJID(name + "@chat.test")
		if err != nil {
			j = stanza.MustJID(fmt.Sprintf("user%d@chat.test", i))
		}
		must(t, from.PutRecord(ctx, store.Record{
			User:    j.Local(),
			Account: &store.Account{User: j.Local(), Credentials: creds, Created: noon, Disabled: i%2 == 1},
			Roster: store.Roster{Version: 7, Items: []store.RosterItem{
				{JID: "a@chat.test", Name: "Ä <&'\">", Groups: []string{"g 1", "é"}, Sub: store.SubBoth, Created: noon},
				{JID: "b@x.test", Sub: store.SubFrom, Ask: true, Message: "please & <now>", Created: noon},
				{JID: "c@x.test", Approved: true},
				{JID: "d@x.test", Hidden: true, PendingIn: true, Message: "hi & <you>", Request: []byte("<presence type='subscribe' from='d@x.test' to='" + stanza.Escape(j.String()) + "'><status>hi &amp; &lt;you&gt;</status></presence>")},
				{JID: "e@x.test", PendingIn: true, Sub: store.SubTo, Message: "again"},
			}},
			Blocked:      []string{"spam.test", "troll@x.test", "x.test/res"},
			Notes:        []store.Note{{JID: "a@chat.test", Text: "duo & <more>", Created: noon}, {JID: "z@x.test", Text: "x", Modified: noon}},
			Privacy:      store.Privacy{Messages: store.Friends, Requests: store.Nobody},
			Private:      []store.PrivateElement{{Space: "ns:a", Local: "a", XML: []byte("<a xmlns='ns:a' x='&lt;'>t<b xmlns='ns:b' xml:lang='de'>&amp;</b></a>")}},
			VCard:        []byte("<vCard xmlns='vcard-temp'><FN>Ä</FN></vCard>"),
			LastActivity: &store.LastActivity{At: noon, Status: "bye & <so>"},
			LastSeq:      9,
		}))
		var page []store.OfflineMessage
		for n := range 5 {
			page = append(page, store.OfflineMessage{Seq: int64(n + 3), Stored: noon.Add(time.Duration(n) * 1001 * time.Millisecond),
				Stanza: fmt.Appendf(nil, "<message from='a@chat.test/r' to='%s' type='chat' id='%d'><body>%d &amp; ☀</body><x xmlns='urn:x'/></message>", stanza.Escape(j.String()), n, n)})
		}
		must(t, from.PutOffline(ctx, j.Local(), page))
	}
	var file bytes.Buffer
	users, err := Export(ctx, from, "chat.test", &file)
	must(t, err)
	if users != 5 {
		t.Fatalf("%d users", users)
	}
	to := memory.New()
	report, refused := importFile(t, to, writeWhole(t, file.String()), Importing{})
	if report.Imported != users || len(refused) != 0 || len(report.Skipped) != 0 || report.Messages != 25 {
		t.Fatalf("%+v, refused %v", report, refused)
	}
	names, err := from.Names(ctx, "", 100)
	must(t, err)
	for _, name := range names {
		expectSame(t, record(t, to, name), record(t, from, name))
		want, got := waiting(t, from, name), waiting(t, to, name)
		for i := range want {
			if !got[i].Stored.Equal(want[i].Stored) || string(got[i].Stanza) != string(want[i].Stanza) {
				t.Errorf("message %d\ngot  %v %s\nwant %v %s", i, got[i].Stored, got[i].Stanza, want[i].Stored, want[i].Stanza)
			}
		}
	}
}

// expectSame compares all that the format has a place for.
func expectSame(t *testing.T, got, want store.Record) {
	t.Helper()
	expectItems(t, got.Roster.Items, func() (items []store.RosterItem) {
		for _, i := range want.Roster.Items {
			i.Request, i.Created = nil, time.Time{}
			items = append(items, i)
		}
		return items
	}()...)
	for i := range want.Roster.Items {
		if w := want.Roster.Items[i].Request; w != nil && string(got.Roster.Items[i].Request) != string(w) {
			t.Errorf("request %s, want %s", got.Roster.Items[i].Request, w)
		}
	}
	for i, w := range want.Roster.Items {
		if got := got.Roster.Items[i].Created; !w.Created.IsZero() && !w.Hidden && !got.Equal(w.Created) {
			t.Errorf("%s since %v, want %v", w.JID, got, w.Created)
		}
	}
	got.Roster, want.Roster, got.LastSeq, want.LastSeq = store.Roster{}, store.Roster{}, 0, 0
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v %+v\nwant %+v %+v", got, got.Account, want, want.Account)
	}
}

func TestExisting(t *testing.T) {
	s, ctx := memory.New(), t.Context()
	must(t, s.CreateAccount(ctx, store.Account{User: "anna"}))
	_, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{Stanza: []byte("<message/>")}, 0)
	must(t, err)
	must(t, s.SetVCard(ctx, "bob", []byte("<vCard/>"))) // without an account
	file := writeFile(t, "<user name='ANNA' password='x'><offline-messages><message xmlns='jabber:client' from='b@chat.test'><body>new</body></message></offline-messages></user><user name='bob' password='y'/>")
	report, _ := importFile(t, s, file, Importing{})
	if report.Imported != 1 || report.Exist != 1 || len(waiting(t, s, "anna")) != 1 {
		t.Fatalf("%+v", report)
	}
	report, _ = importFile(t, s, file, Importing{Replace: true})
	if report.Imported != 2 || report.Exist != 0 {
		t.Fatalf("%+v", report)
	}
	page := waiting(t, s, "anna")
	if got := bodies(t, page); !slices.Equal(got, []string{"new"}) || page[0].Seq != 2 {
		t.Fatalf("%q %+v", got, page)
	}
	expectPassword(t, s, "anna", "x")
}

// A slow store lets others in between a user's record and its messages.
type slow struct{ store.Store }

func (s slow) PutRecord(ctx context.Context, r store.Record) error {
	err := s.Store.PutRecord(ctx, r)
	time.Sleep(time.Millisecond)
	return err
}

// TestTwice: of a user who comes twice, as in a folder with two exports, the first one counts, and nothing of the other.
func TestTwice(t *testing.T) {
	const users = 20
	var inner strings.Builder
	for i := range users {
		for _, bodies := range [][]string{{"a1"}, {"b1", "b2", "b3"}} {
			fmt.Fprintf(&inner, "<user name='user%d' password='x'><offline-messages>", i)
			for _, body := range bodies {
				fmt.Fprintf(&inner, "<message xmlns='jabber:client' from='x@y'><body>%s</body></message>", body)
			}
			inner.WriteString("</offline-messages></user>")
		}
	}
	to := memory.New()
	report, _ := importFile(t, slow{to}, writeFile(t, inner.String()), Importing{})
	if report.Imported != users || report.Exist != users {
		t.Errorf("%+v", report)
	}
	for i := range users {
		user := fmt.Sprint("user", i)
		page := waiting(t, to, user)
		found := strings.Join(bodies(t, page), " ")
		if last := page[len(page)-1].Seq; found != "a1" && found != "b1 b2 b3" || last > record(t, to, user).LastSeq {
			t.Errorf("%s has %s, the last of them %d", user, found, last)
		}
	}
}

func TestHosts(t *testing.T) {
	text := `<server-data xmlns='urn:xmpp:pie:0'>
		<host jid='other.test'><user name='eve' password='x'/></host>
		<host jid='Old.Test'><user name='anna' password='x'><query xmlns='jabber:iq:roster'><item jid='bob@old.test/r' subscription='both'/><item jid='carl@other.test' subscription='to'/><item jid='rooms.old.test'/></query>
		<offline-messages><message xmlns='jabber:client' from='bob@old.test/r' to='anna@old.test'><body>x</body><delay xmlns='urn:xmpp:delay' from='old.test' stamp='2020-01-02T03:04:05Z'/></message></offline-messages></user></host></server-data>`
	s := memory.New()
	report, _ := importFile(t, s, writeWhole(t, text), Importing{})
	if report.Imported != 0 || report.Skipped["host other.test as a whole"] != 1 || report.Skipped["host Old.Test as a whole"] != 1 {
		t.Fatalf("%+v", report)
	}
	report, _ = importFile(t, s, writeWhole(t, text), Importing{Host: "old.test"})
	if report.Imported != 1 {
		t.Fatalf("%+v", report)
	}
	expectItems(t, record(t, s, "anna").Roster.Items, store.RosterItem{JID: "bob@chat.test", Sub: store.SubBoth},
		store.RosterItem{JID: "carl@other.test", Sub: store.SubTo}, store.RosterItem{JID: "rooms.old.test"})
	m := waiting(t, s, "anna")[0]
	if st, err := stanza.Parse(m.Stanza); err != nil || st.From.String() != "bob@chat.test/r" || st.To.String() != "anna@chat.test" || m.Stored.Year() != 2020 {
		t.Fatalf("%v %s %v", m.Stored, m.Stanza, err)
	}
}

// TestRefused: what is wrong with one user is no reason against the others.
func TestRefused(t *testing.T) {
	scram := func(mechanism, iterations, salt, stored, server string) string {
		return fmt.Sprintf("<scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='%s'><iter-count>%s</iter-count><salt>%s</salt><stored-key>%s</stored-key><server-key>%s</server-key></scram-credentials>", mechanism, iterations, salt, stored, server)
	}
	const key = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" // 20 bytes
	good := scram("SCRAM-SHA-1", "4096", "c2FsdA==", key, key)
	file := writeFile(t, "<user name='good'>"+good+"</user>"+
		"<user password='x'/><user name='a@b' password='x'/>"+
		"<user name='control' password='&#9;'/>"+
		"<user name='twice'>"+good+good+"</user>"+
		"<user name='short'>"+scram("SCRAM-SHA-1", "4096", "c2FsdA==", "AAAA", key)+"</user>"+
		"<user name='count'>"+scram("SCRAM-SHA-1", "many", "c2FsdA==", key, key)+"</user>"+
		"<user name='zero'>"+scram("SCRAM-SHA-1", "0", "c2FsdA==", key, key)+"</user>"+
		"<user name='base64'>"+scram("SCRAM-SHA-1", "4096", "!", key, key)+"</user>"+
		"<user name='alsogood' password='x'/>")
	s := memory.New()
	report, refused := importFile(t, s, file, Importing{})
	if report.Imported != 2 || report.Refused != 8 {
		t.Fatalf("%+v %v", report, refused)
	}
	names := slices.Sorted(maps.Keys(refused))
	if want := []string{"", "base64", "control", "count", "short", "twice", "zero"}; !slices.Equal(names, want) {
		t.Fatalf("refused %q", names)
	}
	left, err := s.Names(t.Context(), "", 100)
	must(t, err)
	if !slices.Equal(left, []string{"alsogood", "good"}) {
		t.Fatalf("in the store: %q", left)
	}
}

// TestUnproven: who has no password that chatd can know is there, and cannot log in by one.
func TestUnproven(t *testing.T) {
	file := writeFile(t, "<user name='none'/><user name='empty' password=''/><user name='same' password='same'/>"+
		"<user name='only512'><scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='SCRAM-SHA-512'><salt>c2FsdA==</salt></scram-credentials></user>")
	s := memory.New()
	report, refused := importFile(t, s, file, Importing{})
	if report.Imported != 4 || report.Unproven != 4 || len(refused) != 0 || report.Skipped["credentials of SCRAM-SHA-512"] != 1 {
		t.Fatalf("%+v %v", report, refused)
	}
	if a := record(t, s, "same").Account; a == nil || len(a.Credentials) != 0 {
		t.Fatalf("%+v", a)
	}
}

// TestOpenfire is what Openfire's plugin User Import Export writes, by its source: it was not written by a real one.
func TestOpenfire(t *testing.T) {
	file := writeWhole(t, `<?xml version="1.0" encoding="UTF-8"?>
<server-data xmlns="urn:xmpp:pie:0"><host jid="chat.test"><user name="anna" password="secret">
  <offline-messages><message xmlns="jabber:client" from="bob@chat.test/Spark" to="anna@chat.test" type="chat"><body>hi</body><thread>x</thread><delay xmlns="urn:xmpp:delay" from="chat.test" stamp="2024-02-29T12:00:00.250Z">Offline Storage</delay></message></offline-messages>
  <query xmlns="jabber:iq:roster"><item jid="bob@chat.test" name="Bob" subscription="both"><group>Friends</group></item><item jid="carl@chat.test" subscription="none" ask="subscribe"><group/></item></query>
  <vCard xmlns="vcard-temp"><FN xmlns="">Anna</FN></vCard></user></host></server-data>`)
	s := memory.New()
	report, refused := importFile(t, s, file, Importing{})
	if report.Imported != 1 || len(refused) != 0 || len(report.Skipped) != 0 {
		t.Fatalf("%+v %v", report, refused)
	}
	r, m := record(t, s, "anna"), waiting(t, s, "anna")
	expectPassword(t, s, "anna", "secret")
	expectItems(t, r.Roster.Items, store.RosterItem{JID: "bob@chat.test", Name: "Bob", Groups: []string{"Friends"}, Sub: store.SubBoth},
		store.RosterItem{JID: "carl@chat.test", Ask: true})
	if got := string(r.VCard); got != "<vCard xmlns='vcard-temp'><FN>Anna</FN></vCard>" {
		t.Errorf("vCard %s", got)
	}
	if got := bodies(t, m); !slices.Equal(got, []string{"hi"}) || !m[0].Stored.Equal(time.Date(2024, 2, 29, 12, 0, 0, 250e6, time.UTC)) {
		t.Errorf("messages %q %v", got, m)
	}
}

func TestSkipped(t *testing.T) {
	file := writeFile(t, `<user name='anna' password='x'>
		<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='a'/></pubsub>
		<archive xmlns='urn:xmpp:pie:0#mam'><result xmlns='urn:xmpp:mam:2'/></archive>
		<query xmlns='jabber:iq:roster'><item jid='anna@chat.test'/><item jid='@@'/><item jid='gone@chat.test' subscription='remove'/></query>
		<query xmlns='jabber:iq:private'><a xmlns='jabber:x'/><twice xmlns='x' a='1' a='2'/></query>
		<vCard xmlns='vcard-temp'><a b='1' b='2'/></vCard>
		<query xmlns='jabber:iq:privacy'><default name='d'/>
			<list name='other'><item action='deny' order='1'/></list>
			<list name='d'><item type='jid' value='last@x' action='deny' order='9'/><item type='jid' value='friend@x' action='allow' order='1'/>
				<item type='jid' value='friend@x' action='deny' order='2'/><item type='jid' value='silent@x' action='deny' order='3'><message/></item>
				<item type='group' value='g' action='deny' order='4'/><item type='jid' value='troll@x' action='deny' order='5'><message/><iq/><presence-in/><presence-out/></item>
				<item action='allow' order='8'/></list></query>
		<offline-messages><message xmlns='jabber:client' from='@@'><body/></message><message from='b@chat.test'><body>no namespace</body></message><iq xmlns='jabber:client'/></offline-messages>
		<presence xmlns='jabber:client' type='subscribed' from='b@chat.test'/>
		</user>`)
	s := memory.New()
	report, refused := importFile(t, s, file, Importing{})
	if report.Imported != 1 || len(refused) != 0 {
		t.Fatalf("%+v %v", report, refused)
	}
	want := map[string]int{
		"pubsub in http://jabber.org/protocol/pubsub": 1, "archive in urn:xmpp:pie:0#mam": 1, "roster items of nobody else": 2, "roster items that are none": 1,
		"private elements in no namespace of their own": 1, "privacy lists that are not the default": 1,
		"rules of privacy lists that no block list can say": 3, "messages with an address that is none": 1, "messages that are none": 1,
		"presences that are no request": 1, "private elements that are not valid": 1, "vCards that are not valid": 1,
	}
	if !maps.Equal(report.Skipped, want) {
		t.Errorf("skipped %v\nwant    %v", report.Skipped, want)
	}
	if got := record(t, s, "anna").Blocked; !slices.Equal(got, []string{"troll@x"}) {
		t.Errorf("blocked %q", got)
	}
	if got := bodies(t, waiting(t, s, "anna")); !slices.Equal(got, []string{"no namespace"}) {
		t.Errorf("messages %q", got)
	}
}

// TestHostile: files that are to cost too much end the import.
func TestHostile(t *testing.T) {
	head := "<server-data xmlns='urn:xmpp:pie:0'><host jid='chat.test'><user name='first' password='x'/>"
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"bomb":            {"<!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;'>]>" + head + "<user name='&c;'/></host></server-data>", errDocType},
		"entity":          {head + "<user name='&c;'/></host></server-data>", nil},
		"deep":            {head + "<user name='a' password='x'>" + strings.Repeat("<a>", 1000), errTooDeep},
		"deep and kept":   {head + "<user name='a' password='x'><query xmlns='jabber:iq:private'>" + strings.Repeat("<a xmlns='x'>", 1000), errTooDeep},
		"long attribute":  {head + "<user name='" + strings.Repeat("a", 2*maxToken) + "'/>", errBigToken},
		"long text":       {head + strings.Repeat("a", 2*maxToken) + "</host></server-data>", errBigToken},
		"comment":         {head + "<!--" + strings.Repeat("a", 2*maxToken) + "--></host></server-data>", errBigToken},
		"truncated":       {head + "<user name='a'", errTruncated},
		"not an export":   {"<html/>", nil},
		"empty":           {"", nil},
		"not UTF-8":       {head + "<user name='\xff'/></host></server-data>", nil},
		"other encoding":  {"<?xml version='1.0' encoding='UTF-16'?>" + head + "</host></server-data>", nil},
		"include of root": {"<x:include xmlns:x='http://www.w3.org/2001/XInclude' href='/etc/passwd'/>", nil},
		"include upwards": {"<x:include xmlns:x='http://www.w3.org/2001/XInclude' href='../../../../etc/passwd'/>", nil},
		"include by URL":  {"<x:include xmlns:x='http://www.w3.org/2001/XInclude' href='file:///etc/passwd'/>", nil},
	} {
		_, err := Import(t.Context(), memory.New(), writeWhole(t, test.text), Importing{Domain: "chat.test", Refused: func(string, error) {}})
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// TestHuge: more than may be kept of one user refuses it, and what is not kept may be as long as it likes.
func TestHuge(t *testing.T) {
	message := "<message xmlns='jabber:client'><body>" + strings.Repeat("x", maxElement-1000) + "</body></message>"
	archive := strings.Repeat("<result xmlns='urn:xmpp:mam:2'>"+strings.Repeat("x", 1<<20)+"</result>", 40)
	file := writeFile(t, "<user name='huge' password='x'><offline-messages>"+strings.Repeat(message, maxUser/maxElement+2)+"</offline-messages></user>"+
		"<user name='long' password='x'><archive xmlns='urn:xmpp:pie:0#mam'>"+archive+"</archive></user>"+
		"<user name='card' password='x'><vCard xmlns='vcard-temp'><FN>"+strings.Repeat("x", maxElement)+"</FN></vCard></user>")
	s := memory.New()
	report, refused := importFile(t, s, file, Importing{})
	if report.Imported != 2 || refused["huge"] != errBigUser || report.Skipped["vCards over 262144 bytes"] != 1 {
		t.Fatalf("%+v %v", report, refused)
	}
}

// TestInclude is the layout of XEP-0227 §5.1.
func TestInclude(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "chat.test"), 0o700))
	include := func(href string) string {
		return "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='" + href + "'/>"
	}
	for name, text := range map[string]string{
		"main.xml":           "<server-data xmlns='urn:xmpp:pie:0'>" + include("chat.test.xml") + "</server-data>",
		"chat.test.xml":      "<host xmlns='urn:xmpp:pie:0' jid='chat.test'>" + include("chat.test/anna.xml") + include("chat.test/b%20b.xml") + "</host>",
		"chat.test/anna.xml": "<user xmlns='urn:xmpp:pie:0' name='anna' password='x'/>",
		"chat.test/b b.xml":  "<user xmlns='urn:xmpp:pie:0' name='bob' password='x'>" + include("../main.xml") + "</user>",
	} {
		must(t, os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(text), 0o600))
	}
	for _, name := range []string{filepath.Join(dir, "main.xml"), dir} {
		report, _ := importFile(t, memory.New(), name, Importing{})
		if report.Imported != 2 {
			t.Errorf("%s: %+v", name, report)
		}
	}
	loop := writeWhole(t, "<server-data xmlns='urn:xmpp:pie:0'>"+include("export.xml")+"</server-data>")
	if report, _ := importFile(t, memory.New(), loop, Importing{}); report.Imported != 0 {
		t.Errorf("%+v", report)
	}
}
