package api

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/danielgtaylor/huma/v2"
)

const (
	// gzipFrom is how many bytes an answer has at least that is compressed.
	gzipFrom = 1 << 10
	// keptPage is the largest buffer that is used again.
	keptPage = 1 << 20
	// gzipTag ends the entity tag of a compressed answer: it is another representation (RFC 9110 §8.8.3.3).
	gzipTag = "-gzip"
)

var (
	ifNoneMatchParameter = &huma.Param{Name: "If-None-Match", In: "header", Schema: &huma.Schema{Type: huma.TypeString},
		Description: "ETag of an answer that the caller has: 304 if it still holds"}
	ifMatchParameter = &huma.Param{Name: "If-Match", In: "header", Schema: &huma.Schema{Type: huma.TypeString},
		Description: "ETag of what GET answered at this path, or *: 412 if it has changed"}
)

// A page is an answer that is held back until it is complete. It belongs to the request's goroutine.
type page struct {
	header http.Header
	status int
	body   bytes.Buffer
}

var pages = sync.Pool{New: func() any { return new(page) }}

func newPage(header http.Header) *page {
	p := pages.Get().(*page)
	p.header, p.status = header, 0
	p.body.Reset()
	return p
}

func (p *page) release() {
	if p.header = nil; p.body.Cap() <= keptPage {
		pages.Put(p)
	}
}

func (p *page) Header() http.Header { return p.header }

func (p *page) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
	}
}

func (p *page) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.body.Write(b)
}

// etag is the entity tag of the page as it is.
func (p *page) etag() string {
	b := append(make([]byte, 0, 20), '"')
	b = strconv.AppendUint(b, xxhash.Sum64(p.body.Bytes()), 36)
	return string(append(b, '"'))
}

// conditionalGet gives answers entity tags, leaves out what the caller has (RFC 9110 §13.1.2), and compresses the rest.
func conditionalGet(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := newPage(w.Header())
		defer p.release()
		h.ServeHTTP(p, r)
		header := w.Header()
		header.Set("Cache-Control", "no-cache") // ask again, with the tag
		header.Set("X-Content-Type-Options", "nosniff")
		if p.status != http.StatusOK {
			header.Set("Cache-Control", "no-store")
			finish(w, p.status, p.body.Bytes())
			return
		}
		tag := p.etag()
		header.Set("Vary", "Accept-Encoding")
		compress := p.body.Len() >= gzipFrom && acceptsGzip(r)
		if compress {
			header.Set("ETag", tag[:len(tag)-1]+gzipTag+`"`)
		} else {
			header.Set("ETag", tag)
		}
		if matches(r.Header.Values("If-None-Match"), tag) {
			header.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if !compress {
			finish(w, http.StatusOK, p.body.Bytes())
			return
		}
		header.Set("Content-Encoding", "gzip")
		z := zips.Get().(*gzip.Writer)
		defer zips.Put(z)
		z.Reset(w)
		z.Write(p.body.Bytes()) //nolint:errcheck // the caller is gone
		z.Close()               //nolint:errcheck // likewise
		z.Reset(io.Discard)
	})
}

var zips = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // no such level
	}
	return z
}}

func finish(w http.ResponseWriter, status int, body []byte) {
	if len(body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(max(status, http.StatusOK))
	w.Write(body) //nolint:errcheck // the caller is gone
}

// acceptsGzip reads Accept-Encoding (RFC 9110 §12.5.3) as far as it concerns us.
func acceptsGzip(r *http.Request) bool {
	for _, value := range r.Header.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(value, ",") {
			name, weight, _ := strings.Cut(coding, ";")
			name = strings.TrimSpace(name)
			if (strings.EqualFold(name, "gzip") || name == "*") && !isZero(weight) {
				return true
			}
		}
	}
	return false
}

// isZero reports whether a weight says "not that" (RFC 9110 §12.4.2).
func isZero(weight string) bool {
	q, ok := strings.CutPrefix(strings.TrimSpace(weight), "q=")
	return ok && strings.Trim(q, "0.") == ""
}

// matches compares entity tags weakly, and without regard to compression.
func matches(values []string, tag string) bool {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
			if one == "*" || strings.Replace(one, gzipTag+`"`, `"`, 1) == tag {
				return true
			}
		}
	}
	return false
}

// ifMatch lets a write through only if what GET answers at its path is what the caller has seen (RFC 9110 §13.1.1). Another change
// may still come between the look and the write.
func (s *Server) ifMatch(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := r.Header.Values("If-Match")
		if len(seen) == 0 {
			h.ServeHTTP(w, r)
			return
		}
		get := r.Clone(r.Context())
		get.Method, get.Body, get.ContentLength = http.MethodGet, http.NoBody, 0
		for _, name := range [...]string{"If-Match", "If-None-Match", "Accept-Encoding", "Content-Type", "Content-Length"} {
			get.Header.Del(name)
		}
		now := newPage(make(http.Header))
		defer now.release()
		s.mux.ServeHTTP(now, get)
		switch {
		case now.status == http.StatusOK && matches(seen, now.header.Get("ETag")):
			h.ServeHTTP(w, r)
		case now.status == http.StatusUnauthorized || now.status == http.StatusForbidden:
			problem(w, now.status, "If-Match needs a token that may read what is to be changed")
		case now.status == http.StatusMethodNotAllowed:
			problem(w, http.StatusBadRequest, "there is nothing to read here that If-Match could be about")
		default:
			problem(w, http.StatusPreconditionFailed, "it is not as If-Match says")
		}
	})
}
