package chatd_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// A conversation file reads:
//
//	# RFC 6121 §8.5.2.1.1: what it shows.
//
//	[Server]
//	  c2s.resource_conflict = "refuse"
//
//	[Client] Romeo
//	  jid: romeo@chat.test/orchard
//
//	Romeo connects
//	Romeo sends:
//	  <presence/>
//	Romeo receives:
//	  <presence from='romeo@chat.test/orchard' to='*'/>
//
// The steps are listed in verbs. Each file has a server of its own, where the
// accounts of its clients exist. At the end nobody may have received more than the
// file says.

// A script is one parsed conversation file.
type script struct {
	items   []item
	server  map[string]string // configuration, dotted keys
	clients []clientSpec
}

// An item is some lines of the file and, if they make one, a step.
type item struct {
	lines []string
	step  *step
}

// A step is one thing that happens. Its block is the indented lines below it.
type step struct {
	line  int
	actor string
	verb  string
	arg   string
	block string
}

func (s *step) String() string {
	return strings.Join(strings.Fields(s.actor+" "+s.verb+" "+s.arg), " ")
}

// A clientSpec says how a client logs in.
type clientSpec struct {
	name      string
	user      string
	domain    string
	resource  string // empty: the server makes one
	password  string
	mechanism string
	tls       string // starttls | direct | none
	account   bool   // made before the conversation begins
}

// verbs are the steps: an actor, one of these, and what the pattern's group catches.
var verbs = []struct {
	verb string
	rest *regexp.Regexp
}{
	{"connects", regexp.MustCompile(`^connects$`)},                                    // the four below in one
	{"opens a stream", regexp.MustCompile(`^opens a stream$`)},                        // with TLS
	{"authenticates", regexp.MustCompile(`^authenticates$`)},                          // SASL and the new stream
	{"logs in by SASL2:", regexp.MustCompile(`^logs in by SASL2:$`)},                  // the block goes into <authenticate/>; what comes of it is received
	{"logs in by token:", regexp.MustCompile(`^logs in by token (\S+):$`)},            // likewise, with the last token and this mechanism
	{"binds", regexp.MustCompile(`^binds$`)},                                          // a resource
	{"is refused:", regexp.MustCompile(`^is refused: (\S+)$`)},                        // SASL failure
	{"is offered:", regexp.MustCompile(`^is offered:$`)},                              // among the stream features
	{"comes online", regexp.MustCompile(`^comes online(?: with priority (-?\d+))?$`)}, // sends presence, takes its own
	{"asks for the roster", regexp.MustCompile(`^asks for the roster$`)},              // and does not look at it
	{"enables carbons", regexp.MustCompile(`^enables carbons$`)},
	{"sends:", regexp.MustCompile(`^sends:$`)}, // the block as it stands
	{"receives:", regexp.MustCompile(`^receives:$`)},
	{"receives in any order:", regexp.MustCompile(`^receives in any order:$`)},
	{"receives nothing", regexp.MustCompile(`^receives nothing$`)},
	{"disconnects", regexp.MustCompile(`^disconnects$`)},                 // closes the stream and waits for the answer
	{"breaks", regexp.MustCompile(`^breaks$`)},                           // TCP reset
	{"is disconnected", regexp.MustCompile(`^is disconnected$`)},         // the server has closed the stream
	{"is subscribed to", regexp.MustCompile(`^is subscribed to (\S+)$`)}, // sees its presence; before anybody connects
	{"are friends", regexp.MustCompile(`^and (\S+) are friends$`)},       // see each other's; before anybody connects
	{"restarts", regexp.MustCompile(`^server restarts$`)},
}

