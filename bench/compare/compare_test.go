package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// smoke is the least that still is every load.
var smoke = size{rounds: 1, sessions: 20, hold: 100 * time.Millisecond, pairs: 4, window: 300 * time.Millisecond, rate: 200,
	friends: 4, toggling: 2, rooms: 2, occupants: 3, mailboxes: 3, messages: 10, storm: 10}

// TestCompare runs all loads on chatd, and on the others as far as they are installed.
func TestCompare(t *testing.T) {
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	o := options{size: smoke, out: t.TempDir(), kinds: slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return !k.installed() })}
	var log bytes.Buffer
	r, err := measure(t.Context(), o, &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	for _, k := range o.kinds {
		if got := r.Totals[k.name]; got.Sent == 0 || got.Delivered < got.Sent || got.Lost+got.Duplicated+got.Reordered+got.Bounced > 0 {
			t.Errorf("%s: %+v", k.name, got)
		}
	}
	if len(r.Failures) > 0 {
		t.Errorf("%q", r.Failures)
	}
	for _, w := range r.Rows {
		// So few sessions may weigh less than what a collection gives back meanwhile.
		negative := w.Values["chatd"].Median < 0 && w.Name != memory.name
		if v, ok := w.Values["chatd"]; !ok || v.Missing != "" && w.Load != "rooms" || v.Missing == "" && (negative || v.Min > v.Median || v.Median > v.Max) {
			t.Errorf("%s, %s: %+v", w.Title, w.Name, v)
		}
	}
	if len(r.Budgets) < 5 { // of eight, some of which are of CPU, which may be less than a tick here
		t.Errorf("%d budgets: %+v", len(r.Budgets), r.Budgets)
	}
	if err := r.write(o.out); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, o, r)
}

func checkFiles(t *testing.T, o options, r *result) {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(o.out, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var parsed result
	if err := json.Unmarshal([]byte(read("compare.json")), &parsed); err != nil || len(parsed.Rows) < 30 {
		t.Errorf("compare.json has %d rows, %v", len(parsed.Rows), err)
	}
	report := read("README.md")
	for _, p := range plots {
		svg := read(p.name + ".svg")
		if !strings.Contains(report, "("+p.name+".svg)") {
			t.Errorf("%s is not shown", p.name)
		}
		// As above of so few sessions; what is not more than nothing cannot be drawn.
		empty := p.name == memory.plot && !slices.ContainsFunc(p.rows(r), func(w rowResult) bool { return w.Values["chatd"].Median > 0 })
		if !empty && !strings.Contains(svg, `class="chatd"`) {
			t.Errorf("%s shows nothing", p.name)
		}
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s.svg: %v", p.name, err)
			}
		}
	}
	for _, k := range o.kinds {
		if !strings.Contains(report, k.config) {
			t.Errorf("README.md does not say how %s is configured", k.name)
		}
	}
}

// medians makes a row of them; 0 is none.
func medians(higher bool, chatd, ejabberd, prosody float64) rowResult {
	w := rowResult{Load: "test", Values: make(map[string]value), higher: higher}
	for name, v := range map[string]float64{"chatd": chatd, "ejabberd": ejabberd, "Prosody": prosody} {
		if v > 0 {
			w.Values[name] = value{Median: v, Min: v * 0.9, Max: v * 1.1, Samples: []float64{v}}
		}
	}
	w.rank([]serverInfo{{Name: "chatd"}, {Name: "ejabberd"}, {Name: "Prosody"}})
	return w
}

func TestRank(t *testing.T) {
	for name, test := range map[string]struct {
		row     rowResult
		leads   bool
		ahead   float64
		overlap bool
	}{
		"more":         {medians(true, 100, 50, 20), true, 2, false},
		"less":         {medians(false, 10, 50, 20), true, 2, false},
		"close":        {medians(true, 100, 95, 20), true, 100.0 / 95, true},
		"behind":       {medians(true, 10, 50, 5), false, 0.2, false},
		"behind, less": {medians(false, 10, 50, 5), false, 0.5, false},
		"alone":        {medians(true, 10, 0, 0), true, 0, false},
		"missing":      {medians(true, 0, 50, 20), false, 0, false},
	} {
		if w := test.row; w.Leads != test.leads || w.Ahead != test.ahead || w.Overlap != test.overlap {
			t.Errorf("%s: leads %v, ahead %v, overlap %v", name, w.Leads, w.Ahead, w.Overlap)
		}
	}
}

