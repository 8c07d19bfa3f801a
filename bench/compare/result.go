package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A result is what compare.json has.
type result struct {
	Date     time.Time         `json:"date"`
	Quick    bool              `json:"quick"`
	Rounds   int               `json:"rounds"`
	Machine  machine           `json:"machine"`
	Servers  []serverInfo      `json:"servers"`
	Rows     []rowResult       `json:"rows"`
	Budgets  []budget          `json:"budgets"`
	Totals   map[string]totals `json:"totals"`   // by server: what all loads came to
	Failures []string          `json:"failures"` // runs that did not go well

	size    size
	mu      sync.Mutex // guards what follows, and Totals and Failures, until all loads have run
	reports map[runKey][]*report
	missing map[runKey]string // why there is no report
}

type runKey struct{ load, server string }

type serverInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Config  string `json:"config"`
}

// A rowResult is a figure of all servers.
type rowResult struct {
	Load    string           `json:"load"`
	Title   string           `json:"title"`
	Figure  string           `json:"figure"`
	Name    string           `json:"name"`
	Unit    string           `json:"unit"`
	Better  string           `json:"better"` // higher or lower
	Values  map[string]value `json:"values"` // by server, and "relay"
	Leads   bool             `json:"chatd_leads"`
	Ahead   float64          `json:"chatd_ahead,omitempty"` // how many times better than the best of the others
	Overlap bool             `json:"overlap,omitempty"`     // ranges of chatd and that other have something in common
	Reason  string           `json:"reason,omitempty"`      // why chatd does not lead

	plot   string
	higher bool
	only   bool
}

// A value is the median of the rounds and between what they were, or why there is none.
type value struct {
	Median  float64   `json:"median"`
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	Samples []float64 `json:"samples"`
	Missing string    `json:"missing,omitempty"`
}

