package main

import "math"

// A budget is what chatd has set itself, and what this run found.
type budget struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Limit float64 `json:"limit"`
	Least bool    `json:"at_least"` // otherwise at most
	Found float64 `json:"found"`
	Met   bool    `json:"met"`
}

func (r *result) budgets() (all []budget) {
	for _, b := range []struct {
		budget
		found value
	}{
		{budget{Name: "idle session", Unit: "kB", Limit: 5}, r.chatd("idle", memory.of)},
		{budget{Name: "idle session over TLS 1.3", Unit: "kB", Limit: 13}, r.chatd("idle-tls", memory.of)},
		{budget{Name: "server CPU a message, to the relay's", Unit: "times", Limit: 1.6}, r.chatd(closedLoop, toRelay(cpu.of))},
		{budget{Name: "the same over TLS 1.3, to the relay's without", Unit: "times", Limit: 2.5}, r.chatd("chat-tls", toRelay(cpu.of))},
		{budget{Name: "server CPU a delivery in a room, to the relay's", Unit: "times", Limit: 1.3}, r.chatd("rooms", toRelay(cpu.of))},
		{budget{Name: "throughput, to the relay's", Unit: "%", Limit: 60, Least: true}, r.chatd(closedLoop, func(x *report) float64 { return 100 * toRelay(throughput.of)(x) })},
		{budget{Name: "logins by SCRAM-SHA-256 over new TLS 1.3 connections, for each core they take", Unit: "a second", Limit: 1200, Least: true},
			r.chatd("storm", func(x *report) float64 { return quotient(1e6, loginCPU.of(x)) })},
		{budget{Name: "p99 at half of the greatest throughput", Unit: "ms", Limit: 5}, r.chatd("chat-half", p99.of)},
		{budget{Name: "p99.9 at half of the greatest throughput", Unit: "ms", Limit: 20}, r.chatd("chat-half", p999.of)},
	} {
		if len(b.found.Samples) == 0 {
			continue
		}
		b.Found = b.found.Median
		b.Met = b.Found <= b.Limit
		if b.Least {
			b.Met = b.Found >= b.Limit
		}
		all = append(all, b.budget)
	}
	return all
}

// chatd is a figure of one load on chatd.
func (r *result) chatd(load string, of func(*report) float64) value {
	v, _ := newValue(r.reports[runKey{load, "chatd"}], of)
	return v
}

// toRelay sets a figure in relation to what the relay came to in the same run.
func toRelay(of func(*report) float64) func(*report) float64 {
	return func(r *report) float64 {
		if r.Relay == nil {
			return math.NaN()
		}
		return quotient(of(r), of(r.Relay))
	}
}

// quotient is not a number where there is none.
func quotient(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}
