package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestProtocols checks that what the code cites, docs/protocols.md lists: an
// RFC's section by itself or by a section that contains it, an XEP as a whole.
func TestProtocols(t *testing.T) {
	listed := listedProtocols(t)
	cited := citations(t, "..")
	if len(cited) < 100 {
		t.Fatalf("found only %d citations: the search is broken", len(cited))
	}
	for _, c := range slices.Sorted(maps.Keys(cited)) {
		if !covered(listed, c) {
			t.Errorf("%s, cited in %s, is not in protocols.md", c, cited[c])
		}
	}
}

// covered reports whether a citation such as "RFC 6121 §8.5.3" is listed, or a
// row that contains it.
func covered(listed map[string]bool, citation string) bool {
	_, ok := listed[citation]
	for c := citation; !ok; ok = listed[c] {
		document, section, ok := strings.Cut(c, " §")
		if !ok {
			return false
		}
		if cut := strings.LastIndexByte(section, '.'); cut > 0 {
			c = document + " §" + section[:cut]
		} else {
			c = document
		}
	}
	return true
}

func TestCovered(t *testing.T) {
	listed := map[string]bool{"RFC 6121": false, "RFC 6121 §4.2": true, "RFC 5802": true, "RFC 6120 §8.1": true}
	for citation, want := range map[string]bool{
		"RFC 6121":          true,
		"RFC 6121 §4.2":     true,
		"RFC 6121 §4.2.2.1": true,
		"RFC 5802 §5.1":     true,
		"RFC 6120 §8.1.2.1": true,
		"RFC 6120 §8.10":    false,
		"RFC 6120 §8":       false,
		"RFC 6121 §4":       false,
		"XEP-0001":          false,
	} {
		if got := covered(listed, citation); got != want {
			t.Errorf("covered(%s) = %v, want %v", citation, got, want)
		}
	}
}

var (
	headingPattern = regexp.MustCompile(`^## (RFC \d+):`)
	rowPattern     = regexp.MustCompile(`^\| ((?:RFC \d+ ?|XEP-\d{4})?(?:§[\dA-Z.]+)?) \| ([^|]+) \| ([^|]*) \|[^|]*\|$`)
	statuses       = []string{"done", "partly", "no"}
)

// listedProtocols reads protocols.md. A row, true, covers all that it contains; a heading
// "## RFC n: title", false, only itself: the sections in the table below it do.
func listedProtocols(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("protocols.md")
	if err != nil {
		t.Fatal(err)
	}
	listed, document := make(map[string]bool), ""
	for i, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "## ") {
			document = ""
		}
		if m := headingPattern.FindStringSubmatch(line); m != nil {
			document = m[1]
			listed[document] = false
		}
		if !strings.Contains(line, "| §") && !strings.HasPrefix(line, "| RFC ") && !strings.HasPrefix(line, "| XEP-") {
			continue
		}
		m := rowPattern.FindStringSubmatch(line)
		if m == nil || !slices.Contains(statuses, m[3]) {
			t.Errorf("protocols.md:%d: not a row with a status of %v: %s", i+1, statuses, line)
			continue
		}
		name := m[1]
		if strings.HasPrefix(name, "§") {
			name = document + " " + name
		}
		if _, ok := listed[name]; ok {
			t.Errorf("protocols.md:%d: %s is listed twice", i+1, name)
		}
		listed[name] = true
	}
	return listed
}

var (
	rfcPattern     = regexp.MustCompile(`RFC (\d{4})((?:(?:,? and|,)? §[\dA-Z][\dA-Z.]*(?:-[\d.]+)?)*)`)
	sectionPattern = regexp.MustCompile(`§([\dA-Z][\dA-Z.]*)`)
	xepPattern     = regexp.MustCompile(`XEP-\d{4}`)
)

// citations are what the comments of the module's code, tests apart, cite, and
// where. A citation may go over the end of a line.
func citations(t *testing.T, root string) map[string]string {
	t.Helper()
	cited := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, group := range f.Comments {
			where := fmt.Sprintf("%s:%d", strings.TrimPrefix(path, "../"), files.Position(group.Pos()).Line)
			for _, c := range cites(group) {
				cited[c] = where
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return cited
}

func cites(group *ast.CommentGroup) (found []string) {
	text := strings.Join(strings.Fields(group.Text()), " ")
	for _, m := range rfcPattern.FindAllStringSubmatch(text, -1) {
		sections := sectionPattern.FindAllStringSubmatch(m[2], -1)
		if len(sections) == 0 {
			found = append(found, "RFC "+m[1])
		}
		for _, s := range sections {
			found = append(found, "RFC "+m[1]+" §"+strings.Trim(s[1], "."))
		}
	}
	return append(found, xepPattern.FindAllString(text, -1)...)
}

func TestCites(t *testing.T) {
	group := &ast.CommentGroup{List: []*ast.Comment{
		{Text: "// RFC 6121 §2.1.2.1, §2.3 and §2.4. Also RFC"},
		{Text: "// 6120 §4.9.3.2 (XEP-0191 §3.2), RFC 5802,"},
		{Text: "// RFC 6121 §2-4."},
	}}
	got := cites(group)
	want := []string{"RFC 6121 §2.1.2.1", "RFC 6121 §2.3", "RFC 6121 §2.4", "RFC 6120 §4.9.3.2", "RFC 5802", "RFC 6121 §2", "XEP-0191"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