func TestVerdict(t *testing.T) {
	behind := medians(true, 10, 50, 5)
	if err := (&result{Rows: []rowResult{behind}}).verdict(); err == nil {
		t.Error("not first, without a reason, and that is fine")
	}
	behind.Reason = "it is known why"
	if err := (&result{Rows: []rowResult{behind}}).verdict(); err != nil {
		t.Error(err)
	}
	if err := (&result{Totals: map[string]totals{"chatd": {Lost: 1}}}).verdict(); err == nil {
		t.Error("a message was lost, and that is fine")
	}
	if remark := behind.Remark(); !strings.Contains(remark, "not first") || !strings.Contains(remark, behind.Reason) {
		t.Error(remark)
	}
}

// A server that delivers nothing in the window has no latency, rather than the best.
func TestNothingDelivered(t *testing.T) {
	var some report
	some.Messages.Measured, some.Messages.Latency.P99 = 5, 7
	v, ok := newValue([]*report{{}, &some}, p99.of)
	if !ok || v.Min != 7 || v.Median != 7 {
		t.Errorf("%+v", v)
	}
	if _, ok := newValue([]*report{{}}, p99.of); ok {
		t.Error("nothing has a latency")
	}
	if v, ok := newValue([]*report{{}, &some}, throughput.of); !ok || v.Min != 0 {
		t.Errorf("%+v", v)
	}
}

func TestReason(t *testing.T) {
	r := &result{Quick: true}
	none := rowResult{Values: map[string]value{"chatd": {Missing: "the server offers no rooms: none of them"}}}
	if got := r.reason(none); got != "chatd offers no rooms" {
		t.Error(got)
	}
	if r.reason(rowResult{plot: memory.plot}) == "" || (&result{}).reason(rowResult{plot: memory.plot}) != "" || r.reason(rowResult{}) != "" {
		t.Error("a reason where there is none, or none where there is one")
	}
}

func TestBusy(t *testing.T) {
	for load, want := range map[string]bool{"0.31 0.33 1.10": false, "1.00 0.10 0.10": true, "17.80 13.64 10.65": true, "": true} {
		if (machine{LoadAtStart: load}).Busy() != want {
			t.Error(load)
		}
	}
}

func TestMedian(t *testing.T) {
	for want, samples := range map[float64][]float64{0: nil, 3: {3}, 2: {3, 1}, 5: {9, 5, 1}} {
		if got := median(samples); got != want {
			t.Errorf("median of %v is %v, want %v", samples, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.123: "0.12", 5: "5", 1.5: "1.50", 12.34: "12.3", 123.4: "123", 1234: "1,234", 1234567: "1,234,567"} {
		if got := number(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}

func TestScale(t *testing.T) {
	log := plot{log: true}.scale([]rowResult{medians(true, 3, 50, 2000)})
	if log.low != 1 || !slices.Equal(log.ticks(), []float64{1, 10, 100, 1000}) || log.x(1) != plotLeft || log.x(0.5) != plotLeft {
		t.Errorf("%+v %v", log, log.ticks())
	}
	linear := plot{}.scale([]rowResult{medians(true, 5, 50, 40)})
	if !slices.Equal(linear.ticks(), []float64{0, 10, 20, 30, 40, 50}) || linear.x(0) != plotLeft || linear.x(linear.high) != plotWidth-plotRight {
		t.Errorf("%+v %v", linear, linear.ticks())
	}
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-quick", "-servers", "prosody,chatd", "-rounds", "2"})
	if err != nil || o.out != "" || o.size.rounds != 2 || o.size.sessions != quick.sessions || len(o.kinds) != 2 || o.kinds[0].name != "chatd" {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parseOptions([]string{"-loads", "idle-tls,rooms"})
	if err != nil || o.out != "" || len(o.size.idle()) != 1 || len(o.size.loads()) != 1 || o.size.loads()[0].id != "rooms" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-servers", "chatd,openfire"}, {"-servers", ""}, {"more"}, {"-no"}, {"-loads", "romos"}, {"-loads", "chat-half"}} {
		if _, err := parseOptions(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
