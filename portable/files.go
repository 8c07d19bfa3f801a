package portable

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxIncludes is how deep files may include one another.
const maxIncludes = 8

// A reader reads files that may include others of their folder.
type reader struct {
	hosts hosts
	now   time.Time
	root  *os.Root        // nothing outside of it is opened
	seen  map[string]bool // files that have been read
	user  func(*user) error
	other func(kind string) // something outside of users that is not kept
}

// read reads a file, or all files in a folder whose names end in .xml. Each is read once, also if another one includes it.
func (r *reader) read(name string) (err error) {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	folder, files := filepath.Dir(name), []string{filepath.Base(name)}
	if info.IsDir() {
		folder = name
		if files, err = fs.Glob(os.DirFS(name), "*.xml"); err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("%s has no file whose name ends in .xml", name)
		}
	}
	if r.root, err = os.OpenRoot(folder); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.root.Close()) }()
	r.seen = make(map[string]bool)
	slices.Sort(files)
	for _, file := range files {
		if err := r.file(file, place{}); err != nil {
			return err
		}
	}
	return nil
}

// A place is where a file is included.
type place struct {
	depth int
	host  bool // in a <host/>
	mine  bool // that is ours
}

func (r *reader) file(name string, at place) error {
	if r.seen[name] {
		return nil
	}
	r.seen[name] = true
	f, err := r.root.Open(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	defer f.Close()
	p := newParser(f)
	if err := r.document(p, name, at); err != nil {
		return fmt.Errorf("%s: after %d bytes: %w", name, p.InputOffset(), err)
	}
	return nil
}

// document reads a file whose root element may be any of the three that there are.
func (r *reader) document(p *parser, name string, at place) error {
	root := false
	for {
		token, err := p.next()
		if err == io.EOF && root {
			return nil
		}
		if err == io.EOF {
			return errors.New("no element in it")
		}
		if err != nil {
			return err
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		root = true
		if err := r.container(p, start, name, at); err != nil {
			return err
		}
	}
}

// container reads <server-data/>, <host/> or <user/> (XEP-0227 §4), or includes a file (XEP-0227 §5).
func (r *reader) container(p *parser, start xml.StartElement, name string, at place) error {
	switch {
	case start.Name.Space == nsXInclude && start.Name.Local == "include":
		href := attr(start, "href")
		if err := p.skip(); err != nil {
			return err
		}
		return r.include(start, name, href, at)
	case isPIE(start.Name.Space) && start.Name.Local == "server-data":
		return p.children(func(child xml.StartElement) error { return r.container(p, child, name, at) })
	case isPIE(start.Name.Space) && start.Name.Local == "host":
		at.host, at.mine = true, r.hosts.mine(attr(start, "jid"))
		if !at.mine {
			r.other("host " + attr(start, "jid") + " as a whole")
			return p.skip()
		}
		return p.children(func(child xml.StartElement) error { return r.container(p, child, name, at) })
	case isPIE(start.Name.Space) && start.Name.Local == "user" && at.mine:
		u, err := readUser(p, start, r.hosts, r.now)
		if err != nil {
			return err
		}
		return r.user(u)
	case p.depth == 1:
		return fmt.Errorf("<%s/> in %q is not an export of XEP-0227", start.Name.Local, start.Name.Space)
	}
	r.other(start.Name.Local + " in " + start.Name.Space)
	return p.skip()
}

// include is for what an importing server must understand, and no more (XEP-0227 §5).
func (r *reader) include(start xml.StartElement, from, href string, at place) error {
	u, err := url.Parse(href)
	switch {
	case err != nil:
		return fmt.Errorf("include: %w", err)
	case u.IsAbs() || u.Host != "" || u.Path == "" || strings.HasPrefix(u.Path, "/") || attr(start, "parse") != "" || attr(start, "xpointer") != "":
		return fmt.Errorf("include of %q: only a whole file beside this one can be included", href)
	case at.depth == maxIncludes:
		return fmt.Errorf("include of %q: files include one another more than %d deep", href, maxIncludes)
	}
	at.depth++
	return r.file(path.Join(path.Dir(from), u.Path), at)
}
