package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// routes is everything that the server answers. Health is open to all: load
// balancers and process managers hold no tokens.
func (s *Server) routes() {
	s.mux = http.NewServeMux()
	s.huma = humago.New((*guardedMux)(s), s.humaConfig())
	s.addFriends()
	s.addFriendships()
	s.addRequests()
	s.addPrivacy()
	s.addAccounts()
	s.addPresence()
	s.addSessions()
	s.addMessages()
	s.addRooms()
	s.addMembers()
	s.addHats()
	s.addTalk()
	s.addDeadLetters()
	s.addOperators()
	s.addCluster()
	s.addDocs()
	s.mux.HandleFunc("/", s.nothing)
	s.building = nil
}

func (s *Server) humaConfig() huma.Config {
	json := huma.Format{Marshal: marshal, Unmarshal: json.Unmarshal}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "chatd", Version: s.cfg.Version, Description: documentIntro},
			Tags:    tags,
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{securityName: {Type: "http", Scheme: "bearer"}},
			},
		},
		Formats:       map[string]huma.Format{"application/json": json, "json": json},
		DefaultFormat: "application/json",
		// A filter that is misspelt would otherwise be one that is not there.
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{echoNothing},
	}
}

// marshal leaves <, > and & as they are: what is served is never inside HTML.
func marshal(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// echoNothing takes out of errors what the caller has sent, which may be a password or very long.
func echoNothing(_ huma.Context, _ string, v any) (any, error) {
	if e, ok := v.(*huma.ErrorModel); ok {
		for _, d := range e.Errors {
			d.Value = nil
		}
	}
	return v, nil
}

// An operation is one thing that the interface does.
type operation struct {
	id      string // for clients that are generated, metrics and the log
	method  string
	path    string // with {player} for whom it is about and {other} for whom else
	scope   string // that the token must have; "": no token
	tag     string
	summary string
	about   string // more than the summary; optional
	status  int    // of success; 0: 200, or 204 without a body
	write   bool   // changes something: written down, and repeated safely with an Idempotency-Key
	tagged  bool   // set by add: what it changes has an entity tag, since GET was added before at the same path
	raw     bool   // the answer may be endless: it is neither held back nor given an entity tag
	errors  []int  // beside those that every operation has
	maxBody int64  // bytes; 0: 64 KiB
	// body is what is answered, for a handler that encodes it itself; nil: what its output says.
	body any
}

const (
	defaultBody  = 64 << 10
	securityName = "token"
)

// add makes an operation of a handler. Its input and output types are described in the document.
func add[I, O any](s *Server, op operation, handle func(context.Context, *I) (*O, error)) {
	if op.maxBody == 0 {
		op.maxBody = defaultBody
	}
	s.building = &op
	if op.method == http.MethodGet {
		s.readable[op.path] = true
	}
	op.tagged = op.conditional() && s.readable[op.path]
	h := op.huma()
	h.Responses = make(map[string]*huma.Response)
	if op.body != nil {
		schema := s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(op.body), true, op.id+"Response")
		h.Responses["200"] = &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
	}
	if op.method == http.MethodGet {
		h.Responses["304"] = &huma.Response{Description: "Not Modified: as If-None-Match says"}
	}
	huma.Register(s.huma, h, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.problemOf(ctx, op.id, err)
		}
		return out, nil
	})
}

func (op *operation) huma() huma.Operation {
	h := huma.Operation{
		OperationID: op.id, Method: op.method, Path: op.path, Summary: op.summary, Description: op.about,
		Tags: []string{op.tag}, DefaultStatus: op.status, MaxBodyBytes: op.maxBody,
		Errors: op.allErrors(),
	}
	if op.scope != "" {
		h.Security = []map[string][]string{{securityName: {op.scope}}}
		h.Description = strings.TrimSpace(h.Description + "\n\nNeeds the scope `" + op.scope + "`.")
	}
	if op.write {
		h.Parameters = append(h.Parameters, idempotencyParameter)
	}
	if op.tagged {
		h.Parameters = append(h.Parameters, ifMatchParameter)
	}
	if op.method == http.MethodGet {
		h.Parameters = append(h.Parameters, ifNoneMatchParameter)
	}
	return h
}

// allErrors is what the document says of errors; huma adds 422 and 500.
func (op *operation) allErrors() []int {
	all := append([]int{http.StatusBadRequest, http.StatusNotAcceptable, http.StatusServiceUnavailable}, op.errors...)
	if op.scope != "" {
		all = append(all, http.StatusUnauthorized, http.StatusForbidden)
	}
	if strings.Contains(op.path, "{player}") || strings.Contains(op.path, "{id}") || strings.Contains(op.path, "{room}") {
		all = append(all, http.StatusNotFound)
	}
	if op.method != http.MethodGet && op.method != http.MethodDelete {
		all = append(all, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if op.tagged {
		all = append(all, http.StatusPreconditionFailed)
	}
	if op.write {
		all = append(all, http.StatusConflict)
	}
	return all
}

// conditional reports whether If-Match is heeded. It is refused where GET reads nothing at the same path.
func (op *operation) conditional() bool {
	return op.method == http.MethodPut || op.method == http.MethodPatch || op.method == http.MethodDelete
}

// guardedMux is the server as huma's adapter sees it: what is handled passes the guard of the operation that is being added.
type guardedMux Server

func (m *guardedMux) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	s := (*Server)(m)
	s.mux.Handle(pattern, s.guard(*s.building, acceptsJSON(http.HandlerFunc(h))))
}

func (m *guardedMux) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }

// plain adds an operation that is no JSON and that huma does not handle. Its answer is handed through as it comes.
func (s *Server) plain(op operation, contentType string, h http.Handler) {
	op.raw = true
	s.describe(op, contentType)
	s.mux.Handle(op.method+" "+op.path, s.guard(op, h))
}

var parameterPattern = regexp.MustCompile(`\{(\w+)\}`)

// describe puts an operation into the document that huma does not know.
func (s *Server) describe(op operation, contentType string) {
	h := op.huma()
	status := "200"
	if op.status == http.StatusAccepted {
		status = "202"
	}
	h.Parameters, h.Errors = nil, nil
	for _, m := range parameterPattern.FindAllStringSubmatch(op.path, -1) {
		h.Parameters = append(h.Parameters, &huma.Param{Name: m[1], In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	if strings.Contains(contentType, "openapi") {
		text.Schema = &huma.Schema{Description: "OpenAPI"} // of any type
	}
	h.Responses = map[string]*huma.Response{
		status: {Description: "OK", Content: map[string]*huma.MediaType{contentType: text}},
		"default": {Description: "Error", Content: map[string]*huma.MediaType{
			"application/problem+json": {Schema: s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[huma.ErrorModel](), true, "")},
		}},
	}
	s.huma.OpenAPI().AddOperation(&h)
}

// nothing answers where no operation is: 404, or 405 if one has another method.
func (s *Server) nothing(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		other := *r
		other.Method = method
		if _, pattern := s.mux.Handler(&other); pattern != "" && pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		problem(w, http.StatusNotFound, "nothing is served at "+r.URL.Path)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	problem(w, http.StatusMethodNotAllowed, r.Method+" does not work here")
}
