package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// print writes the table for people.
func (r *report) print(out io.Writer) {
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	line(r.Mode, "%s, %d sessions, %d process(es), tls %s", r.Addr, r.Sessions, r.Processes, r.TLS)
	l := r.Login
	line("logins", "%d in %.2f s, %.0f/s; %d failed, %d retries", l.OK, l.Seconds, l.PerSecond, l.Failed, l.Retries)
	line("login time", "%v", l.Latency)
	if l.Back != nil {
		line("all back", "%v", *l.Back)
	}
	if m := r.Messages; m != nil {
		m.print(line)
	}
	if o := r.Offline; o != nil {
		line("stored", "in %.2f s, %.0f/s", o.StoreSeconds, o.StoredPerSecond)
		line("fetched", "in %.2f s, %.0f/s", o.FetchSeconds, o.FetchedPerSecond)
	}
	if m := r.Rooms; m != nil {
		m.print(line)
	}
	if s := r.Server; s != nil {
		s.print(line)
	}
	if p := r.Client.CPUPerMessage; p != nil {
		line("client CPU", "%.2f s, %.2f us a message", r.Client.CPUSeconds, *p)
	}
	if p := r.Client.CPUPerRoom; p != nil {
		line("client CPU", "%.2f s, %.2f us a room", r.Client.CPUSeconds, *p)
	}
	if r.ForeignContacts > 0 {
		line("beware", "rosters have %d other contacts, who cost the server as well", r.ForeignContacts)
	}
	line("disconnected", "%d", r.Disconnected)
	for what, n := range r.Failures {
		line("failure", "%d x %s", n, what)
	}
	line("verdict", "%s", map[bool]string{true: "fine", false: "FAILED"}[r.OK])
	t.Flush() //nolint:errcheck // like any other line for people
	if r.Relay != nil {
		fmt.Fprintln(out)
		r.Relay.print(out)
		r.Ratio.print(out)
	}
}

func (m *messageReport) print(line func(name, format string, args ...any)) {
	line("messages", "%d sent, %d delivered, %d lost, %d duplicated, %d reordered", m.Sent, m.Delivered, m.Lost, m.Duplicated, m.Reordered)
	if m.Bounced+m.Unsent+m.Unexpected > 0 {
		line("", "%d bounced, %d unsent, %d unexpected", m.Bounced, m.Unsent, m.Unexpected)
	}
	line("measured", "%d in %.2f s, %.0f/s", m.Measured, m.Seconds, m.PerSecond)
	line("latency", "%v", m.Latency)
	if m.SendLag != nil {
		line("send lag", "%v", *m.SendLag)
	}
}

func (s *serverReport) print(line func(name, format string, args ...any)) {
	line("server CPU", "%.2f s", s.CPUSeconds)
	for _, c := range []struct {
		what string
		v    *float64
	}{{"message", s.CPUPerMessage}, {"stored message", s.CPUPerStored}, {"fetched message", s.CPUPerFetched}, {"login", s.CPUPerLogin}, {"room", s.CPUPerRoom}} {
		if c.v != nil {
			line("", "%.2f us a %s", *c.v, c.what)
		}
	}
	line("server memory", "%.1f MB before, %.1f MB at the start, %.1f MB at the end; %.2f kB a session",
		mb(s.MemoryBefore), mb(s.MemoryStart), mb(s.MemoryEnd), s.MemoryPerSession/1000)
}

func (r *ratioReport) print(out io.Writer) {
	if r.CPU != nil {
		fmt.Fprintf(out, "\nserver CPU a message: %.2f times the relay's\n", *r.CPU)
	}
	if r.Throughput != nil {
		fmt.Fprintf(out, "throughput: %.0f%% of the relay's\n", *r.Throughput*100)
	}
}

func (l latencyReport) String() string {
	return fmt.Sprintf("p50 %.2f  p90 %.2f  p99 %.2f  p99.9 %.2f  max %.2f ms", l.P50, l.P90, l.P99, l.P999, l.Max)
}

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }
