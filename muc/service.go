package muc

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// storeTimeout bounds how long one request may wait for the store.
const storeTimeout = 15 * time.Second

const shards = 64

// A Service is the rooms of one domain. Its methods are safe for concurrent use.
type Service struct {
	Metrics *Metrics
	// Place, if set before the first stanza, says where rooms are; nil: here.
	Place Place
	// Watcher, if set before the first stanza, is told what happens.
	Watcher Watcher

	r     *router.Router
	host  stanza.JID
	store store.Rooms
	log   *slog.Logger
	cfg   atomic.Pointer[Config]

	defaults  atomic.Pointer[Settings] // of a new room
	creations ration
	joins     ration
	letters   ration
	count     atomic.Int64 // rooms in memory
	index     listing
	census    census

	seed   maphash.Seed
	shards [shards]shard

	lanes   [shards]laneShard // of a cluster
	nodes   sync.Map          // the others, *node by name
	placed  atomic.Int64      // when Placed was called last, nanoseconds since 1970
	process uint64            // tells this process of the node from others
	spoken  atomic.Uint64     // number of the last stanza that was sent to another node

	writing sync.WaitGroup  // goroutines that write history
	ctx     context.Context // ends when they are to give up
	cancel  context.CancelFunc
}

type shard struct {
	mu    sync.RWMutex
	rooms map[string]*room // by name, normalized
	_     [32]byte         // keeps neighbours' locks off one cache line
}

// New makes the rooms at host, for the router of which it becomes a service. Close ends it.
func New(r *router.Router, host stanza.JID, rooms store.Rooms, cfg Config, log *slog.Logger) *Service {
	s := &Service{Metrics: newMetrics(), r: r, host: host, store: rooms, log: log, seed: maphash.MakeSeed(), process: uint64(time.Now().UnixNano())}
	for i := range s.shards {
		s.shards[i].rooms = make(map[string]*room)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.Reload(cfg)
	r.Serve(host.Domain(), s)
	return s
}

// Reload puts a new configuration in force, for what happens afterwards.
func (s *Service) Reload(cfg Config) {
	s.cfg.Store(&cfg)
	s.defaults.Store(defaults(&cfg))
}

// Host is the domain of the rooms.
func (s *Service) Host() stanza.JID { return s.host }

// Close waits until all history is written, or ctx ends.
func (s *Service) Close(ctx context.Context) error {
	defer s.cancel()
	done := make(chan struct{})
	go func() { s.writing.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.cancel()
		<-done
		return ctx.Err()
	}
}

// Handle implements router.Service.
func (s *Service) Handle(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) {
	if b == nil {
		b = new(router.Batch) // lest anything is written under a room's lock
		defer b.Flush()
	}
	name := st.To.Local()
	switch {
	case name == "":
		s.toHost(ctx, b, sess, st)
	case s.Place != nil:
		s.dispatch(ctx, b, sess, st)
	default:
		s.toRoom(ctx, b, sess, boundOf(sess), st)
	}
}

// toRoom deals with a stanza of a session's that was bound at a time, 0 if that is not known.
func (s *Service) toRoom(ctx context.Context, b *router.Batch, sess router.Session, bound int64, st *stanza.Stanza) {
	if st.Type == stanza.TypeError && st.Kind != stanza.IQ {
		s.bounced(b, st)
		return
	}
	if st.Kind != stanza.Presence && st.Type != stanza.Groupchat { // for which only fill and change ask the store, seldom
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, storeTimeout)
		defer cancel()
	}
	switch st.Kind {
	case stanza.Presence:
		s.presence(ctx, b, sess, bound, st)
	case stanza.Message:
		s.message(ctx, b, sess, st)
	default:
		s.iq(ctx, b, sess, st)
	}
}

// fail answers st with an error, in the room's name.
func (s *Service) fail(b *router.Batch, st *stanza.Stanza, err error) {
	e := stanza.Fault(err)
	if e == stanza.ErrInternalServerError {
		s.log.Error("room", "to", st.To, "from", st.From, "err", err)
	}
	s.r.Fail(b, st, e.WithBy(st.To.Bare()), "refused")
}

// answer gives an IQ its result.
func (s *Service) answer(b *router.Batch, sess router.Session, st *stanza.Stanza, payload []byte) {
	s.give(b, sess, &stanza.Stanza{Kind: stanza.IQ, Type: stanza.Result, From: st.To, To: st.From, ID: st.ID, Inner: payload})
}

// give sends to one session by its full JID, which waits for nobody: also under a room's lock.
func (s *Service) give(b *router.Batch, sess router.Session, st *stanza.Stanza) bool {
	if sess == nil {
		row, ok := s.r.Table.Row(st.To)
		if !ok {
			return false
		}
		sess = s.sessionOf(row)
	}
	return sess.Send(b, st)
}

func (s *Service) shard(name string) *shard {
	return &s.shards[s.shardIndex(name)]
}

func (s *Service) shardIndex(name string) uint64 { return maphash.String(s.seed, name) % shards }