func loadScript(path string) (*script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := parseScript(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func parseScript(text string) (*script, error) {
	s := &script{server: make(map[string]string)}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		start := i
		i++
		if blank(lines[start]) || strings.HasPrefix(lines[start], "#") {
			s.items = append(s.items, item{lines: lines[start:i]})
			continue
		}
		for i < len(lines) && indented(lines[i]) {
			i++
		}
		it := item{lines: lines[start:i]}
		if err := s.parseItem(&it, start+1); err != nil {
			return nil, fmt.Errorf("line %d: %w", start+1, err)
		}
		s.items = append(s.items, it)
	}
	return s, nil
}

func blank(line string) bool { return strings.TrimSpace(line) == "" }

func indented(line string) bool { return !blank(line) && (line[0] == ' ' || line[0] == '\t') }

func (s *script) parseItem(it *item, line int) error {
	head, block := it.lines[0], it.lines[1:]
	switch {
	case indented(head):
		return fmt.Errorf("an indented line belongs to no step")
	case head == "[Server]":
		return s.parseServer(block)
	case strings.HasPrefix(head, "[Client] "):
		return s.parseClient(strings.TrimPrefix(head, "[Client] "), block)
	}
	actor, rest, _ := strings.Cut(head, " ")
	for _, v := range verbs {
		m := v.rest.FindStringSubmatch(rest)
		if m == nil {
			continue
		}
		st := &step{line: line, actor: actor, verb: v.verb, block: dedent(block)}
		if len(m) > 1 {
			st.arg = m[1]
		}
		if hasBlock := len(block) > 0; hasBlock != (strings.HasSuffix(rest, ":")) {
			return fmt.Errorf("%q and what is indented below it do not go together", head)
		}
		it.step = st
		return s.known(st)
	}
	return fmt.Errorf("no such step: %q", head)
}

// known checks that a step is about clients that were introduced.
func (s *script) known(st *step) error {
	names := []string{st.actor}
	switch st.verb {
	case "restarts":
		return nil
	case "are friends", "is subscribed to":
		names = append(names, st.arg)
	}
	for _, name := range names {
		if s.client(name) == nil {
			return fmt.Errorf("there is no client %q", name)
		}
	}
	return nil
}

func (s *script) client(name string) *clientSpec {
	for i := range s.clients {
		if s.clients[i].name == name {
			return &s.clients[i]
		}
	}
	return nil
}

func (s *script) parseServer(block []string) error {
	for _, l := range block {
		key, value, ok := strings.Cut(l, "=")
		if !ok {
			return fmt.Errorf("%q is no setting", l)
		}
		s.server[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return nil
}

func (s *script) parseClient(name string, block []string) error {
	c := clientSpec{name: name, password: "secret", mechanism: "SCRAM-SHA-256", tls: "starttls", account: true}
	for _, l := range block {
		key, value, _ := strings.Cut(strings.TrimSpace(l), ": ")
		switch key {
		case "jid":
			local, rest, ok := strings.Cut(value, "@")
			if !ok {
				return fmt.Errorf("%q is no user's address", value)
			}
			c.user = local
			c.domain, c.resource, _ = strings.Cut(rest, "/")
		case "password":
			c.password = value
		case "mechanism":
			c.mechanism = value
		case "tls":
			c.tls = value
		case "account":
			c.account = value != "none"
		default:
			return fmt.Errorf("a client has no %q", key)
		}
	}
	if c.user == "" {
		return fmt.Errorf("client %s has no jid", name)
	}
	s.clients = append(s.clients, c)
	return nil
}

// dedent takes the first line's indentation off every line.
func dedent(block []string) string {
	if len(block) == 0 {
		return ""
	}
	indent := block[0][:len(block[0])-len(strings.TrimLeft(block[0], " \t"))]
	var b strings.Builder
	for _, l := range block {
		b.WriteString(strings.TrimPrefix(l, indent) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// indent is the opposite of dedent.
func indent(text string) []string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = "  " + l
	}
	return lines
}

// String is the file's text.
func (s *script) String() string {
	var b strings.Builder
	for _, it := range s.items {
		for _, l := range it.lines {
			b.WriteString(l + "\n")
		}
	}
	return b.String()
}
