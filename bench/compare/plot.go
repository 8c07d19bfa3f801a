package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A plot draws the rows that name it: for each row and server a dot at the median, with the range of the rounds
// behind it.
type plot struct {
	name, title, axis string
	log               bool
}

var plots = []plot{
	{"cpu", "Server CPU", "microseconds of server CPU each, log scale; less is better", true},
	{"throughput", "Throughput", "a second, log scale; more is better", true},
	{"latency", "Latency", "milliseconds, log scale; less is better", true},
	{"memory", "Memory of an idle session", "kB of resident memory a session; less is better", false},
}

// Measures, in units of the picture, which are pixels at its natural size.
const (
	plotWidth  = 900
	plotLeft   = 330 // of labels
	plotRight  = 90  // of values beyond the greatest
	plotTop    = 66  // of title and legend
	plotBottom = 48  // of the axis
	lineHeight = 15
	rowGap     = 16
)

// plotStyle is legible on light and on dark pages.
const plotStyle = `
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.page { fill: #ffffff } .title { font-size: 16px; font-weight: 600 } .load { font-weight: 600 } .muted { fill: #59636e } .grid { stroke: #d1d9e0 }
.chatd { stroke: #0969da; fill: #0969da } .ejabberd { stroke: #bc4c00; fill: #bc4c00 } .prosody { stroke: #8250df; fill: #8250df } .relay { stroke: #818b98; fill: #818b98 }
line { stroke-width: 1 } line.key { stroke-width: 9; stroke-opacity: 0.35 } line.lead { stroke-width: 1.5 } line.range { stroke-width: 9; stroke-opacity: 0.35 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .page { fill: #0d1117 } .muted { fill: #9198a1 } .grid { stroke: #3d444d }
.chatd { stroke: #4493f8; fill: #4493f8 } .ejabberd { stroke: #f0883e; fill: #f0883e } .prosody { stroke: #ab7df8; fill: #ab7df8 } .relay { stroke: #9198a1; fill: #9198a1 }
}
`

// A canvas is an SVG picture in the making.
type canvas struct{ strings.Builder }

func (c *canvas) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">`, x, y, class, anchor)
	xml.EscapeText(c, []byte(text)) //nolint:errcheck // a Builder takes all
	c.WriteString("</text>\n")
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`+"\n", x1, y1, x2, y2, class)
}

// draw is the whole picture as SVG.
func (p plot) draw(r *result) string {
	rows := p.rows(r)
	s := p.scale(rows)
	height := float64(plotTop + plotBottom)
	for _, w := range rows {
		height += p.height(w, r)
	}
	var c canvas
	fmt.Fprintf(&c, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" width="%d" height="%.0f" role="img">`+"\n<title>%s</title>\n<style>%s</style>\n",
		plotWidth, height, plotWidth, height, p.title, plotStyle)
	fmt.Fprintf(&c, `<rect width="%d" height="%.0f" class="page"/>`+"\n", plotWidth, height)
	c.text(16, 26, "title", "start", p.title)
	p.legend(&c, rows, r)
	for _, tick := range s.ticks() {
		x := s.x(tick)
		c.line(x, plotTop-6, x, height-plotBottom, "grid")
		c.text(x, height-plotBottom+16, "muted", "middle", tickLabel(tick))
	}
	c.text(plotLeft+(plotWidth-plotLeft-plotRight)/2, height-plotBottom+36, "muted", "middle", p.axis)
	y := float64(plotTop)
	for _, w := range rows {
		p.row(&c, s, w, r, y)
		y += p.height(w, r)
	}
	c.WriteString("</svg>\n")
	return c.String()
}

// rows are those of the plot that have a value at all.
func (p plot) rows(r *result) (rows []rowResult) {
	for _, w := range r.Rows {
		if w.plot == p.name && !w.only && len(drawn(w, r)) > 0 {
			rows = append(rows, w)
		}
	}
	return rows
}

// drawn are the columns of a row that have something to draw.
func drawn(w rowResult, r *result) (names []string) {
	for _, name := range r.columns() {
		if v := w.Values[name]; v.Median > 0 {
			names = append(names, name)
		}
	}
	return names
}

// height leaves room for two lines of label.
func (p plot) height(w rowResult, r *result) float64 {
	return float64(max(2, len(drawn(w, r)))*lineHeight + rowGap)
}

func (p plot) legend(c *canvas, rows []rowResult, r *result) {
	x := 16.0
	for _, name := range r.columns() {
		if !slices.ContainsFunc(rows, func(w rowResult) bool { return w.Values[name].Median > 0 }) {
			continue
		}
		c.line(x, 44, x+18, 44, "key "+strings.ToLower(name))
		fmt.Fprintf(c, `<circle cx="%.1f" cy="44" r="4" class="%s"/>`+"\n", x+9, strings.ToLower(name))
		c.text(x+24, 48, "", "start", name)
		x += 100
	}
	c.text(x, 48, "muted", "start", "median, and the range of the rounds")
}

func (p plot) row(c *canvas, s scale, w rowResult, r *result, y float64) {
	c.text(16, y+12, "load", "start", w.Title)
	c.text(16, y+12+lineHeight, "muted", "start", w.Name+", "+w.Unit)
	for n, name := range drawn(w, r) {
		v, class := w.Values[name], strings.ToLower(name)
		at := y + 8 + float64(n*lineHeight)
		c.line(plotLeft, at, s.x(v.Median), at, "lead "+class)
		if len(v.Samples) > 1 {
			c.line(s.x(v.Min), at, s.x(v.Max), at, "range "+class)
		}
		fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="4" class="%s"/>`+"\n", s.x(v.Median), at, class)
		c.text(max(s.x(v.Max), s.x(v.Median))+9, at+4, "", "start", number(v.Median))
	}
}

// A scale is where values are on the axis, between low and high.
type scale struct {
	low, high float64
	log       bool
}

// scale fits the rows: whole decades on a log scale, from 0 otherwise.
func (p plot) scale(rows []rowResult) scale {
	low, high := math.Inf(1), 0.0
	for _, w := range rows {
		for _, v := range w.Values {
			if v.Median > 0 {
				low, high = min(low, v.Median), max(high, v.Max)
			}
		}
	}
	switch {
	case high == 0:
		return scale{low: 1, high: 10, log: p.log}
	case !p.log:
		return scale{high: high}
	}
	return scale{low: math.Pow(10, math.Floor(math.Log10(low))), high: high, log: true}
}

func (s scale) x(v float64) float64 {
	part := v / s.high
	if s.log {
		part = math.Log(max(v, s.low)/s.low) / math.Log(s.high/s.low)
	}
	return plotLeft + part*(plotWidth-plotLeft-plotRight)
}

func tickLabel(v float64) string {
	if v >= 1000 {
		return thousands(v)
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

// ticks are the powers of ten of a log scale, else steps of 1, 2 or 5 times one.
func (s scale) ticks() (at []float64) {
	if s.log {
		for v := s.low; v <= s.high*1.0001; v *= 10 {
			at = append(at, v)
		}
		return at
	}
	step := math.Pow(10, math.Floor(math.Log10(s.high)))
	for _, part := range []float64{0.2, 0.5, 1} {
		if s.high/(step*part) <= 8 {
			step *= part
			break
		}
	}
	for v := 0.0; v <= s.high; v += step {
		at = append(at, v)
	}
	return at
}
