package main

import (
	"math"
	"time"
)

// A report is what -json prints; docs/chatload.md explains each field. Durations are
// in the unit that the field's name ends with; a field without a value is left out.
type report struct {
	Mode      string `json:"mode"`
	OK        bool   `json:"ok"`
	Addr      string `json:"addr"`
	TLS       string `json:"tls"`
	Mechanism string `json:"mechanism"`
	Sessions  int    `json:"sessions"`
	Processes int    `json:"processes"`

	Login    loginReport    `json:"login"`
	Messages *messageReport `json:"messages,omitempty"`
	Offline  *offlineReport `json:"offline,omitempty"`
	Rooms    *roomsReport   `json:"rooms,omitempty"`

	Disconnected    uint64         `json:"disconnected"`
	ForeignContacts uint64         `json:"foreign_contacts,omitempty"`
	Failures        map[string]int `json:"failures,omitempty"`

	Server *serverReport `json:"server,omitempty"`
	Client clientReport  `json:"client"`

	Relay *report      `json:"relay,omitempty"`
	Ratio *ratioReport `json:"ratio,omitempty"`
}

type loginReport struct {
	OK        int            `json:"ok"`
	Failed    int            `json:"failed"`
	Retries   int            `json:"retries"`
	Seconds   float64        `json:"seconds"`
	PerSecond float64        `json:"per_second"`
	Latency   latencyReport  `json:"latency_ms"`
	Back      *latencyReport `json:"back_ms,omitempty"`
}

type messageReport struct {
	Sent       uint64         `json:"sent"`
	Delivered  uint64         `json:"delivered"`
	Lost       uint64         `json:"lost"`
	Duplicated uint64         `json:"duplicated"`
	Reordered  uint64         `json:"reordered"`
	Bounced    uint64         `json:"bounced"`
	Unsent     uint64         `json:"unsent"`
	Unexpected uint64         `json:"unexpected"`
	Measured   uint64         `json:"measured"`
	Seconds    float64        `json:"seconds"`
	PerSecond  float64        `json:"per_second"`
	Latency    latencyReport  `json:"latency_ms"`
	SendLag    *latencyReport `json:"send_lag_ms,omitempty"`
}

type offlineReport struct {
	StoreSeconds     float64 `json:"store_seconds"`
	StoredPerSecond  float64 `json:"stored_per_second"`
	FetchSeconds     float64 `json:"fetch_seconds"`
	FetchedPerSecond float64 `json:"fetched_per_second"`
}

type latencyReport struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99_9"`
	Max   float64 `json:"max"`
}

type serverReport struct {
	PIDs             []int    `json:"pids"`
	CPUSeconds       float64  `json:"cpu_seconds"`
	CPUPerMessage    *float64 `json:"cpu_us_per_message,omitempty"`
	CPUPerStored     *float64 `json:"cpu_us_per_stored,omitempty"`
	CPUPerFetched    *float64 `json:"cpu_us_per_fetched,omitempty"`
	CPUPerLogin      *float64 `json:"cpu_us_per_login,omitempty"`
	CPUPerRoom       *float64 `json:"cpu_us_per_room,omitempty"`
	MemoryBefore     int64    `json:"memory_bytes_before"`
	MemoryStart      int64    `json:"memory_bytes_start"`
	MemoryEnd        int64    `json:"memory_bytes_end"`
	MemoryPerSession float64  `json:"memory_bytes_per_session"`
}

type clientReport struct {
	CPUSeconds    float64  `json:"cpu_seconds"`
	CPUPerMessage *float64 `json:"cpu_us_per_message,omitempty"`
	CPUPerRoom    *float64 `json:"cpu_us_per_room,omitempty"`
}

type ratioReport struct {
	CPU        *float64 `json:"cpu_per_message,omitempty"`
	Throughput *float64 `json:"throughput,omitempty"`
}

