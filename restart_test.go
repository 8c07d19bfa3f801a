package chatd_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestRestartUnderLoad: chatd is stopped in order and started again, several times, while clients send as
// fast as they can. Those with stream management go on with their sessions (XEP-0198 §5): every
// message arrives once and in the order of its sender, and their friends see nothing.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{
		"c2s.limits.stanzas_per_second": "0", "c2s.limits.bytes_per_second": "0", "c2s.drain_seconds": "1", "message.offline_max": "100000",
	})
	reader, watcher := newTraveller(t, srv, "reader"), newTraveller(t, srv, "watcher")
	befriended(t, srv, "reader", "watcher")
	befriended(t, srv, "reader", "plain")
	reader.begin()
	if before := watcher.begin(); !slices.ContainsFunc(before, func(n *node) bool { return n.attr("from") == reader.c.full }) {
		t.Fatalf("the friend is seen as %v", before)
	}
	var writers []*writer
	for i, to := range []string{reader.c.full, "reader@" + testDomain, reader.c.full} {
		w := &writer{traveller: newTraveller(t, srv, fmt.Sprint("writer", i)), to: to}
		w.begin()
		writers = append(writers, w)
	}
	for _, after := range []int{1, 300, 1500, 700} {
		t.Run(fmt.Sprintf("after %d", after), func(t *testing.T) {
			var running sync.WaitGroup
			enough := make(chan struct{})
			running.Go(func() { reader.read(len(reader.got)+after, enough) })
			running.Go(func() { watcher.read(0, nil) })
			for _, w := range writers {
				running.Go(func() { w.read(0, nil) })
				running.Go(w.write)
			}
			<-enough
			srv.restart(t)
			running.Wait()
			plain := srv.client(clientSpec{name: "plain", user: "plain", domain: testDomain, password: "secret", mechanism: "SCRAM-SHA-256", tls: "starttls"})
			if err := plain.connect(); err != nil {
				t.Fatal(err)
			}
			reply, err := plain.exchanged("<presence/>", func(n *node) bool { return n.attr("from") == reader.c.session })
			if err != nil || reply.attr("type") != "" {
				t.Errorf("a friend who comes sees %s, %v", reply, err)
			}
			plain.tcp.Close()
			reader.resume()
			watcher.resume()
			for _, w := range writers {
				w.sent = int(w.resume()) // the rest is sent again
			}
		})
	}
	total := 0
	for _, w := range writers {
		if err := w.c.ping(); err != nil {
			t.Fatal(err)
		}
		total += w.sent
	}
	reader.read(total, nil)
	if err := reader.c.ping(); err != nil {
		t.Fatal(err)
	}
	for _, n := range reader.c.pending {
		if n.is(nsClient, "message") {
			t.Errorf("one too many: %s", n)
		}
	}
	next := make(map[string]int)
	for _, m := range reader.got {
		from, n, _ := strings.Cut(m, " ")
		if n != strconv.Itoa(next[from]) {
			t.Fatalf("from %s came %s instead of %d", from, n, next[from])
		}
		next[from]++
	}
	t.Logf("%d messages, %v", total, next)
	if err := watcher.c.ping(); err != nil {
		t.Fatal(err)
	}
	watcher.take()
	if seen := slices.DeleteFunc(watcher.seen, func(s string) bool { return !strings.Contains(s, "reader@") }); len(seen) != 0 {
		t.Errorf("a friend saw %q", seen)
	}
}

// befriended makes accounts as need be, and friends of their users.
func befriended(t *testing.T, srv *server, a, b string) {
	t.Helper()
	for _, user := range []string{a, b} {
		if err := srv.register(user, "secret"); err != nil && !strings.Contains(err.Error(), "conflict") {
			t.Fatal(err)
		}
	}
	x, y := newTraveller(t, srv, a), newTraveller(t, srv, b)
	if err := (&conversation{srv: srv}).befriend(x.c, y.c, true); err != nil {
		t.Fatal(err)
	}
}

// A traveller is a client that resumes its session (XEP-0198) whenever it has lost its connection.
type traveller struct {
	t       *testing.T
	c       *client
	id      string
	handled int      // stanzas from the server
	got     []string // bodies of messages
	seen    []string // presence of others
}

func newTraveller(t *testing.T, srv *server, user string) *traveller {
	return &traveller{t: t, c: srv.client(clientSpec{name: user, user: user, domain: testDomain, resource: "r", password: "secret", mechanism: "SCRAM-SHA-256", tls: "starttls"})}
}

// begin logs in for the first time, and returns what came before stream management was on.
func (r *traveller) begin() []*node {
	r.t.Helper()
	if err := r.c.srv.register(r.c.user, "secret"); err != nil && !strings.Contains(err.Error(), "conflict") {
		r.t.Fatal(err)
	}
	if err := r.c.connect(); err != nil {
		r.t.Fatal(err)
	}
	enabled, err := r.c.exchanged("<presence/><enable xmlns='"+nsSM+"' resume='true'/>", func(n *node) bool { return n.is(nsSM, "enabled") })
	if err != nil {
		r.t.Fatal(err)
	}
	r.id = enabled.attr("id")
	before := r.c.pending
	r.c.pending = nil
	return before
}

