package c2s

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"chatd/xmlstream"
)

// What a session is told when it is created (XEP-0124 §7.2).
const (
	boshWait       = 60 * time.Second // a request is answered after this at the latest
	boshHold       = 1                // requests that are kept waiting: more bring nothing
	boshInactivity = 60 * time.Second // how long the client may have no request here
	boshPolling    = 5 * time.Second  // how soon an empty request may follow another
	boshMaxPause   = 120 * time.Second
	boshMajor      = 1
	boshMinor      = 11
)

const (
	// boshInputBytes is what waits for the session's reading goroutine; requests that come
	// when there is more wait for their turn.
	boshInputBytes = 64 << 10
	// boshOutputBytes is what waits to be put into responses, besides one element.
	boshOutputBytes = 64 << 10
	// boshReading is how many requests of one session may be read at once: as many as it may have
	// here, and more that are not known to have broken off.
	boshReading = 8
	// boshRepeats is how often a request may be sent again.
	boshRepeats = 20
	// boshConfirmTime is how long a response with stanzas is on its way before the client
	// is made to say something by which it shows that it has it.
	boshConfirmTime = time.Second
)

// errInactive ends a transport whose client has sent nothing for too long.
var errInactive = errors.New("c2s: BOSH client is inactive")

// A bosh is the transport over HTTP requests (XEP-0124): one session of BOSH, which carries
// one stream (several, §16, are not supported). The children of the <body/> elements that come
// in are the stream that read gives; what write gets goes out in the bodies of the responses.
//
// What has gone out in a response is kept until a later request shows that the client has it
// (§9.2, §14.3): the client may ask for it again, and when the session ends, it is routed anew.
type bosh struct {
	from peer

	// Fixed after creation.
	sid        string
	books      *boshBooks
	create     boshCreation
	to         string // of the first request
	wait       time.Duration
	hold       int
	requests   int // how many requests the client may have here at once
	inactivity time.Duration

	elements *xmlstream.Scanner // cuts what is written; owned by the holder of writing

	reading atomic.Int32 // requests that are being read

	mu      sync.Mutex
	changed sync.Cond // for the reading goroutine, drain and settle
	login   bool      // it negotiates

	next     int64                  // id of the next request to take
	early    map[int64]*boshRequest // what came before its turn; less than requests+1
	waiting  []*boshRequest         // taken and not answered, in order
	answered int64                  // id of the last request that was answered
	had      int64                  // the client has the responses up to this one
	sent     []boshResponse         // the responses after it, in order
	last     lastRequest
	key      string        // what the next key's hash has to be (§15.4)
	idle     time.Duration // inactivity, or the length of the pause
	since    time.Time     // when the client last had a request here, if it has none now
	timer    *time.Timer

	in         []byte // input for the reading goroutine
	taken      int    // bytes of requests that it has not been told of
	hungry     bool   // it waits for input
	inErr      error  // what comes after the input
	out        []byte // whole elements to be sent
	reroutable bool   // some of them would be routed anew
	flushing   int    // callers of settle

	readPast, writePast   bool // a deadline has passed
	readTimer, writeTimer *time.Timer

	aborted bool   // writes fail
	left    bool   // the client has terminated the session
	closed  bool   // the stream has ended from our side: the client is told with its next request
	failed  bool   // it has ended with a <stream:error/>
	words   []byte // what was written with the end
	over    bool   // the books have forgotten it
}

// A boshResponse is a response that the client may not have.
type boshResponse struct {
	rid        int64
	key        string // of the request
	body       []byte
	payload    []byte // the part of it that is the stream's
	reroutable bool   // some of it would be routed anew
	at         time.Time
	repeats    int
	written    bool // to the connection, as far as one can tell
}

// A lastRequest is what is remembered of the last request for the limits of §11 and §12.
type lastRequest struct {
	at    time.Time
	empty bool
	bare  bool // the response had no payload
}