// newReport tells what a load came to, with the server's usage at its marks.
func newReport(o *options, out *outcome, at map[string]usage) *report {
	r := &report{
		Mode: o.Mode, OK: out.good(), Addr: o.Addr, TLS: o.TLS, Mechanism: o.Mech,
		Sessions: o.Users, Processes: o.Processes,
		Login:        newLoginReport(out),
		Disconnected: out.Disconnected, ForeignContacts: out.ForeignContacts, Failures: out.Failures,
		Client: clientReport{CPUSeconds: out.CPU.Seconds()},
	}
	switch {
	case o.Create:
		r.Rooms = newRoomsReport(out)
		r.Client.CPUPerRoom = per(out.CPU, out.Measured)
	case o.Mode == "idle" || o.Mode == "storm":
	default:
		r.Messages = newMessageReport(out)
		r.Client.CPUPerMessage = per(out.CPU, out.Measured)
	}
	if o.Mode == "offline" {
		r.Offline = &offlineReport{out.Store.Seconds(), rate(out.Sent, out.Store), out.Fetch.Seconds(), rate(out.Delivered, out.Fetch)}
	}
	if len(o.PIDs) > 0 {
		r.Server = newServerReport(o, out, at)
	}
	return r
}

func newLoginReport(out *outcome) loginReport {
	l := loginReport{OK: out.LoggedIn, Failed: out.LoginFailed, Retries: out.Retries,
		Seconds: out.LoginTime.Seconds(), PerSecond: rate(uint64(out.LoggedIn), out.LoginTime),
		Latency: newLatencyReport(&out.Login)}
	if out.Back.total > 0 {
		back := newLatencyReport(&out.Back)
		l.Back = &back
	}
	return l
}

func newMessageReport(out *outcome) *messageReport {
	m := &messageReport{Sent: out.Sent, Delivered: out.Delivered, Lost: out.Lost, Duplicated: out.Duplicated,
		Reordered: out.Reordered, Bounced: out.Bounced, Unsent: out.Unsent, Unexpected: out.Unexpected,
		Measured: out.Measured, Seconds: out.Window.Seconds(), PerSecond: rate(out.Measured, out.Window),
		Latency: newLatencyReport(&out.Latency)}
	if out.Lag.total > 0 {
		lag := newLatencyReport(&out.Lag)
		m.SendLag = &lag
	}
	return m
}

func newServerReport(o *options, out *outcome, at map[string]usage) *serverReport {
	s := &serverReport{PIDs: o.PIDs, MemoryBefore: at["before"].rss, MemoryStart: at["start"].rss, MemoryEnd: at["end"].rss}
	s.MemoryPerSession = float64(s.MemoryEnd-s.MemoryBefore) / float64(max(out.LoggedIn, 1))
	s.CPUSeconds = (at["end"].cpu - at["begin"].cpu).Seconds()
	logins := at["start"].cpu - at["before"].cpu
	switch {
	case o.Create:
		s.CPUPerRoom = per(at["end"].cpu-at["begin"].cpu, out.Measured)
	case o.Mode == "chat" || o.Mode == "presence" || o.Mode == "rooms":
		s.CPUPerMessage = per(at["end"].cpu-at["begin"].cpu, out.Measured)
	case o.Mode == "offline":
		s.CPUPerStored = per(at["stored"].cpu-at["begin"].cpu, out.Sent)
		s.CPUPerFetched = per(at["end"].cpu-at["stored"].cpu, out.Delivered)
		return s // logins were of two kinds
	case o.Mode == "storm":
		logins = at["end"].cpu - at["begin"].cpu
	}
	s.CPUPerLogin = per(logins, uint64(out.LoggedIn))
	return s
}

func newLatencyReport(h *histogram) latencyReport {
	return latencyReport{h.total, ms(h.mean()), ms(h.quantile(0.5)), ms(h.quantile(0.9)), ms(h.quantile(0.99)),
		ms(h.quantile(0.999)), ms(time.Duration(h.highest))}
}

// compare sets a server's figures beside a relay's.
func compare(server, relay *report) *ratioReport {
	r := &ratioReport{}
	if server.Server != nil && relay.Server != nil {
		r.CPU = quotient(server.Server.CPUPerMessage, relay.Server.CPUPerMessage)
	}
	r.Throughput = quotient(&server.Messages.PerSecond, &relay.Messages.PerSecond)
	return r
}

func quotient(a, b *float64) *float64 {
	if a == nil || b == nil || *b == 0 {
		return nil
	}
	q := *a / *b
	return &q
}

func ms(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

func rate(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// per is d for each of n, in microseconds.
func per(d time.Duration, n uint64) *float64 {
	if n == 0 {
		return nil
	}
	us := float64(d) / 1e3 / float64(n)
	return &us
}
