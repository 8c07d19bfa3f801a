package auth

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// fetchTimeout is how long a server of keys has to answer.
	fetchTimeout = 10 * time.Second
	// fetchPace is the least time between two fetches, whatever tokens come: those with an
	// unknown key cost the sender nothing.
	fetchPace = 10 * time.Second
)

// remoteKeys is a key set that somebody else keeps behind a URL. It is fetched at the start, now and
// then, and when a token names a key that is not in it. The last good set is kept as long
// as there is no newer one.
type remoteKeys struct {
	url     string
	refresh time.Duration
	client  *http.Client
	log     *slog.Logger
	pace    time.Duration

	keys atomic.Pointer[KeySet] // nil until the first fetch succeeds

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   sync.WaitGroup // for run and fetches

	mu       sync.Mutex
	fetching chan struct{} // closed when the fetch under way has ended; nil if there is none
	last     time.Time     // when the last fetch ended
	failed   bool          // it did
}

// newKeyClient follows no redirect: a URL of https must not end at one of http. It keeps no
// connection between two fetches.
func newKeyClient() *http.Client {
	return &http.Client{
		Timeout:   fetchTimeout,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// start begins to fetch; close ends it. keys is what to begin with, nil for nothing.
func (r *remoteKeys) start(keys *KeySet) {
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.keys.Store(keys)
	r.done.Go(r.run)
}

func (r *remoteKeys) close() {
	r.mu.Lock() // nothing begins behind Wait
	r.cancel()
	r.mu.Unlock()
	r.done.Wait()
}

// run fetches at once and then every refresh, sooner after a failure.
func (r *remoteKeys) run() {
	for r.ctx.Err() == nil {
		r.mu.Lock()
		ended := r.fetchLocked()
		r.mu.Unlock()
		<-ended
		r.mu.Lock()
		wait := r.refresh
		if r.failed {
			wait = min(wait, r.pace)
		}
		r.mu.Unlock()
		select {
		case <-r.ctx.Done():
		case <-time.After(wait):
		}
	}
}

// find looks for keys as KeySet.find does. If there are none it waits for the fetch under way, or for another one
// if the last is not too recent.
func (r *remoteKeys) find(ctx context.Context, alg, id string) []jwt.VerificationKey {
	if found := r.keys.Load().find(alg, id); len(found) > 0 {
		return found
	}
	r.mu.Lock()
	if r.fetching == nil && time.Since(r.last) < r.pace {
		r.mu.Unlock()
		return nil
	}
	ended := r.fetchLocked()
	r.mu.Unlock()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return r.keys.Load().find(alg, id)
}

// fetchLocked joins the fetch under way or begins one. The channel is closed when it has ended.
func (r *remoteKeys) fetchLocked() <-chan struct{} {
	if r.fetching != nil {
		return r.fetching
	}
	ended := make(chan struct{})
	if r.ctx.Err() != nil {
		close(ended)
		return ended
	}
	r.fetching = ended
	r.done.Go(func() {
		keys, err := r.get()
		if err == nil {
			r.keys.Store(keys)
			r.log.Debug("keys of tokens fetched", "url", redacted(r.url), "keys", len(keys.keys))
		} else if r.ctx.Err() == nil {
			r.log.Warn("keys of tokens not fetched: those known go on to count", "url", redacted(r.url), "err", err)
		}
		r.mu.Lock()
		r.fetching, r.last, r.failed = nil, time.Now(), err != nil
		r.mu.Unlock()
		close(ended)
	})
	return ended
}

// get asks the server once.
func (r *remoteKeys) get() (*KeySet, error) {
	req, err := http.NewRequestWithContext(r.ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %.100q", resp.Status)
	}
	doc, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, err
	}
	return ParseKeySet(doc)
}

// redacted is a URL for the log.
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "?"
	}
	return u.Redacted()
}
