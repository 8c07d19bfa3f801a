package chatd_test

import (
	"encoding/xml"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The expected side of a conversation is XML with holes:
//
//	'*'         any value; the attribute has to be there
//	'{name}'    any value that is not empty, the same at each place in the file; also as a part: 'romeo@chat.test/{r}'
//	{datetime}  a UTC time (XEP-0082 §3.2) of the last few minutes
//	…           among an element's children: further children may be there, in any order
//
// Values stand in attributes or are the whole text of an element. Everything
// not said to be free must be equal: attributes in any order, children in
// theirs. White space between children does not count, nor does a message's stanza-id where
// none is expected.

const lenient = "…"

// captures are the values that {names} stand for.
type captures map[string]string

var hole = regexp.MustCompile(`\{[a-z][a-z0-9-]*\}`)

// fill replaces the {names} that have a value, for what is sent.
func (c captures) fill(text string) string {
	return hole.ReplaceAllStringFunc(text, func(h string) string {
		if v, ok := c[h[1:len(h)-1]]; ok {
			return escape(v)
		}
		return h
	})
}

// value compares one value with its pattern and learns what {names} stand for.
func (c captures) value(pattern, got string) bool {
	if pattern == "*" || pattern == got {
		return true
	}
	if !hole.MatchString(pattern) {
		return false
	}
	if pattern == "{datetime}" {
		return recent(got)
	}
	var expr strings.Builder
	var names []string
	at := 0
	for _, loc := range hole.FindAllStringIndex(pattern, -1) {
		expr.WriteString(regexp.QuoteMeta(pattern[at:loc[0]]))
		name := pattern[loc[0]+1 : loc[1]-1]
		if v, ok := c[name]; ok {
			expr.WriteString(regexp.QuoteMeta(v))
		} else {
			expr.WriteString("(.+?)")
			names = append(names, name)
		}
		at = loc[1]
	}
	expr.WriteString(regexp.QuoteMeta(pattern[at:]))
	m := regexp.MustCompile("^(?s:" + expr.String() + ")$").FindStringSubmatch(got)
	if m == nil {
		return false
	}
	for i, name := range names {
		c[name] = m[i+1]
	}
	return true
}

// recent reports whether s is an XEP-0082 DateTime in UTC of the last minutes.
func recent(s string) bool {
	t, err := time.Parse("2006-01-02T15:04:05Z", s) // also takes fractions of a second
	age := time.Since(t)
	return err == nil && age > -2*time.Second && age < 5*time.Minute
}

// match compares an element with the expected one; the error says what differs.
// On an error nothing has been learnt.
func (c captures) match(want, got *node) error {
	trial := maps.Clone(c)
	if err := trial.matchNode(want, got); err != nil {
		return err
	}
	maps.Copy(c, trial)
	return nil
}

func (c captures) matchNode(want, got *node) error {
	if want.name != got.name {
		return fmt.Errorf("is <%s xmlns='%s'>, not <%s xmlns='%s'>", got.name.Local, got.name.Space, want.name.Local, want.name.Space)
	}
	if err := c.matchAttrs(want, got); err != nil {
		return fmt.Errorf("<%s>: %w", want.name.Local, err)
	}
	got = withoutID(want, got)
	text := want.text
	free := strings.Contains(text, lenient)
	if free {
		text = strings.TrimSpace(strings.Replace(text, lenient, "", 1))
	}
	if !(free && text == "") && !c.value(text, got.text) {
		return fmt.Errorf("<%s>: text is %q, not %q", want.name.Local, got.text, text)
	}
	if free {
		return c.matchSome(want, got)
	}
	for i := range min(len(want.kids), len(got.kids)) {
		if err := c.matchNode(want.kids[i], got.kids[i]); err != nil {
			return fmt.Errorf("<%s>: %w", want.name.Local, err)
		}
	}
	switch n := len(want.kids); {
	case n < len(got.kids):
		return fmt.Errorf("<%s>: unexpected child <%s>", want.name.Local, got.kids[n].name.Local)
	case n > len(got.kids):
		return fmt.Errorf("<%s>: no child <%s>", want.name.Local, want.kids[len(got.kids)].name.Local)
	}
	return nil
}

// withoutID is got without the stanza-id that every message has (XEP-0359), unless one is expected.
func withoutID(want, got *node) *node {
	isID := func(n *node) bool { return n.name == xml.Name{Space: "urn:xmpp:sid:0", Local: "stanza-id"} }
	if got.name.Local != "message" || slices.ContainsFunc(want.kids, isID) {
		return got
	}
	rest := *got
	rest.kids = slices.DeleteFunc(slices.Clone(got.kids), isID)
	return &rest
}

func (c captures) matchAttrs(want, got *node) error {
	for _, w := range want.attrs {
		i := slices.IndexFunc(got.attrs, func(a xml.Attr) bool { return a.Name == w.Name })
		if i < 0 {
			return fmt.Errorf("no attribute %s", w.Name.Local)
		}
		if !c.value(w.Value, got.attrs[i].Value) {
			return fmt.Errorf("%s is %q, not %q", w.Name.Local, got.attrs[i].Value, c.fill(w.Value))
		}
	}
	for _, g := range got.attrs {
		if !slices.ContainsFunc(want.attrs, func(a xml.Attr) bool { return a.Name == g.Name }) {
			return fmt.Errorf("unexpected attribute %s=%q", g.Name.Local, g.Value)
		}
	}
	return nil
}

// matchSome finds each wanted child among the children, in any order.
func (c captures) matchSome(want, got *node) error {
	rest := slices.Clone(got.kids)
	for _, w := range want.kids {
		i := slices.IndexFunc(rest, func(g *node) bool { return c.match(w, g) == nil })
		if i < 0 {
			return fmt.Errorf("<%s>: no child %s", want.name.Local, w)
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return nil
}

// matchSet matches all of want with all of got in some order. It tries all
// orders, so that what one {name} stands for cannot lead it astray.
func (c captures) matchSet(want, got []*node) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	for i, g := range got {
		trial := maps.Clone(c)
		if trial.matchNode(want[0], g) != nil {
			continue
		}
		if trial.matchSet(want[1:], slices.Delete(slices.Clone(got), i, i+1)) {
			maps.Copy(c, trial)
			return true
		}
	}
	return false
}

// merge is what -update writes: got, with the holes of old kept where they
// still fit.
func (c captures) merge(old, got *node) *node {
	if old != nil && c.match(old, got) == nil {
		return old
	}
	n := &node{name: got.name, text: got.text}
	if old == nil || old.name != got.name {
		old = &node{}
	}
	for _, a := range got.attrs {
		i := slices.IndexFunc(old.attrs, func(o xml.Attr) bool { return o.Name == a.Name })
		switch {
		case i >= 0 && c.value(old.attrs[i].Value, a.Value):
			a.Value = old.attrs[i].Value
		case a.Name.Local == "stamp":
			a.Value = "{datetime}"
		case a.Name.Local == "ver", a.Name.Local == "id" && strings.HasPrefix(a.Value, "push-"):
			a.Value = "*" // the server's own choice
		}
		n.attrs = append(n.attrs, a)
	}
	if old.text != "" && c.value(old.text, got.text) {
		n.text = old.text
	}
	for i, k := range got.kids {
		var o *node
		if i < len(old.kids) {
			o = old.kids[i]
		}
		n.kids = append(n.kids, c.merge(o, k))
	}
	return n
}