// resume goes on, and returns what the server has dealt with.
func (r *traveller) resume() (h uint64) {
	r.t.Helper()
	r.take()
	if err := r.c.open(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.c.authenticate(); err != nil {
		r.t.Fatal(err)
	}
	resumed, err := r.c.exchanged(fmt.Sprintf("<resume xmlns='%s' previd='%s' h='%d'/>", nsSM, r.id, r.handled), func(*node) bool { return true })
	if err != nil || !resumed.is(nsSM, "resumed") {
		r.t.Fatalf("%s is answered %s, %v", r.c.user, resumed, err)
	}
	if h, err = strconv.ParseUint(resumed.attr("h"), 10, 32); err != nil {
		r.t.Fatal(err)
	}
	return h
}

// read takes what comes, until there are so many messages or else the connection ends. enough is
// closed when there are.
func (r *traveller) read(messages int, enough chan struct{}) {
	if err := r.c.tcp.SetReadDeadline(time.Now().Add(patience)); err != nil {
		r.t.Error(err)
	}
	for enough != nil || messages == 0 || len(r.got) < messages {
		n, err := readElement(r.c.dec)
		if err != nil {
			if messages > len(r.got) {
				r.t.Errorf("%s got %d of %d messages: %v", r.c.user, len(r.got), messages, err)
			}
			return
		}
		before := len(r.got)
		r.handle(n)
		if enough != nil && before < messages && len(r.got) == messages {
			close(enough)
		}
	}
}

// handle counts a stanza. Only every third request for an acknowledgement is answered.
func (r *traveller) handle(n *node) {
	switch {
	case n.is(nsSM, "r"):
		if r.handled%3 == 0 {
			fmt.Fprintf(r.c.conn, "<a xmlns='%s' h='%d'/>", nsSM, r.handled)
		}
	case n.is(nsClient, "message"):
		r.handled++
		if n.attr("type") == "error" {
			r.t.Errorf("%s is answered %s", r.c.user, n)
		}
		r.got = append(r.got, n.child("body").text)
	case n.is(nsClient, "presence"):
		r.handled++
		if n.attr("from") != r.c.session {
			r.seen = append(r.seen, n.String())
		}
	case n.is(nsClient, "iq"):
		r.handled++
	}
}

// take handles what was read while something else was waited for.
func (r *traveller) take() {
	for _, n := range r.c.pending {
		r.handle(n)
	}
	r.c.pending = nil
}

// A writer sends without pause.
type writer struct {
	*traveller
	to   string
	sent int
}

// write sends until the connection ends, and no faster than a thousand messages
// a second, so that the reader keeps up.
func (w *writer) write() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		var b strings.Builder
		for range 10 {
			fmt.Fprintf(&b, "<message type='chat' to='%s'><body>%s %d</body></message>", w.to, w.c.user, w.sent)
			w.sent++
		}
		if _, err := io.WriteString(w.c.conn, b.String()); err != nil {
			return
		}
	}
}

// TestSecondSignal: a second SIGTERM ends a stop that takes its time at once. Nobody can resume then, and
// what was stored is there.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"c2s.drain_seconds": "60"})
	away := newTraveller(t, srv, "away")
	away.begin()
	if err := away.c.reset(); err != nil {
		t.Fatal(err)
	}
	var all []*traveller // kept: a connection that nobody knows is closed by the garbage collector
	for i := range 150 { // each takes 10 ms to send away
		all = append(all, newTraveller(t, srv, fmt.Sprint("user", i)))
		all[i].begin()
	}
	last := all[149]
	if err := last.c.send("<message type='chat' to='away@" + testDomain + "/r'><body>stored</body></message>"); err != nil {
		t.Fatal(err)
	}
	if err := last.c.ping(); err != nil {
		t.Fatal(err)
	}
	if err := srv.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(srv.log.String(), "closing sessions") {
		time.Sleep(time.Millisecond)
	}
	if err := srv.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-srv.exited
	runtime.KeepAlive(all)
	if code := srv.cmd.ProcessState.ExitCode(); code != 1 {
		t.Fatalf("chatd ended with %v", srv.cmd.ProcessState)
	}
	if _, err := os.Stat(filepath.Join(srv.dir, "data", "sessions.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sessions are kept: %v", err)
	}
	srv.start(t)
	if err := away.c.connect(); err != nil {
		t.Fatal(err)
	}
	got, err := away.c.exchanged("<presence/>", func(n *node) bool { return n.is(nsClient, "message") })
	if err != nil || got.child("body").text != "stored" {
		t.Errorf("got %s, %v", got, err)
	}
	away.c.tcp.Close()
}

// TestRestartWithDamagedFile: chatd starts without what it cannot read, says so, and its clients log in anew.
func TestRestartWithDamagedFile(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	r := newTraveller(t, srv, "user")
	r.begin()
	srv.stop(t)
	path := filepath.Join(srv.dir, "data", "sessions.json")
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), r.id) {
		t.Fatalf("kept %q, %v", text, err)
	}
	if err := os.WriteFile(path, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	srv.start(t)
	if err := r.c.connect(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(srv.log.String(), "sessions not restored") {
		t.Error("chatd does not say that the file is damaged")
	}
	r.c.tcp.Close()
}
