package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// A result is what came of a scenario.
type result struct {
	scenario
	began    time.Time
	took     time.Duration
	notice   time.Duration // until all who could not reach each other any more knew; 0: nothing was to be noticed
	back     time.Duration // from the notice of it until everybody on each side heard everybody in every room
	converge time.Duration // from the end of the fault until everybody saw and heard everybody
	gone     int64         // contacts that became unavailable to somebody, until the cut was noticed
	flaps    int64         // ... in all

	loginsBefore, logins, resumed int

	tally tally
	rooms roomTally
	drift drift
	err   error
}

// faults is what must not be.
func (r *result) faults() error {
	t, err := r.tally, r.err
	if t.Lost > 0 {
		err = errors.Join(err, fmt.Errorf("%d messages lost", t.Lost))
	}
	if t.Doubled > 0 && !r.again {
		err = errors.Join(err, fmt.Errorf("%d messages doubled", t.Doubled))
	}
	if t.Reordered > 0 && !r.stray {
		err = errors.Join(err, fmt.Errorf("%d messages out of order", t.Reordered))
	}
	if t.Both > 0 {
		err = errors.Join(err, fmt.Errorf("%d messages delivered and refused", t.Both))
	}
	if err == nil && t.Foreign == 0 {
		err = errors.New("slixmpp got nothing")
	}
	if t.Strand > 0 {
		err = errors.Join(err, fmt.Errorf("%d messages came only at the next login", t.Strand))
	}
	return errors.Join(err, r.rooms.faults(r.again, r.stray))
}

func (r *result) print(out io.Writer) {
	verdict := "ok"
	if err := r.faults(); err != nil {
		verdict = "FAILED: " + err.Error()
	}
	t := r.tally
	fmt.Fprintf(out, "%s: %s (%.0f s): notice %s, converge %s, sent %d, acked %d, delivered %d, refused %d, open %d, lost %d, doubled %d, reordered %d, both %d, stranded %d, unavailable %d, logins %d, resumed %d, conflicts %d, to slixmpp %d\n",
		r.name, verdict, r.took.Seconds(), seconds(r.notice), seconds(r.converge), t.Sent, t.Acked, t.Delivered, t.Refused, t.Open, t.Lost, t.Doubled, t.Reordered, t.Both, t.Strand, r.flaps, r.logins, r.resumed, t.Conflicts, t.Foreign)
	m := r.rooms
	fmt.Fprintf(out, "   %d rooms: back %s, said %d, heard %d, refused %d, open %d, missed %d, doubled %d, out of order %d, history: forgotten %d, repeated %d, out of order %d; put out %d, seen leaving %d, slowest %s; tables: %+v\n",
		m.Rooms, seconds(r.back), m.Said, m.Heard, m.Refused, m.Open, m.Missed, m.Doubled, m.Reordered, m.Forgotten, m.Repeated, m.Jumbled, m.PutOut, m.Left, seconds(m.Slowest), r.drift)
	for _, e := range append(t.Examples, m.Examples...) {
		fmt.Fprintln(out, "  ", e)
	}
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", d.Seconds())
}

// A report is all results.
type report struct{ results []*result }

func (r *report) add(res *result) { r.results = append(r.results, res) }

func (r *report) verdict() error {
	var err error
	for _, res := range r.results {
		if fault := res.faults(); fault != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", res.name, fault))
		}
	}
	return err
}

func (r *report) markdown(out io.Writer) {
	fmt.Fprintln(out, "| scenario | what happens | notice, s | converge, s | acknowledged | delivered | refused | lost | doubled | out of order | stranded | open | unavailable | new logins | resumed |")
	fmt.Fprintln(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, res := range r.results {
		t := res.tally
		name := res.name
		if res.faults() != nil {
			name += " **failed**"
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n", name, res.about, seconds(res.notice), seconds(res.converge),
			t.Acked, t.Delivered, t.Refused, t.Lost, t.Doubled, t.Reordered, t.Strand, t.Open, res.flaps, res.logins, res.resumed)
	}
}

// write puts the report into a file.
func (r *report) write(path string, o options) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, intro, time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), o.nodes, o.groups, o.groups*o.nodes, o.rate)
	r.markdown(&b)
	return os.WriteFile(path, b.Bytes(), 0o644)
}

const intro = `# Partitions, kills and restarts of a real cluster

    go run ./bench/partition          # root, Linux; all scenarios, and this page
    go run ./bench/partition -long    # with cuts of a minute

Each scenario is a cluster of its own: processes of chatd in network namespaces that a bridge joins, one MariaDB, and clients that connect
over TLS, manage their streams (XEP-0198), resume sessions where they can and log in anew where they cannot. nftables cuts
the network by losing packets without a word. Last run on %s, %d cores, %d nodes, %d groups of friends, one on each node: %d clients, each of which
sends each friend %v messages a second, and so many to somebody who is away; the first group sends to slixmpp, too. At the end everybody logs in
once more and collects what waits. The kernel here has no netem: nothing is delayed, and clocks are not skewed.

- *notice*: from the cut until every client had lost sight of exactly those friends who could not be reached any more.
- *converge*: from the heal until every client saw every friend again, and heard from each something that was sent after it.
- *acknowledged*: messages that a node acknowledged to their senders. Each has to be *delivered*, or *refused* with an error, once.
- *lost*, *doubled*, *out of order* (within one session of the sender) and *stranded* (for a user who is there, and handed over only at the next login) have
  to be 0, with two exceptions. Where a process ends during a split, or a session cannot be resumed, what it had just handed over may come again, with the
  same stanza-id: in kill, pause-10s, full-database and rolling-cut. And where a session moves during a split to a node that reaches others than the old
  one, its messages may overtake those that wait because the old one could not reach them: in rolling-cut.
- *open*: sent to a node whose session could not be resumed: whether that had them its clients cannot know.
- *unavailable*: how often a client was told that a friend has gone.
- *new logins*, *resumed*: what clients had to do after their first login.

`
