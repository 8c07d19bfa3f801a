package api

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Bounds on the answers that are kept.
const (
	maxReplies     = 10_000
	maxReplyBytes  = 16 << 20 // of bodies, all together
	keepReply      = 24 * time.Hour
	maxKey         = 255
	replayedHeader = "Idempotency-Replayed"
)

var idempotencyParameter = &huma.Param{Name: "Idempotency-Key", In: "header",
	Description: "The same key with the same request is answered again instead of being done again, for 24 hours, by this node, until it restarts.",
	Schema:      &huma.Schema{Type: huma.TypeString, MaxLength: new(maxKey)}}

// replies keeps what was answered to writes with an Idempotency-Key. Over a bound the oldest go.
type replies struct {
	mu    sync.Mutex
	byKey map[replyKey]*reply
	order []*reply // oldest first
	bytes int
}

// A replyKey is a caller's key: each token has its own.
type replyKey struct{ token, key string }

// A reply is the answer to one write. All but mu's part is fixed once done is closed.
type reply struct {
	key     replyKey
	request [sha256.Size]byte
	at      time.Time
	done    chan struct{} // closed when it is answered
	kept    bool          // the answer counts; else the request may be made again
	status  int
	header  http.Header
	body    []byte
}

func newReplies() *replies { return &replies{byKey: make(map[replyKey]*reply)} }

// once does a request with an Idempotency-Key once. Those who ask meanwhile wait for the answer.
func (rs *replies) once(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			h.ServeHTTP(w, r)
			return
		}
		if len(key) > maxKey {
			problem(w, http.StatusUnprocessableEntity, "the Idempotency-Key has more than 255 characters")
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			problem(w, http.StatusRequestEntityTooLarge, "the body is too large, or was cut off")
			return
		}
		token, _ := r.Context().Value(tokenKey{}).(*Token)
		name, print := replyKey{token.Name, key}, fingerprint(r, body)
		for {
			kept, first := rs.claim(name, print)
			if first {
				r.Body = io.NopCloser(bytes.NewReader(body))
				rs.answer(kept, h, w, r)
				return
			}
			if kept.request != print {
				problem(w, http.StatusUnprocessableEntity, "the Idempotency-Key was used for another request")
				return
			}
			select {
			case <-kept.done:
			case <-r.Context().Done():
				problem(w, http.StatusConflict, "the first request with this Idempotency-Key is not done yet")
				return
			}
			if kept.kept {
				kept.replay(w)
				return
			}
		}
	})
}

// fingerprint is what makes two requests the same.
func fingerprint(r *http.Request, body []byte) (sum [sha256.Size]byte) {
	d := sha256.New()
	for _, part := range [...]string{r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("If-Match")} {
		io.WriteString(d, part+"\x00") //nolint:errcheck // never fails
	}
	d.Write(body)
	d.Sum(sum[:0])
	return sum
}

// claim is the reply of a key, and whether the caller is the one to make it.
func (rs *replies) claim(key replyKey, request [sha256.Size]byte) (*reply, bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.trimLocked(time.Now())
	if k, ok := rs.byKey[key]; ok {
		return k, false
	}
	k := &reply{key: key, request: request, at: time.Now(), done: make(chan struct{})}
	rs.byKey[key] = k
	rs.order = append(rs.order, k)
	return k, true
}

// trimLocked forgets what is too old or too much. Those that wait for a reply hold it themselves.
func (rs *replies) trimLocked(now time.Time) {
	n := 0
	for n < len(rs.order) && (now.Sub(rs.order[n].at) > keepReply || len(rs.order)-n >= maxReplies || rs.bytes > maxReplyBytes) {
		rs.dropLocked(rs.order[n])
		rs.order[n] = nil
		n++
	}
	rs.order = rs.order[n:]
}

func (rs *replies) dropLocked(k *reply) {
	if rs.byKey[k.key] == k {
		delete(rs.byKey, k.key)
		rs.bytes -= len(k.body)
	}
}

// answer makes a reply and keeps it, unless it says that the request may succeed another time.
func (rs *replies) answer(k *reply, h http.Handler, w http.ResponseWriter, r *http.Request) {
	p := newPage(make(http.Header))
	defer p.release()
	defer func() { // also when the handler panics
		rs.mu.Lock()
		if k.kept && rs.byKey[k.key] == k {
			rs.bytes += len(k.body)
		} else if !k.kept && rs.byKey[k.key] == k {
			delete(rs.byKey, k.key)
		}
		rs.mu.Unlock()
		close(k.done)
	}()
	h.ServeHTTP(p, r)
	k.status, k.header, k.body = max(p.status, http.StatusOK), p.header, bytes.Clone(p.body.Bytes())
	k.kept = k.status < 500 && k.status != http.StatusTooManyRequests
	k.write(w)
}

func (k *reply) replay(w http.ResponseWriter) {
	w.Header().Set(replayedHeader, "true")
	k.write(w)
}

func (k *reply) write(w http.ResponseWriter) {
	for name, values := range k.header {
		w.Header()[name] = values
	}
	finish(w, k.status, k.body)
}
