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

	tally    tally
	rooms    roomTally
	drift    drift
	err      error
	roomsErr error // what concerns rooms alone
}

// faults is what must not be.
func (r *result) faults() error { return errors.Join(r.usersFaults(), r.roomsFaults()) }

func (r *result) roomsFaults() error {
	return errors.Join(r.roomsErr, r.rooms.faults(r.again, r.stray))
}

// usersFaults is all but rooms' messages.
func (r *result) usersFaults() error {
	t, err := r.tally, r.err
	if t.Lost > 0 {
		err = errors.Join(err, fmt.Errorf("%d messages lost", t.Lost))
	}
	if t.Doubled > 0 {
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
	return err
}

func (r *result) print(out io.Writer) {
	verdict := "ok"
	if err := r.faults(); err != nil {
		verdict = "FAILED: " + err.Error()
	}
	t := r.tally
	fmt.Fprintf(out, "%s: %s (%.0f s): notice %s, converge %s, sent %d, acked %d, delivered %d, refused %d, open %d, lost %d, doubled %d, again %d, reordered %d, both %d, stranded %d, unavailable %d, logins %d, resumed %d, conflicts %d, to slixmpp %d\n",
		r.name, verdict, r.took.Seconds(), seconds(r.notice), seconds(r.converge), t.Sent, t.Acked, t.Delivered, t.Refused, t.Open, t.Lost, t.Doubled, t.Again, t.Reordered, t.Both, t.Strand, r.flaps, r.logins, r.resumed, t.Conflicts, t.Foreign)
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

// title is the scenario's name, marked if there are faults.
func (r *result) title(faults error) string {
	if faults != nil {
		return r.name + " **failed**"
	}
	return r.name
}

func (r *report) markdown(out io.Writer) {
	fmt.Fprintln(out, "| scenario | what happens | notice, s | converge, s | acknowledged | delivered | refused | lost | doubled | again | out of order | stranded | open | unavailable | new logins | resumed |")
	fmt.Fprintln(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, res := range r.results {
		t := res.tally
		fmt.Fprintf(out, "| %s | %s | %s | %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n", res.title(res.usersFaults()), res.about, seconds(res.notice), seconds(res.converge),
			t.Acked, t.Delivered, t.Refused, t.Lost, t.Doubled, t.Again, t.Reordered, t.Strand, t.Open, res.flaps, res.logins, res.resumed)
	}
	fmt.Fprint(out, aboutRooms)
	fmt.Fprintln(out, "| scenario | rooms | back, s | slowest, s | acknowledged | heard | refused | missed | doubled | out of order | history: missing | twice | out of order | put out | seen leaving | differing | gaps |")
	fmt.Fprintln(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, res := range r.results {
		m := res.rooms
		fmt.Fprintf(out, "| %s | %d | %s | %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n", res.title(res.roomsFaults()), m.Rooms, seconds(res.back), seconds(m.Slowest), m.Said, m.Heard,
			m.Refused, m.Missed, m.Doubled, m.Reordered, m.Forgotten, m.Repeated, m.Jumbled, m.PutOut, m.Left, res.drift.Differing, res.drift.Gaps)
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

    go run ./bench/partition                   # root, Linux; all scenarios, and this page
    go run ./bench/partition -list             # the names of the scenarios
    go run ./bench/partition -run 'kill|skew'  # some of them
    go run ./bench/partition -nodes 8 -groups 1 -rate 1

Each scenario is a cluster of its own: processes of chatd in network namespaces that a bridge joins, one MariaDB, and clients that connect
over TLS, manage their streams (XEP-0198), resume sessions where they can and log in anew where they cannot. Last run on %s, %d cores, %d nodes, %d groups of
friends, one on each node: %d clients, each of which sends each friend %v messages a second, and so many to somebody who is away; the first group sends to slixmpp, too. In
each room that is theirs they say a quarter of that. At the end everybody logs in once more and collects what waits.

nftables cuts the network by losing packets without a word, and loses some at random. Where packets are late, they go by a switch in the laboratory's own
process, over TUN devices. Where clocks are wrong, chatd is compiled with a time.Now that is.

After every scenario all nodes have to agree: each sees all others alive, has compared digests with each of them since the heal and found that it has exactly
their rows, all have the same map of buckets at the same epoch, and there are as many sessions as clients.

- *notice*: from the cut until every client had lost sight of exactly those friends, and those occupants of rooms, who could not be reached any more.
- *converge*: from the heal until every client saw every friend and every occupant again, and heard from each something that was sent after it.
- *acknowledged*: messages that a node acknowledged to their senders. Each has to be *delivered*, or *refused* with an error, once.
- *lost*, *doubled*, *out of order* (within one session of the sender) and *stranded* (for a user who is there, and handed over only at the next login) have
  to be 0, with one exception: where a session moves during a split to a node that reaches others than the old
  one, its messages overtake those that wait because the old one could not reach them: in rolling-cut.
- *again*: came twice, with the same stanza-id, as they had to: the session in which they came first was lost with its node, or left behind on one that could not be reached, and its
  client had not told that node that they had come, or the node could not tell the sender's any more. Nobody who was left could know whether the client had
  them; what comes twice with one id can be told from another, what is lost cannot be had. Twice in one session, however often it was resumed, is *doubled*.
- *open*: sent to a node whose session could not be resumed: whether that had them its clients cannot know.
- *unavailable*: how often a client was told that a friend has gone.
- *new logins*, *resumed*: what clients had to do after their first login.

`

const aboutRooms = `
Rooms of the groups, of which each node is the home of two or more; every other one is kept in the store. After the scenario each has one home, everybody is in it
once, and somebody who enters it by each of the nodes finds just these, and in the history all that was said on any side, each message once and by time.

- *back*: from the notice of a split or a death until in every room everybody heard everybody else on the same side.
- *slowest*: how long the slowest message took until the last one heard it: the longest gap.
- *missed*: messages that the server acknowledged and that did not come, as they were said, to somebody who was in the room on the sender's side. What is said in the moment
  in which the room's home is killed is an exception ([limits](cluster.md#limits)): in the scenarios named above. Nor is it counted where sender and occupant were cut off from each
  other while it was under way, or the occupant logged in anew.
- *doubled*, *out of order*: came twice to somebody, or behind a later one of the same sender's.
- *put out*: how often a client was told that it is in a room no more. *seen leaving*: how often somebody saw an occupant leave.
- *differing*, *gaps*: segments of the nodes' tables that were not the same when they were compared, and were repaired; and changes that were missing.

`