// newBosh makes the session that a request without sid asks for. Its stream begins with the request.
func newBosh(q *boshRequest, from peer, books *boshBooks) *bosh {
	c := q.create
	b := &bosh{
		from: from, sid: randomName(), books: books, create: c, to: q.to, login: true,
		elements: xmlstream.NewScanner(xmlstream.Limits{}),
		wait:     min(c.wait, boshWait), hold: min(c.hold, boshHold), inactivity: boshInactivity,
		next: q.rid, answered: q.rid - 1, had: q.rid - 1, early: make(map[int64]*boshRequest),
	}
	if b.wait == 0 {
		b.hold = 0
	}
	if b.hold == 0 { // a polling session (XEP-0124 §12)
		b.inactivity += 2 * boshPolling
	}
	b.requests = b.hold + 1
	b.idle = b.inactivity
	b.create.content = c.contentType()
	if c.version == "" {
		b.create.version = "1.0"
	}
	b.changed.L = &b.mu
	b.timer = time.AfterFunc(b.idle, b.onTime)
	return b
}

// polls reports whether this is a polling session (XEP-0124 §12).
func (b *bosh) polls() bool { return b.hold == 0 }

// submit takes a request, whose answer comes through its channel.
func (b *bosh) submit(q *boshRequest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := b.answered + int64(b.requests)
	if q.terminate || q.pause > 0 {
		most++ // XEP-0124 §11
	}
	switch {
	case b.over:
		b.refuse(q, boshItemNotFound)
	case q.rid < b.next:
		b.repeat(q)
	case b.early[q.rid] != nil:
		if b.replace(b.early[q.rid], q) {
			b.early[q.rid] = q
		}
	case q.rid > most:
		b.violated(q, b.tooMany(q))
	default:
		b.early[q.rid] = q
		b.advance()
	}
	b.respond()
}

// tooMany names what is wrong with a request id that is too high: a client that sends more
// than it may at once (XEP-0124 §11), or one that has lost count (§14.2).
func (b *bosh) tooMany(q *boshRequest) boshFault {
	if q.rid == b.next+int64(len(b.early)) {
		return boshPolicyViolation
	}
	return boshItemNotFound
}

// advance takes requests in order (XEP-0124 §14.2), as long as there is room for their payload.
func (b *bosh) advance() {
	for !b.over && len(b.in) <= boshInputBytes {
		q := b.early[b.next]
		if q == nil {
			return
		}
		delete(b.early, b.next)
		q.arrived = time.Now()
		if fault := b.check(q); fault != "" {
			b.violated(q, fault)
			return
		}
		b.next++
		b.take(q)
	}
}

// check is what a request may violate when its turn comes.
func (b *bosh) check(q *boshRequest) boshFault {
	if b.key != "" && !keyFits(q.key, b.key) {
		return boshItemNotFound // XEP-0124 §15.4
	}
	soon := q.empty() && q.arrived.Sub(b.last.at) < boshPolling
	switch {
	case !soon:
	case b.polls() && b.last.empty && b.last.bare: // XEP-0124 §12
		return boshPolicyViolation
	case !b.polls() && q.pause == 0 && len(b.waiting)+1 >= b.requests: // XEP-0124 §11
		return boshPolicyViolation
	}
	return ""
}

// keyFits reports whether a key is what the one before it is the hash of (XEP-0124 §15.3).
func keyFits(key, hash string) bool { return hashed(key) == hash }

func hashed(key string) string {
	sum := sha1.Sum([]byte(key))
	return hex.EncodeToString(sum[:])
}

// take hands a request's payload to the stream and keeps the request for a response.
func (b *bosh) take(q *boshRequest) {
	b.confirmed(q)
	switch {
	case q.newKey != "":
		b.key = q.newKey
	case b.key != "":
		b.key = q.key
	}
	b.idle = b.inactivity
	if q.pause > 0 {
		b.idle = min(q.pause, boshMaxPause)
	}
	b.last = lastRequest{at: q.arrived, empty: q.empty()}
	b.taken += q.size
	switch {
	case q.sid == "":
		b.in = append(q.appendHeader(b.in, b.create.version), q.payload...)
	case q.restart: // XEP-0206 §5; what is in it is ignored
		if q.to == "" {
			q.to = b.to
		}
		b.in = q.appendHeader(b.in, b.create.version)
	default:
		b.in = append(b.in, q.payload...)
	}
	q.payload = nil
	if q.terminate { // XEP-0124 §13
		b.left = true
		b.in = append(b.in, "</stream:stream>"...)
	}
	b.waiting = append(b.waiting, q)
	b.hungry = b.hungry && len(b.in) == 0
	b.changed.Broadcast()
}

