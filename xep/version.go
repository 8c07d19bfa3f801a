package xep

import (
	"context"

	"chatd/router"
	"chatd/stanza"
)

const nsVersion = "jabber:iq:version"

// Version tells which software runs (XEP-0092).
type Version struct{ answer []byte }

// NewVersion registers the answer; os may be empty: the operating system is
// then not told (XEP-0092 §5).
func NewVersion(r *router.Router, version, os string) Version {
	b := []byte("<query xmlns='" + nsVersion + "'><name>chatd</name><version>")
	b = stanza.AppendEscaped(b, version)
	b = append(b, "</version>"...)
	if os != "" {
		b = append(b, "<os>"...)
		b = stanza.AppendEscaped(b, os)
		b = append(b, "</os>"...)
	}
	v := Version{append(b, "</query>"...)}
	r.Handle(router.ToHost, nsVersion, "query", get(v.tell))
	return v
}

// Features is XEP-0092 §4.
func (Version) Features() []string { return []string{nsVersion} }

func (v Version) tell(context.Context, *router.Request) ([]byte, error) { return v.answer, nil }
