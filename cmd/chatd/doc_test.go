package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestDocumentation holds the table of docs/configuration.md to the settings.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		if len(cells) != 7 || strings.TrimSpace(cells[6]) == "" {
			t.Errorf("not a row of seven cells: %s", line)
			continue
		}
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		got = append(got, strings.Join([]string{cells[0], cells[1], cells[2], cells[4], cells[5]}, " | "))
	}
	var want []string
	for _, s := range defaultConfig().settings(testEnv) {
		want = append(want, strings.Join([]string{s.key, s.kind, inTOML(s.at), s.limits, string(s.when)}, " | "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/configuration.md says\n%s\n\nthe settings are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func inTOML(at any) string {
	switch at := at.(type) {
	case *string:
		return fmt.Sprintf("%q", *at)
	case *bool:
		return fmt.Sprint(*at)
	case *int:
		return plain(*at)
	case *float64:
		return plain(*at)
	case *[]string:
		return strings.ReplaceAll(fmt.Sprintf("%q", *at), " ", ", ")
	}
	return "[]" // an array of tables
}

// TestDocumentedExamples: what the document shows as a configuration is one.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for block := range strings.SplitSeq(string(text), "\n\n    ") {
		if !strings.HasPrefix(block, "domain = ") && !strings.HasPrefix(block, "[[api.tokens]]") && !strings.HasPrefix(block, "[[webhooks]]") {
			continue
		}
		examples++
		var example strings.Builder
		for line := range strings.Lines("    " + block) {
			if s, ok := strings.CutPrefix(line, "    "); ok {
				example.WriteString(s)
			} else if strings.TrimSpace(line) != "" {
				break
			}
		}
		doc := strings.Replace(example.String(), "file:/etc/chatd/prometheus.sha256", strings.Repeat("0", 64), 1)
		if _, err := parseConfig("example", []byte(doc), testEnv); err != nil {
			t.Errorf("%v in\n%s", err, doc)
		}
	}
	if examples < 3 {
		t.Errorf("%d examples", examples)
	}
}
