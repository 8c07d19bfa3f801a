package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func isHelp(arg string) bool {
	return slices.Contains([]string{"help", "-h", "-help", "--help"}, arg)
}

// help prints what the program or one command does. Called without any argument
// it is an answer to wrong usage.
func help(args []string, e environment) int {
	switch {
	case len(args) == 0:
		fmt.Fprint(e.stderr, topHelp)
		return exitUsage
	case len(args) == 1:
		fmt.Fprint(e.stdout, topHelp)
		return exitOK
	}
	text, ok := helps[args[1]]
	if !ok {
		fmt.Fprintf(e.stderr, "chatload: unknown command %q; there are %s\n", args[1],
			strings.Join(slices.Sorted(maps.Keys(helps)), ", "))
		return exitUsage
	}
	fmt.Fprint(e.stdout, text)
	return exitOK
}

const topHelp = `chatload puts load on an XMPP server and counts exactly what comes of it.

Usage:

  chatload COMMAND [FLAGS]

Commands:

  idle      sessions that do nothing: what does one cost in memory?
  chat      pairs that exchange messages: throughput, latency, CPU a message
  presence  users who toggle their presence, and friends who see it
  rooms     occupants of rooms who all speak: the same for each message delivered
  offline   messages to users who are away, who then come back for them
  storm     everybody logs in at once
  relay     not a load: a server that copies bytes, the floor to compare with

It counts what is lost, duplicated and reordered, reads the server's memory and
CPU from /proc when told its process (-pid), and loads this machine only, unless
-remote is given. Try it:

  chatd serve -config bench.toml &
  chatload chat -domain chat.test -register -insecure -pid $!

Flags of a command: chatload help COMMAND.
Exit codes: 0 fine; 1 something was lost, duplicated, reordered, refused or did
not work at all; 2 wrong usage.
`

const commonHelp = `
Flags of all loads:

  -addr HOST:PORT     the server; 127.0.0.1:5222 if not given
  -domain NAME        what stands behind the @ of all users; localhost
  -tls KIND           starttls (default), direct or off
  -insecure           do not check the server's certificate
  -mech MECHANISM     SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, or auto (default): the
                      first of these that the server offers
  -user-format TEXT   user names, with %d for the number, from 0; load%d
  -password TEXT      of all users; load
  -resource TEXT      that sessions ask for; chatload
  -register           make the accounts, as far as they do not exist, in-band
  -concurrency N      logins at once, of all processes; 0: all. 64; storm: 0
  -processes P        to share the load; 0 (default): one per 18,000 sessions
  -pid PID[,PID...]   the server's processes on this machine, to read CPU and
                      memory of from /proc
  -timeout DURATION   for one login, or one answer of the server; 30s
  -limit DURATION     for everything; 0 (default): what the others add up to and
                      15m for the logins
  -remote             the server may be on another machine: only if it is yours
  -progress           a line on the standard error output each second, as on a
                      terminal
  -json               print one JSON object instead of a table
`

const trafficHelp = `  -inflight W         closed loop: a sender sends again when fewer than W of its
                      messages are under way; 1
  -rate R             open loop: R messages a second, of all senders together,
                      on a schedule that waits for nobody. Latency counts from
                      when a message was due
  -warmup DURATION    before anything is measured; 1s
  -duration DURATION  of what is measured; 10s
  -messages N         measure at most N messages; 0: no limit
  -drain DURATION     how long to wait for messages under way at the end; 10s
`

