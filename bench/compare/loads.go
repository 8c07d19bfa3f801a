package main

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// A size is how much of everything: sessions, users, messages.
type size struct {
	rounds    int
	sessions  int // idle
	hold      time.Duration
	pairs     int
	window    time.Duration // measured of chat, presence, rooms
	rate      int           // messages a second, open loop: all servers can do it
	friends   int           // of whom one toggles
	toggling  int
	rooms     int
	occupants int
	mailboxes int
	messages  int // for each mailbox
	storm     int
	only      []string // ids of the loads that are wanted; none: all of them
}

var (
	// Go collects what logins left at the latest two minutes later: hence the time that idle sessions are held.
	full = size{rounds: 3, sessions: 2000, hold: 150 * time.Second, pairs: 100, window: 2 * time.Second, rate: 1000,
		friends: 100, toggling: 4, rooms: 10, occupants: 20, mailboxes: 30, messages: 100, storm: 500}
	quick = size{rounds: 1, sessions: 200, hold: 10 * time.Second, pairs: 50, window: time.Second, rate: 500,
		friends: 50, toggling: 2, rooms: 5, occupants: 20, mailboxes: 20, messages: 50, storm: 100}
)

// A load is what is put on each server, and the rows that come of it.
type load struct {
	id    string
	title string
	args  []string // of chatload
	rows  []row
	relay bool   // with the raw relay beside chatd
	only  string // of one server alone: no row to lead in
	half  bool   // at half of what the server did in the closed loop
	note  string // what has to be known to read the rows
}

// A row is one figure of a load.
type row struct {
	id     string
	name   string
	unit   string
	higher bool   // is better
	plot   string // where it is drawn
	of     func(*report) float64
}

// overTLS among the arguments of a load: direct TLS instead of plain TCP.
const overTLS = "-over-tls"

const closedLoop = "chat-1" // the load that others take the greatest throughput from

func perSecond(r *report) float64 { return r.Messages.PerSecond }

// delivered makes a figure of what arrived, which does not exist where nothing has.
func delivered(of func(*report) float64) func(*report) float64 {
	return func(r *report) float64 {
		if r.Messages.Measured == 0 {
			return math.NaN()
		}
		return of(r)
	}
}

var (
	throughput = row{"throughput", "delivered", "messages/s", true, "throughput", perSecond}
	cpu        = row{"cpu", "server CPU a delivery", "us", false, "cpu", delivered(func(r *report) float64 { return r.Server.CPUPerMessage })}
	p50        = row{"p50", "latency p50", "ms", false, "latency", delivered(func(r *report) float64 { return r.Messages.Latency.P50 })}
	p99        = row{"p99", "latency p99", "ms", false, "latency", delivered(func(r *report) float64 { return r.Messages.Latency.P99 })}
	p999       = row{"p999", "latency p99.9", "ms", false, "latency", delivered(func(r *report) float64 { return r.Messages.Latency.P999 })}
	memory     = row{"memory", "server memory a session", "kB", false, "memory", func(r *report) float64 { return r.Server.MemoryPerSession / 1000 }}
	stored     = row{"stored", "stored", "messages/s", true, "throughput", func(r *report) float64 { return r.Offline.StoredPerSecond }}
	storedCPU  = row{"stored-cpu", "server CPU a message stored", "us", false, "cpu", func(r *report) float64 { return r.Server.CPUPerStored }}
	fetched    = row{"fetched", "handed over", "messages/s", true, "throughput", func(r *report) float64 { return r.Offline.FetchedPerSecond }}
	fetchedCPU = row{"fetched-cpu", "server CPU a message handed over", "us", false, "cpu", func(r *report) float64 { return r.Server.CPUPerFetched }}
	logins     = row{"logins", "logins", "logins/s", true, "throughput", func(r *report) float64 { return r.Login.PerSecond }}
	loginCPU   = row{"login-cpu", "server CPU a login", "us", false, "cpu", func(r *report) float64 { return r.Server.CPUPerLogin }}
)

// undrawn keeps a row out of the plots.
func (w row) undrawn() row { w.plot = ""; return w }

// seeds are what makes the accounts, and the friendships of the presence load.
func (z size) seeds() [][]string {
	users := max(z.sessions, z.storm, 2*z.pairs, z.rooms*z.occupants, 2*z.mailboxes)
	return [][]string{
		{"idle", "-register", "-sessions", strconv.Itoa(users), "-duration", "1ms"},
		append(z.presence(), "-register", "-duration", "100ms", "-warmup", "0s", "-timeout", "2m"),
	}
}

