package c2s

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"chatd/stanza"
)

// BOSHPath is where BOSH is.
const BOSHPath = "/http-bind"

const (
	// boshLogins is how many sessions of BOSH may be without a user at once.
	boshLogins = 4096
	// boshReadTime is how long a client may take to send a <body/>, boshWriteTime to take one.
	boshReadTime  = 30 * time.Second
	boshWriteTime = 30 * time.Second
)

// boshBooks are the sessions of BOSH by their sid. It is safe for concurrent use and calls nobody.
type boshBooks struct {
	domain string

	mu     sync.Mutex
	bySID  map[string]*bosh
	logins int // how many of them negotiate, or have failed to
}

// enter takes a session into the books, unless too many have no user.
func (k *boshBooks) enter(b *bosh) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.logins >= boshLogins {
		return false
	}
	k.logins++
	k.bySID[b.sid] = b
	return true
}

func (k *boshBooks) find(sid string) *bosh {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.bySID[sid]
}

func (k *boshBooks) loggedIn() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.logins--
}

func (k *boshBooks) forget(b *bosh, login bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bySID[b.sid] != b {
		return
	}
	delete(k.bySID, b.sid)
	if login {
		k.logins--
	}
}

// A boshHandler is the HTTP side of XEP-0124: it takes requests and writes the responses.
type boshHandler struct {
	srv      *Server
	books    *boshBooks
	readTime time.Duration // how long a client may take to send a <body/>
}

func newBoshHandler(s *Server) *boshHandler {
	return &boshHandler{srv: s, readTime: boshReadTime, books: &boshBooks{domain: s.router.Domain.String(), bySID: make(map[string]*bosh)}}
}

// ServeHTTP is one request, for as long as it is held.
func (h *boshHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	allowOrigins(w.Header())
	switch r.Method {
	case http.MethodPost:
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "POST, OPTIONS")
		http.Error(w, "This is for XMPP clients that speak BOSH (XEP-0124).", http.StatusMethodNotAllowed)
		return
	}
	if r.Header.Get("Content-Encoding") != "" { // none is offered by 'accept' (XEP-0124 §7.2)
		http.Error(w, "no content encoding is supported", http.StatusUnsupportedMediaType)
		return
	}
	control := http.NewResponseController(w)
	// It is in force whenever this returns or answers: HTTP reads then what is left of the request.
	allowTime := func() { _ = control.SetReadDeadline(time.Now().Add(h.readTime)) }
	allowTime()
	q, b, err := h.read(r)
	if err == nil && b == nil {
		b, err = h.open(q, r)
	}
	var fault boshFault
	switch {
	case errors.As(err, &fault):
		h.refuse(w, q, b, fault)
		return
	case err != nil: // the connection has failed: the client will send it again
		panic(http.ErrAbortHandler)
	}
	b.submit(q)
	_ = control.SetReadDeadline(time.Time{}) // the answer may take longer
	defer allowTime()
	select {
	case a := <-q.answer:
		allowTime()
		_ = control.SetWriteDeadline(time.Now().Add(boshWriteTime))
		a.write(w)
		if control.Flush() == nil && a.rid > 0 {
			b.wrote(a.rid)
		}
		_ = control.SetWriteDeadline(time.Time{})
	case <-r.Context().Done():
		b.abandon(q)
	}
}

// allowOrigins lets pages of every origin in: whoever has a session's sid may use it, and no
// cookie is (XEP-0124 §19). What a session sends is never shown as a page of ours.
func allowOrigins(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Content-Type")
	h.Set("Access-Control-Max-Age", "86400")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
}

// read reads a request and finds its session, nil if it asks for a new one.
func (h *boshHandler) read(r *http.Request) (q *boshRequest, b *bosh, err error) {
	q, err = readBody(r.Body, func(q *boshRequest) (element, whole int, err error) {
		if q.sid == "" {
			return loginStanzaBytes, boshLoginBytes, h.check(q)
		}
		if b = h.books.find(q.sid); b == nil {
			return 0, 0, boshItemNotFound
		}
		if b.reading.Add(1) > boshReading {
			return 0, 0, boshPolicyViolation
		}
		if b.negotiates() {
			return loginStanzaBytes, boshLoginBytes, nil
		}
		most := h.srv.limits().Bytes
		return most, most + boshExtraBytes, nil
	})
	if b != nil {
		b.reading.Add(-1)
	}
	return q, b, err
}

// check says what is wrong with a request for a new session.
func (h *boshHandler) check(q *boshRequest) error {
	if q.to == "" {
		return boshImproperAddressing
	}
	if to, err := stanza.ParseJID(q.to); err != nil || to != h.srv.router.Domain {
		return boshHostUnknown
	}
	return nil
}

// open makes a new session. It counts as a connection of its address, as those of its requests do.
func (h *boshHandler) open(q *boshRequest, r *http.Request) (*bosh, error) {
	c := r.Context().Value(webConnKey{}).(*webConn)
	b := newBosh(q, peer{addr: c.wire.from.addr}, h.books)
	if !h.srv.allow(b) {
		b.timer.Stop()
		return nil, boshPolicyViolation
	}
	if !h.books.enter(b) || !h.srv.adopt(b) {
		b.fail(boshPolicyViolation)
		h.srv.release(b)
		if h.srv.isClosing() {
			return nil, boshSystemShutdown
		}
		return nil, boshPolicyViolation
	}
	h.srv.take(arrival{transport: b, channel: h.srv.channelOf(c)})
	return b, nil
}

// refuse answers a request that its session does not take, and ends the session.
func (h *boshHandler) refuse(w http.ResponseWriter, q *boshRequest, b *bosh, fault boshFault) {
	legacy := q.sid == "" && q.rid > 0 && q.create.major == 0
	if b != nil {
		legacy = b.create.major == 0
		b.fail(fault)
	}
	refusal(fault, legacy, q.create.contentType()).write(w)
}

func (a boshAnswer) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", a.content)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}
