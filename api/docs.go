package api

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// Tags group the operations.
const (
	tagFriends   = "Friends"
	tagPrivacy   = "Privacy"
	tagAccounts  = "Accounts"
	tagPresence  = "Presence and sessions"
	tagMessages  = "Messages"
	tagRooms     = "Rooms"
	tagWebhooks  = "Webhooks"
	tagOperators = "Operation"
)

var tags = []*huma.Tag{
	{Name: tagFriends, Description: "Friends lists, and friendship on players' behalf"},
	{Name: tagPrivacy, Description: "Block lists and privacy settings"},
	{Name: tagAccounts, Description: "Who may log in"},
	{Name: tagPresence, Description: "Who is online, and where"},
	{Name: tagMessages, Description: "Messages of services"},
	{Name: tagRooms, Description: "Group chat (XEP-0045): rooms as services see them"},
	{Name: tagWebhooks, Description: "Events that could not be delivered"},
	{Name: tagOperators, Description: "Health, metrics, profiles"},
}

const documentIntro = "The private API of a chatd server, for the services and operators behind it. " +
	"Players are named by their number or by their bare JID (percent-encoded). " +
	"Errors are problem documents (RFC 9457). GET has entity tags. Writes take an Idempotency-Key."

//go:embed docs.html
var docsHTML string

// addDocs serves the document and a page made from it, to everybody: it says how to ask and answers nothing.
func (s *Server) addDocs() {
	op := func(id, path, summary string) operation {
		return operation{id: id, method: http.MethodGet, path: path, tag: tagOperators, summary: summary}
	}
	openapi := op("openapi", "/openapi.json", "This document")
	yaml := op("openapiYAML", "/openapi.yaml", "This document")
	older := op("openapi30", "/openapi-3.0.json", "This document as OpenAPI 3.0, for tools that do not know 3.1")
	page := op("docs", "/docs", "This document as a page")
	for op, contentType := range map[*operation]string{&openapi: documentJSON, &yaml: documentYAML, &older: documentJSON, &page: "text/html"} {
		s.describe(*op, contentType)
	}
	s.document(openapi, documentJSON, s.huma.OpenAPI().MarshalJSON)
	s.document(yaml, documentYAML, s.huma.OpenAPI().YAML)
	s.document(older, documentJSON, s.huma.OpenAPI().Downgrade)
	s.document(page, "text/html; charset=utf-8", s.docs)
}

const (
	documentJSON = "application/vnd.oai.openapi+json"
	documentYAML = "application/vnd.oai.openapi"
)

// document serves what never changes.
func (s *Server) document(op operation, contentType string, make func() ([]byte, error)) {
	body, err := make()
	if err != nil {
		panic(err) // it is made of our own types
	}
	s.mux.Handle(op.method+" "+op.path, s.guard(op, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		w.Write(body) //nolint:errcheck // the caller is gone
	})))
}

// docs is the page: plain HTML without scripts, so that it works anywhere.
func (s *Server) docs() ([]byte, error) {
	t, err := template.New("docs").Funcs(template.FuncMap{
		"operations": s.operations, "type": s.typeName, "name": schemaName,
	}).Parse(docsHTML)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{"API": s.huma.OpenAPI(), "Schemas": s.huma.OpenAPI().Components.Schemas.Map()})
	return b.Bytes(), err
}

// operations are those of a tag, by path.
func (s *Server) operations(tag string) (all []*huma.Operation) {
	for _, item := range s.huma.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil && slices.Contains(op.Tags, tag) {
				all = append(all, op)
			}
		}
	}
	slices.SortFunc(all, func(a, b *huma.Operation) int {
		return bytes.Compare([]byte(a.Path+" "+a.Method), []byte(b.Path+" "+b.Method))
	})
	return all
}

const schemaPrefix = "#/components/schemas/"

// schemaName is the name of a schema that has one.
func schemaName(schema *huma.Schema) string {
	if schema == nil || len(schema.Ref) < len(schemaPrefix) {
		return ""
	}
	return schema.Ref[len(schemaPrefix):]
}

// typeName says in words what a schema without a name admits.
func (s *Server) typeName(schema *huma.Schema) string {
	if schema == nil {
		return ""
	}
	text := schema.Type
	if schema.Format != "" {
		text += " (" + schema.Format + ")"
	}
	if len(schema.Enum) > 0 {
		text += ": one of"
		for _, v := range schema.Enum {
			if word, ok := v.(string); ok {
				text += " " + strconv.Quote(word)
			}
		}
	}
	if schema.Minimum != nil {
		text += ", from " + strconv.FormatFloat(*schema.Minimum, 'f', -1, 64)
	}
	if schema.Maximum != nil {
		text += ", to " + strconv.FormatFloat(*schema.Maximum, 'f', -1, 64)
	}
	if schema.MaxLength != nil {
		text += ", at most " + strconv.Itoa(*schema.MaxLength) + " characters"
	}
	if schema.MaxItems != nil {
		text += ", at most " + strconv.Itoa(*schema.MaxItems) + " items"
	}
	return text
}
