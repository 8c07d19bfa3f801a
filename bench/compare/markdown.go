package main

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/template"
)

//go:embed report.md
var reportText string

// markdown writes the report.
func (r *result) markdown(out io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"number": number, "thousands": thousands, "command": command, "flags": func() string { return strings.Join(ejabberdFlags, " ") },
	}).Parse(reportText)
	if err != nil {
		return err
	}
	return t.Execute(out, r)
}

// Loads are all loads, for the report.
func (r *result) Loads() []load { return append(r.size.idle(), r.size.loads()...) }

// Title, About and Note are of a load, for the report.
func (l load) Title() string { return l.title }
func (l load) About() string { return command(l.args) }
func (l load) Note() string  { return l.note }

// Leads is in how many of the rows chatd leads.
func (r *result) Leads() (n int) {
	for _, w := range r.Rows {
		if w.Leads {
			n++
		}
	}
	return n
}

// Contested is how many rows there are in which to lead.
func (r *result) Contested() (n int) {
	for _, w := range r.Rows {
		if !w.only {
			n++
		}
	}
	return n
}

// Cells are the values of a row, in the order of the columns.
func (r *result) Cells(w rowResult) (cells []string) {
	for _, name := range r.columns() {
		v, ok := w.Values[name]
		switch {
		case !ok:
			cells = append(cells, "")
		case v.Missing != "":
			cells = append(cells, "none")
		case len(v.Samples) == 1:
			cells = append(cells, number(v.Median))
		default:
			cells = append(cells, fmt.Sprintf("%s (%s to %s)", number(v.Median), number(v.Min), number(v.Max)))
		}
	}
	return cells
}

// Columns are the heads of the table's columns.
func (r *result) Columns() []string { return r.columns() }

// Remark says who leads by how much, and if that is not chatd, why.
func (w rowResult) Remark() string {
	switch {
	case w.only:
		return ""
	case !w.Leads && w.Reason == "":
		return "**not first**, and no reason is known"
	case !w.Leads:
		return "**not first**: " + w.Reason
	case w.Ahead == 0:
		return "first"
	case w.Overlap:
		return fmt.Sprintf("%s times better, but the rounds overlap", number(w.Ahead))
	}
	return fmt.Sprintf("%s times better", number(w.Ahead))
}

// Bound is a budget's limit in words.
func (b budget) Bound() string {
	if b.Least {
		return fmt.Sprintf("at least %s %s", number(b.Limit), b.Unit)
	}
	return fmt.Sprintf("at most %s %s", number(b.Limit), b.Unit)
}

// Verdict is whether a budget is met.
func (b budget) Verdict() string {
	if b.Met {
		return "met"
	}
	return "**missed**"
}

// command is chatload's, as one would type it, without what all have.
func command(args []string) string {
	text := strings.Join(args, " ")
	return "chatload " + strings.Replace(text, overTLS, "-tls direct", 1)
}

// number has three digits that matter, and is as long as it needs to be.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return thousands(v)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a == math.Trunc(a):
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// thousands is a rounded number with commas.
func thousands(v float64) string {
	text := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
