package chatd_test

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKillUnderLoad: kill -9 while clients send as fast as they can. What the
// server has acknowledged (XEP-0198 §4) is not lost: users who are away, or whose session
// waits for resumption, find it after the restart; users who are there have it.
// Nothing comes twice or out of order.
func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{
		"c2s.limits.stanzas_per_second": "0", "c2s.limits.bytes_per_second": "0", "message.offline_max": "100000",
	})
	var load []*flow
	for _, name := range []string{"away1", "away2", "gone", "here1", "here2"} {
		for _, user := range []string{name, "from" + name} {
			if err := srv.register(user, "secret"); err != nil {
				t.Fatal(err)
			}
		}
		load = append(load, &flow{t: t, srv: srv, from: "from" + name, to: name, online: strings.HasPrefix(name, "here"), resumable: name == "gone"})
	}
	for _, after := range []int{1, 100, 400, 1000} {
		t.Run(fmt.Sprintf("after %d", after), func(t *testing.T) {
			var running, started sync.WaitGroup
			for _, f := range load {
				f.begin(&running, &started, after)
			}
			started.Wait()
			if err := srv.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-srv.exited
			running.Wait()
			srv.start(t)
			for _, f := range load {
				f.check(t)
			}
		})
	}
}

// ahead is how many messages a sender may be ahead of a recipient who reads. One who does
// not is killslow_test.go's.
const ahead = 200

// A flow is one user who sends to another without pause.
type flow struct {
	t         *testing.T
	srv       *server
	from, to  string
	online    bool // the recipient is there and reads
	resumable bool // the recipient's connection has broken

	sender, reader *client
	acked          int           // messages that the server has acknowledged
	heard          []string      // what the recipient has received
	room           chan struct{} // of capacity ahead: sent and not received, if online
	stopped        chan struct{} // closed when nobody receives any more
}

func (f *flow) login(user string) *client {
	f.t.Helper()
	c := f.srv.client(clientSpec{name: user, user: user, domain: testDomain, resource: "r", password: "secret", mechanism: "SCRAM-SHA-256", tls: "starttls"})
	if err := c.connect(); err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *flow) managed(user string) *client {
	f.t.Helper()
	c := f.login(user)
	if _, err := c.exchanged("<presence/><enable xmlns='"+nsSM+"' resume='true'/>", func(n *node) bool { return n.is(nsSM, "enabled") }); err != nil {
		f.t.Fatal(err)
	}
	if err := c.tcp.SetDeadline(time.Now().Add(8 * patience)); err != nil {
		f.t.Fatal(err)
	}
	return c
}

// begin runs both ends until their connections end. started is done when so many
// messages are acknowledged, or when they have ended.
func (f *flow) begin(running, started *sync.WaitGroup, after int) {
	f.t.Helper()
	f.acked, f.heard = 0, nil
	f.room, f.stopped = make(chan struct{}, ahead), make(chan struct{})
	if f.online {
		f.reader = f.managed(f.to)
		running.Go(f.read)
	}
	if f.resumable {
		if err := f.managed(f.to).reset(); err != nil {
			f.t.Fatal(err)
		}
	}
	f.sender = f.managed(f.from)
	running.Go(f.write)
	started.Add(1)
	running.Go(func() { f.countAcks(after, sync.OnceFunc(started.Done)) })
}

// write sends messages and asks after every few for an acknowledgement.
func (f *flow) write() {
	for i := 0; ; {
		var b strings.Builder
		for range 1 + i%13 {
			if f.online {
				select {
				case f.room <- struct{}{}:
				case <-f.stopped:
					return
				}
			}
			fmt.Fprintf(&b, "<message type='chat' to='%s@%s'><body>%d</body></message>", f.to, testDomain, i)
			i++
		}
		if _, err := io.WriteString(f.sender.conn, b.String()+"<r xmlns='"+nsSM+"'/>"); err != nil {
			return
		}
	}
}

func (f *flow) countAcks(after int, started func()) {
	defer started()
	for {
		n, err := readElement(f.sender.dec)
		if err != nil {
			return
		}
		if !n.is(nsSM, "a") {
			continue
		}
		if f.acked, err = strconv.Atoi(n.attr("h")); err != nil {
			f.t.Error(err)
			return
		}
		if f.acked >= after {
			started()
		}
	}
}

// read is the recipient. That it cannot answer is no reason to stop reading: the
// last messages may be in the kernel still.
func (f *flow) read() {
	defer close(f.stopped)
	handled := 0
	for {
		n, err := readElement(f.reader.dec)
		switch {
		case err != nil:
			return
		case n.is(nsClient, "message"):
			f.heard = append(f.heard, n.child("body").text)
			handled++
			<-f.room
		case n.is(nsSM, "r"):
			fmt.Fprintf(f.reader.conn, "<a xmlns='%s' h='%d'/>", nsSM, handled)
		}
	}
}

// check looks for all that was acknowledged.
func (f *flow) check(t *testing.T) {
	t.Helper()
	for _, c := range []*client{f.sender, f.reader} {
		if c != nil {
			c.tcp.Close()
		}
	}
	f.reader = f.login(f.to)
	if err := f.reader.send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	if err := f.reader.sync(); err != nil {
		t.Fatal(err)
	}
	live := len(f.heard)
	for _, n := range f.reader.pending {
		if n.is(nsClient, "message") {
			f.heard = append(f.heard, n.child("body").text)
		}
	}
	f.reader.pending = nil
	if err := f.reader.close(); err != nil {
		t.Error(err)
	}
	t.Logf("%s: %d acknowledged, %d received before the kill, %d after", f.to, f.acked, live, len(f.heard)-live)
	if len(f.heard) < f.acked {
		t.Errorf("%s: %d of %d acknowledged messages are lost", f.to, f.acked-len(f.heard), f.acked)
	}
	want := make([]string, len(f.heard))
	for i := range want {
		want[i] = fmt.Sprint(i)
	}
	if !slices.Equal(f.heard, want) {
		t.Errorf("%s: messages are missing, doubled or out of order", f.to)
	}
}
