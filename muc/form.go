package muc

import (
	"encoding/xml"
	"strconv"

	"chatd/stanza"
)

// A form is a data form as a client submits it (XEP-0004 §3).
type form struct {
	Type   string `xml:"type,attr"`
	Fields []struct {
		Var    string   `xml:"var,attr"`
		Values []string `xml:"jabber:x:data value"`
	} `xml:"jabber:x:data field"`
}

// parseForm reads an <x xmlns='jabber:x:data'/>.
func parseForm(e stanza.Element) (form, error) {
	var f form
	if err := xml.Unmarshal(e.Standalone(), &f); err != nil {
		return f, stanza.ErrBadRequest
	}
	return f, nil
}

// formIn is the form among an element's children.
func formIn(all []stanza.Element) (f form, ok bool, err error) {
	for _, e := range all {
		if e.Is(nsForms, "x") {
			f, err = parseForm(e)
			return f, err == nil, err
		}
	}
	return f, false, nil
}

// values is a field's, and whether the form has the field.
func (f *form) values(name string) ([]string, bool) {
	for i := range f.Fields {
		if f.Fields[i].Var == name {
			return f.Fields[i].Values, true
		}
	}
	return nil, false
}

// value is a field's first.
func (f *form) value(name string) (string, bool) {
	v, ok := f.values(name)
	if len(v) == 0 {
		return "", ok
	}
	return v[0], ok
}

// is reports whether it is a form of this FORM_TYPE (XEP-0068 §3).
func (f *form) is(formType string) bool {
	t, _ := f.value("FORM_TYPE")
	return t == formType
}

// parseBoolean is XEP-0004 §3.3: as in XML Schema.
func parseBoolean(s string) (v, ok bool) {
	switch s {
	case "1", "true":
		return true, true
	case "0", "false":
		return false, true
	}
	return false, false
}

// A formWriter writes a form for a client to fill in, or a result.
type formWriter struct{ b []byte }

// begin opens a form of a type (XEP-0004 §3.1) and a FORM_TYPE.
func (w *formWriter) begin(typ, title, instructions, formType string) {
	w.b = append(w.b, "<x xmlns='"+nsForms+"' type='"+typ+"'>"...)
	w.element("title", title)
	w.element("instructions", instructions)
	w.field("hidden", "FORM_TYPE", "", formType)
}

func (w *formWriter) element(name, text string) {
	if text == "" {
		return
	}
	w.b = append(w.b, "<"+name+">"...)
	w.b = stanza.AppendEscaped(w.b, text)
	w.b = append(w.b, "</"+name+">"...)
}

// field writes a field with its values; empty ones are left out.
func (w *formWriter) field(typ, name, label string, values ...string) {
	w.open(typ, name, label)
	w.close(values)
}

func (w *formWriter) open(typ, name, label string) {
	w.b = append(w.b, "<field var='"+name+"' type='"+typ+"'"...)
	if label != "" {
		w.b = append(w.b, " label='"...)
		w.b = stanza.AppendEscaped(w.b, label)
		w.b = append(w.b, '\'')
	}
	w.b = append(w.b, '>')
}

func (w *formWriter) close(values []string) {
	for _, v := range values {
		w.element("value", v)
	}
	w.b = append(w.b, "</field>"...)
}

// An option is one choice of a list: its value and what a human reads.
type option struct{ value, label string }

// list writes a field of type list-single or list-multi.
func (w *formWriter) list(typ, name, label string, options []option, values ...string) {
	w.open(typ, name, label)
	for _, o := range options {
		w.b = append(w.b, "<option label='"...)
		w.b = stanza.AppendEscaped(w.b, o.label)
		w.b = append(w.b, "'>"...)
		w.element("value", o.value)
		w.b = append(w.b, "</option>"...)
	}
	w.close(values)
}

func (w *formWriter) boolean(name, label string, v bool) {
	value := "0"
	if v {
		value = "1"
	}
	w.field("boolean", name, label, value)
}

func (w *formWriter) number(name, label string, n int) {
	w.field("text-single", name, label, strconv.Itoa(n))
}

// required marks the field that was written last (XEP-0004 §3.2).
func (w *formWriter) required() {
	w.b = append(w.b[:len(w.b)-len("</field>")], "<required/></field>"...)
}

func (w *formWriter) end() []byte { return append(w.b, "</x>"...) }