type totals struct {
	Sent       uint64 `json:"sent"`
	Delivered  uint64 `json:"delivered"`
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`
	Bounced    uint64 `json:"bounced"`
}

func newResult(b *bench) (*result, error) {
	r := &result{Date: time.Now().UTC().Truncate(time.Second), Quick: b.quick, Rounds: b.size.rounds, size: b.size,
		reports: make(map[runKey][]*report), missing: make(map[runKey]string), Totals: make(map[string]totals)}
	for _, k := range b.kinds {
		v, err := k.version(b)
		if err != nil {
			return nil, err
		}
		r.Servers = append(r.Servers, serverInfo{k.name, v, k.config})
	}
	var err error
	r.Machine, err = thisMachine()
	return r, err
}

// add takes a run's report, or why there is none. Any number of goroutines may call it.
func (r *result) add(load, server string, report *report, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addLocked(load, server, report, err)
}

func (r *result) addLocked(load, server string, report *report, err error) {
	key := runKey{load, server}
	if err != nil {
		r.missing[key] = err.Error()
		return
	}
	r.reports[key] = append(r.reports[key], report)
	if !report.OK {
		r.Failures = append(r.Failures, fmt.Sprintf("%s, %s: %s", load, server, report.summary(nil)))
	}
	t, m := r.Totals[server], report.Messages
	t.Sent += m.Sent
	t.Delivered += m.Delivered
	t.Lost += m.Lost
	t.Duplicated += m.Duplicated
	t.Reordered += m.Reordered
	t.Bounced += m.Bounced
	r.Totals[server] = t
	if report.Relay != nil {
		r.addLocked(load, relay, report.Relay, nil)
	}
}

// relay is the column of the raw relay.
const relay = "relay"

// finish makes rows and budgets of the reports.
func (r *result) finish() {
	for _, l := range slices.Concat(r.size.idle(), r.size.loads()) {
		for _, w := range l.rows {
			r.Rows = append(r.Rows, r.row(l, w))
		}
	}
	r.Budgets = r.budgets()
	r.Machine.LoadAtEnd = loadAverage()
}

func (r *result) row(l load, w row) rowResult {
	out := rowResult{Load: l.id, Title: l.title, Figure: w.id, Name: w.name, Unit: w.unit, Better: "lower",
		Values: make(map[string]value), plot: w.plot, higher: w.higher, only: l.only != ""}
	if w.higher {
		out.Better = "higher"
	}
	for _, server := range r.columns() {
		key := runKey{l.id, server}
		if v, ok := newValue(r.reports[key], w.of); ok {
			out.Values[server] = v
		} else if why := r.missing[key]; why != "" {
			out.Values[server] = value{Missing: why}
		}
	}
	if !out.only {
		out.rank(r.Servers)
	}
	if !out.only && !out.Leads {
		out.Reason = r.reason(out)
	}
	return out
}

// columns are the servers, and the relay.
func (r *result) columns() (names []string) {
	for _, s := range r.Servers {
		names = append(names, s.Name)
	}
	return append(names, relay)
}

func newValue(reports []*report, of func(*report) float64) (value, bool) {
	var v value
	for _, report := range reports {
		if sample := of(report); !math.IsNaN(sample) {
			v.Samples = append(v.Samples, sample)
		}
	}
	if len(v.Samples) == 0 {
		return v, false
	}
	v.Min, v.Max, v.Median = slices.Min(v.Samples), slices.Max(v.Samples), median(v.Samples)
	return v, true
}

func median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	if n == 0 {
		return 0
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}

func (r *result) median(load, server string, of func(*report) float64) float64 {
	v, _ := newValue(r.reports[runKey{load, server}], of)
	return v.Median
}

// rank finds out whether chatd leads; the relay does not compete.
func (w *rowResult) rank(servers []serverInfo) {
	chatd, ok := w.Values["chatd"]
	ok = ok && chatd.Missing == ""
	w.Leads = ok
	for _, s := range servers {
		v, there := w.Values[s.Name]
		if s.Name == "chatd" || !there || v.Missing != "" {
			continue
		}
		ahead := v.Median / chatd.Median
		if w.higher {
			ahead = chatd.Median / v.Median
		}
		if !ok || ahead <= 1 {
			w.Leads = false
		}
		if ok && !math.IsInf(ahead, 0) && !math.IsNaN(ahead) && (w.Ahead == 0 || ahead < w.Ahead) {
			w.Ahead = ahead
			w.Overlap = chatd.Min <= v.Max && v.Min <= chatd.Max
		}
	}
}

// reason stands beside a row in which chatd does not lead; empty if none is known.
func (r *result) reason(w rowResult) string {
	missing, _, _ := strings.Cut(w.Values["chatd"].Missing, ":")
	switch {
	case missing != "":
		return strings.Replace(missing, "the server", "chatd", 1)
	case r.Quick && w.plot == memory.plot:
		return "with -quick there are few sessions, and they are not held until what their logins left is collected"
	}
	return ""
}

// verdict is an error when chatd has been found wanting.
func (r *result) verdict() error {
	var errs []error
	t := r.Totals["chatd"]
	if t.Lost+t.Duplicated+t.Reordered > 0 {
		errs = append(errs, fmt.Errorf("chatd has lost %d messages, duplicated %d, reordered %d", t.Lost, t.Duplicated, t.Reordered))
	}
	for _, w := range r.Rows {
		if !w.only && !w.Leads && w.Reason == "" {
			errs = append(errs, fmt.Errorf("chatd does not lead in %s, %s, and there is no reason beside it", w.Title, w.Name))
		}
	}
	return errors.Join(errs...)
}

// write puts README.md, compare.json and the plots into a directory.
func (r *result) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	j, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := r.markdown(&text); err != nil {
		return err
	}
	files := map[string]string{"compare.json": string(j) + "\n", "README.md": text.String()}
	for _, p := range plots {
		files[p.name+".svg"] = p.draw(r)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
