package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A configError is one thing wrong with a configuration file.
type configError struct {
	file string
	line int    // 0: the file says nothing about the key
	key  string // "" for an error of syntax
	what string
}

func (e configError) Error() string {
	s := e.file
	if e.line > 0 {
		s += ":" + strconv.Itoa(e.line)
	}
	if e.key != "" {
		s += ": " + e.key
	}
	return s + ": " + e.what
}

// configErrors is all that is wrong, in the order of the file.
type configErrors []configError

func (e configErrors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// loadConfig reads a configuration file. The error is configErrors unless the
// file cannot be read.
func loadConfig(file string, getenv func(string) string) (*Config, error) {
	doc, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseConfig(file, doc, getenv)
}

func parseConfig(file string, doc []byte, getenv func(string) string) (*Config, error) {
	doc = bytes.TrimPrefix(doc, []byte("\xef\xbb\xbf")) // Windows editors put it there
	var tree map[string]any
	if err := toml.Unmarshal(doc, &tree); err != nil {
		return nil, configErrors{syntaxError(file, err)}
	}
	c := defaultConfig()
	c.File, c.lines = file, keyLines(doc)
	r := &configReader{config: c, settings: c.settings(getenv)}
	r.table("", tree)
	if len(r.errs) == 0 {
		r.errs = c.check()
	}
	if len(r.errs) == 0 {
		return c, nil
	}
	slices.SortStableFunc(r.errs, func(a, b configError) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.key, b.key))
	})
	return nil, r.errs
}

func syntaxError(file string, err error) configError {
	e := configError{file: file, what: strings.TrimPrefix(err.Error(), "toml: ")}
	var de *toml.DecodeError
	if errors.As(err, &de) {
		e.line, _ = de.Position()
	}
	return e
}

// A configReader moves what a document says into the settings.
type configReader struct {
	config   *Config
	settings []setting
	errs     configErrors
}

func (r *configReader) fail(key, what string) {
	r.errs = append(r.errs, r.config.wrong(key, what))
}

// wrong is an error about a key. It points to the key or, in an inline table,
// to what holds it.
func (c *Config) wrong(key, what string) configError {
	e := configError{file: c.File, line: c.lines[key], key: key, what: what}
	for e.line == 0 && strings.Contains(key, ".") {
		key = key[:strings.LastIndexByte(key, '.')]
		e.line = c.lines[key]
	}
	return e
}

func (r *configReader) table(prefix string, t map[string]any) {
	for name, v := range t {
		key := prefix + name
		if i := slices.IndexFunc(r.settings, func(s setting) bool { return s.key == key }); i >= 0 {
			r.set(r.settings[i], v)
			continue
		}
		section := slices.ContainsFunc(r.settings, func(s setting) bool { return strings.HasPrefix(s.key, key+".") })
		sub, isTable := v.(map[string]any)
		switch {
		case section && isTable:
			r.table(key+".", sub)
		case section:
			r.fail(key, "is a section, not a key")
		case isTable:
			r.fail(key, "unknown section"+didYouMean(key, r.sections()))
		default:
			r.fail(key, "unknown key"+didYouMean(key, r.keys()))
		}
	}
}

func (r *configReader) set(s setting, v any) {
	err := s.set(v)
	if err == nil {
		return
	}
	key := s.key
	var ee *elementError
	if errors.As(err, &ee) {
		if one := fmt.Sprintf("%s[%d]", key, ee.index); r.config.lines[one] != 0 {
			key = one
		}
	}
	r.fail(key, err.Error())
}

func (r *configReader) keys() (keys []string) {
	for _, s := range r.settings {
		keys = append(keys, s.key)
	}
	return keys
}

func (r *configReader) sections() (names []string) {
	for _, s := range r.settings {
		if i := strings.LastIndexByte(s.key, '.'); i > 0 {
			names = append(names, s.key[:i])
		}
	}
	return slices.Compact(names)
}

// keyLines finds the line of every key and section of a well-formed document.
// Elements of an array of tables are numbered: "api.tokens[0]".
func keyLines(doc []byte) map[string]int {
	lines := make(map[string]int)
	count := make(map[string]int)
	var p unstable.Parser
	p.Reset(doc)
	section := ""
	for p.NextExpression() {
		n := p.Expression()
		if n.Kind == unstable.Comment {
			continue
		}
		key, line := dotted(&p, n)
		switch n.Kind {
		case unstable.Table:
			section = key + "."
		case unstable.ArrayTable:
			key = fmt.Sprintf("%s[%d]", key, count[key])
			count[strings.TrimSuffix(key, key[strings.LastIndexByte(key, '['):])]++
			section = key + "."
		default:
			key = section + key
		}
		if lines[key] == 0 {
			lines[key] = line
		}
	}
	return lines
}

// dotted is an expression's key and where it stands.
func dotted(p *unstable.Parser, n *unstable.Node) (key string, line int) {
	var parts []string
	for it := n.Key(); it.Next(); {
		if line == 0 {
			line = p.Shape(it.Node().Raw).Start.Line
		}
		parts = append(parts, string(it.Node().Data))
	}
	return strings.Join(parts, "."), line
}