// warmUp is not counted.
func (z size) warmUp() []string { return z.chat("1") }

// touch is a few logins before idle sessions are counted, so that what a server loads and sets up once is not counted with them.
func (z size) touch() []string {
	return []string{"idle", "-sessions", "20", "-duration", "1ms"}
}

// chosen are those of some loads that are wanted.
func (z size) chosen(all []load) []load {
	return slices.DeleteFunc(all, func(l load) bool { return len(z.only) > 0 && !slices.Contains(z.only, l.id) })
}

func (z size) idle() []load {
	args := []string{"idle", "-sessions", strconv.Itoa(z.sessions), "-duration", z.hold.String()}
	const note = "VmRSS of a server started anew, its growth by these sessions, which come after a few others, with login, roster and presence"
	return z.chosen([]load{
		{id: "idle", title: "idle sessions", args: args, rows: []row{memory}, note: note},
		{id: "idle-tls", title: "idle sessions over TLS 1.3", args: append([]string{args[0], overTLS}, args[1:]...), rows: []row{memory}, note: note},
	})
}

// loads are in the order in which they are run.
func (z size) loads() []load {
	traffic := []row{throughput, cpu, p50.undrawn(), p99, p999.undrawn()}
	fanOut := []row{throughput, cpu, p99}
	return z.chosen([]load{
		{id: closedLoop, title: "chat, closed loop, 1 in flight", args: z.chat("1"), rows: traffic, relay: true},
		{id: "chat-16", title: "chat, closed loop, 16 in flight", args: z.chat("16"), rows: traffic, relay: true},
		{id: "chat-tls", title: "chat over TLS 1.3, closed loop, 1 in flight", args: append(z.chat("1"), overTLS), rows: traffic, relay: true,
			note: "the relay has no TLS"},
		{id: "chat-rate", title: "chat, open loop, " + thousands(float64(z.rate)) + " messages/s", args: append(z.chat("1"), "-rate", strconv.Itoa(z.rate)),
			rows: []row{cpu, p50, p99, p999}, relay: true, note: "latency from when a message was due: corrected for coordinated omission"},
		{id: "chat-half", title: "chat, open loop, half of its own greatest throughput", args: z.chat("1"), rows: []row{p50, p99, p999}, only: "chatd", half: true},
		{id: "presence", title: "presence to " + strconv.Itoa(z.friends) + " contacts, closed loop", args: z.timed(z.presence()...), rows: fanOut},
		{id: "rooms", title: "rooms of " + strconv.Itoa(z.occupants) + ", closed loop", args: z.timed("rooms", "-rooms", strconv.Itoa(z.rooms), "-occupants", strconv.Itoa(z.occupants)), rows: fanOut, relay: true},
		{id: "offline", title: "messages to users who are away", args: []string{"offline", "-users", strconv.Itoa(z.mailboxes), "-messages", strconv.Itoa(z.messages)},
			rows: []row{stored, storedCPU, fetched, fetchedCPU},
			note: "chatd has every message on disk, synced (SQLite, synchronous=FULL), before it counts as stored, and removes it once it is handed over, as durably; " +
				"ejabberd (Mnesia) and Prosody (files) write without syncing, and what they have accepted last can be lost when the machine stops. Handing over includes the login"},
		{id: "storm", title: "everybody logs in, over new TLS 1.3", args: []string{"storm", overTLS, "-sessions", strconv.Itoa(z.storm)},
			rows: []row{logins, loginCPU}, note: "full handshakes, SCRAM-SHA-256, with roster and presence"},
	})
}

// chat is of pairs that send both ways.
func (z size) chat(inflight string) []string {
	return z.timed("chat", "-pairs", strconv.Itoa(z.pairs), "-inflight", inflight)
}

func (z size) presence() []string {
	return []string{"presence", "-user-format", "friend%d", "-users", strconv.Itoa(z.friends + 1),
		"-friends", strconv.Itoa(z.friends), "-toggling", strconv.Itoa(z.toggling)}
}

// timed adds the times of what is measured in a window.
func (z size) timed(args ...string) []string {
	return append(args, "-warmup", (z.window / 4).String(), "-duration", z.window.String())
}
