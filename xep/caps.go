package xep

import (
	"cmp"
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"

	"chatd/stanza"
)

const nsCaps = "http://jabber.org/protocol/caps"

// CapsElement is the <c/> that announces the server's capabilities among the
// stream features (XEP-0115 §6.3). The caller must not change it.
func (d *Disco) CapsElement() []byte { return d.caps }

func appendCaps(b []byte, software, ver string) []byte {
	b = append(b, "<c xmlns='"+nsCaps+"' hash='sha-1' node='"...)
	b = stanza.AppendEscaped(b, software)
	b = append(b, "' ver='"...)
	b = stanza.AppendEscaped(b, ver)
	return append(b, "'/>"...)
}

// capsVer is the verification string of XEP-0115 §5.1.
func capsVer(identities []Identity, features []string) string {
	identities = slices.SortedFunc(slices.Values(identities), func(a, b Identity) int {
		return cmp.Or(strings.Compare(a.Category, b.Category), strings.Compare(a.Type, b.Type))
	})
	var s strings.Builder
	for _, i := range identities {
		s.WriteString(i.Category + "/" + i.Type + "//" + i.Name + "<")
	}
	for _, f := range slices.Sorted(slices.Values(features)) {
		s.WriteString(f + "<")
	}
	sum := sha1.Sum([]byte(s.String()))
	return base64.StdEncoding.EncodeToString(sum[:])
}