var helps = map[string]string{
	"idle": `Usage: chatload idle [FLAGS]

Logs sessions in, with roster and presence, and holds them. With -pid it tells
the server's memory before, when all are in, and at the end; memory per session
is the growth from before to the end.

  -sessions N         1000
  -duration DURATION  to hold them; 30s
` + commonHelp + `
Examples:

  chatload idle -sessions 2000 -tls off -register -pid 4711
  chatload idle -sessions 40000 -tls direct -addr 127.0.0.1:5223 -insecure -pid 4711
`,
	"chat": `Usage: chatload chat [FLAGS]

Pairs of users, 2n and 2n+1, send messages to each other, both at the same time.

  -pairs N            100
  -size BYTES         of a message as it is sent; 250, at least 200
  -relay              then run the same load through a relay that knows no XML,
                      and tell the ratios
` + trafficHelp + commonHelp + `
Examples:

  chatload chat -pairs 200 -tls off -register -pid 4711 -relay
  chatload chat -pairs 200 -inflight 16 -duration 30s -tls direct -addr 127.0.0.1:5223 -insecure
  chatload chat -pairs 500 -rate 20000 -pid $(pidof beam.smp) -json
`,
	"presence": `Usage: chatload presence [FLAGS]

Users toggle between available and away; each of them has friends, online all of
them, who get it. One toggle is one message sent and as many delivered as there are
friends. The friendships are made first; they stay for the next run with as many friends.

  -users N            100; a multiple of -friends + 1
  -friends F          of each user; 10. Users 0 to F are friends, then F+1 to
                      2F+1 and so on
  -toggling T         of each such group, T toggle and are friends with all of it, so
                      that not all need to be friends with all; 0: all of it
` + trafficHelp + commonHelp + `
Examples:

  chatload presence -users 110 -friends 10 -register -tls off
  chatload presence -users 1020 -friends 50 -rate 500 -pid 4711
`,
	"rooms": `Usage: chatload rooms [FLAGS]

Users enter rooms (XEP-0045), as many as there are -occupants into each, and all
of them speak. One message is delivered to every occupant, its sender included. The
rooms are made for the run, and end with it. A server without rooms is an error.

  -rooms N            10
  -occupants M        of each room; 20
  -create             do not speak: make a room, enter it with -occupants, leave it
                      with all of them, and make the next, -rooms at the same time.
                      With -duration, -warmup and -drain of the flags below
  -service NAME       where the rooms are; if not given, the server is asked
  -size BYTES         of a message as it is sent; 250, at least 200
  -relay              then run the same load through a relay that knows no XML,
                      and tell the ratios
` + trafficHelp + commonHelp + `
Examples:

  chatload rooms -rooms 20 -occupants 10 -register -tls off -pid 4711
  chatload rooms -rooms 1 -occupants 500 -rate 20 -insecure
  chatload rooms -create -rooms 100 -occupants 3 -tls off -pid 4711
`,
	"offline": `Usage: chatload offline [FLAGS]

Users 2n send messages to users 2n+1, who are away. Then these log in, and all
messages must arrive, once each and in order. Latency is from the beginning of a
login to the last message.

  -users N            who are away, and as many who write; 100
  -messages M         for each of them; 100
  -inflight W         messages that a sender has on the way before it waits for
                      the server; 16
  -size BYTES         of a message as it is sent; 250, at least 200
  -duration DURATION  for each half, at most; 1m
` + commonHelp + `
Example:

  chatload offline -users 200 -messages 500 -register -tls off -pid 4711
`,
	"storm": `Usage: chatload storm [FLAGS]

All users connect and log in, with roster and presence, at once, and try again
with growing pauses when they are refused.

  -sessions N         1000
  -duration DURATION  after which whoever is not back has failed; 1m
  -prepare=false      do not log everybody in and out once before. It makes the
                      accounts, and makes the client know the salted passwords,
                      as a client that returns does
  -login KIND         how they come back: scram (default), by password over a new
                      TLS session; fast, by TLS ticket and token, in one round
                      trip to a new resource; resume, likewise, to the session
                      that they had. The last two need a server with SASL2, Bind 2
                      and FAST
` + commonHelp + `
Examples:

  chatload storm -sessions 5000 -tls direct -addr 127.0.0.1:5223 -insecure -register -pid 4711
  chatload storm -sessions 2000 -concurrency 100 -mech SCRAM-SHA-256
`,
	"relay": `Usage: chatload relay [-listen HOST:PORT] [-duration DURATION] [-remote]

Copies bytes between two sockets that say the same first line, or from each of several to
all of them. chatload chat -relay and rooms -relay start one by themselves.

  -listen HOST:PORT   127.0.0.1:0, which is any free port; it is printed
  -duration DURATION  1h
  -remote             listen for other machines as well
`,
}