// confirmed drops the responses that a request shows to have arrived: what it says (XEP-0124
// §9.2), or what the client must have to be allowed to send it (§11).
func (b *bosh) confirmed(q *boshRequest) {
	had := q.rid - int64(b.requests)
	if q.terminate || q.pause > 0 {
		had--
	}
	switch {
	case b.create.acks && q.ack > 0:
		had = max(had, q.ack)
	case b.create.acks:
		had = q.rid - 1 // else it would say what it has
	}
	b.had = max(b.had, min(had, b.answered))
	n := 0
	for n < len(b.sent) && b.sent[n].rid <= b.had {
		n++
	}
	if n > 0 {
		b.sent = append([]boshResponse(nil), b.sent[n:]...)
	}
}

// repeat answers a request that came before (XEP-0124 §14.3).
func (b *bosh) repeat(q *boshRequest) {
	for i, w := range b.waiting {
		if w.rid == q.rid {
			q.arrived, q.pause = w.arrived, w.pause
			if b.replace(w, q) {
				b.waiting[i] = q
			}
			return
		}
	}
	for i := range b.sent {
		r := &b.sent[i]
		if r.rid != q.rid || r.key != q.key {
			continue
		}
		if r.repeats++; r.repeats > boshRepeats {
			b.violated(q, boshPolicyViolation)
			return
		}
		r.written = false
		b.answer(q, r.body)
		return
	}
	// It may have been held up on the way for long: the session, whose client knows better, goes on.
	b.refuse(q, boshItemNotFound)
}

// replace makes q wait instead of old, whose client has sent it again: old gets a recoverable
// condition (XEP-0124 §14.3, §17.3).
func (b *bosh) replace(old, q *boshRequest) bool {
	if q.key != old.key {
		b.refuse(q, boshItemNotFound)
		return false
	}
	q.repeats = old.repeats + 1
	if q.repeats > boshRepeats {
		b.violated(q, boshPolicyViolation)
		return false
	}
	// No rid: that this was written says nothing of the response.
	old.answer <- boshAnswer{status: http.StatusOK, content: b.create.content, body: []byte("<body xmlns='" + nsBOSH + "' type='error'/>")}
	return true
}

// violated ends the session by the fault of a request.
func (b *bosh) violated(q *boshRequest, fault boshFault) {
	b.refuse(q, fault)
	b.failLocked(fault)
}

// answer sends a body in response to a request.
func (b *bosh) answer(q *boshRequest, body []byte) {
	b.since = time.Time{} // the client was here until now
	q.answer <- boshAnswer{status: http.StatusOK, content: b.create.content, body: body, rid: q.rid}
}

// refuse ends a request with a terminal binding condition; a legacy client gets an HTTP
// error where there is one (XEP-0124 §17.1).
func (b *bosh) refuse(q *boshRequest, fault boshFault) {
	q.answer <- refusal(fault, b.create.major == 0, b.create.content)
}

func refusal(fault boshFault, legacy bool, content string) boshAnswer {
	a := boshAnswer{status: http.StatusOK, content: content}
	if legacy {
		switch fault {
		case boshBadRequest:
			a.status = http.StatusBadRequest
		case boshPolicyViolation:
			a.status = http.StatusForbidden
		case boshItemNotFound:
			a.status = http.StatusNotFound
		}
	}
	a.body = []byte("<body xmlns='" + nsBOSH + "' type='terminate' condition='" + string(fault) + "'/>")
	return a
}

// abandon says that nobody waits for a request's answer any more: its connection is gone. The client
// may send it again.
func (b *bosh) abandon(q *boshRequest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q.held = false
	b.respond()
}

// wrote says whether the response to a request was written.
func (b *bosh) wrote(rid int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.sent {
		if b.sent[i].rid == rid {
			b.sent[i].written = true
		}
	}
}

// fail ends the transport as a broken connection ends: with an error for those who read and write.
func (b *bosh) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failLocked(err)
	b.respond()
}

func (b *bosh) failLocked(err error) {
	if b.inErr == nil {
		b.inErr = err
	}
	b.aborted = true
	b.forgetLocked()
}

// forgetLocked takes the session off the books: its sid is not known any more.
func (b *bosh) forgetLocked() {
	if b.over {
		return
	}
	b.over = true
	b.timer.Stop()
	b.books.forget(b, b.login)
	b.changed.Broadcast()
}
