package riak

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	basho "github.com/basho/riak-go-client"

	"chatd/store"
)

var _ store.Store = (*Store)(nil)

// Config says where Riak is. Nodes must be set.
type Config struct {
	// Nodes are the protocol buffers addresses of some or all of Riak's nodes, host:port.
	Nodes []string
	// BucketType is the type of all buckets; "chatd" if empty.
	BucketType string
	// Prefix begins the name of every bucket, so that several chatd can share a cluster.
	Prefix string
	Log    *slog.Logger // nil: discarded
}

// defaultPort is that of Riak's protocol buffers.
const defaultPort = "8087"

// ParseNodes reads a comma-separated list of hosts with or without a port.
func ParseNodes(dsn string) ([]string, error) {
	var nodes []string
	for addr := range strings.SplitSeq(dsn, ",") {
		addr = strings.TrimSpace(addr)
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			host, port = strings.Trim(addr, "[]"), defaultPort
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil || host == "" || strings.ContainsAny(host, "/@ ") {
			return nil, fmt.Errorf("riak: %q is no host:port", addr)
		}
		nodes = append(nodes, net.JoinHostPort(host, port))
	}
	return nodes, nil
}

// Store is an open connection to Riak.
type Store struct {
	pool    *pool
	clock   *clock
	locks   locks
	log     *slog.Logger
	kind    string // bucket type
	prefix  string
	quorums quorums

	known     *recent[ref, struct{}]     // names that their index has
	open      *recent[ref, openSegment]  // by queue: where its next message goes
	doubts    *recent[ref, []attempt]    // by queue; changed under its lock
	announcer atomic.Pointer[announcing] // nil: nobody

	process     string
	lastRemoval stamp // of another process, belongs to the goroutine that calls ChangedElsewhere

	mu     sync.Mutex
	closed bool
	atWork sync.WaitGroup // verbs; grows only while not closed
}

type announcing struct{ store.Announcer }

// Open checks that Riak has the bucket type as it must be.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if len(cfg.Nodes) == 0 {
		return nil, errors.New("riak: no nodes")
	}
	if cfg.BucketType == "" {
		cfg.BucketType = "chatd"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		pool:  newPool(cfg.Nodes),
		clock: newClock(time.Now),

		process: newProcess(),
		locks:   locks{held: make(map[ref]*lock)},
		log:     cfg.Log,
		kind:    cfg.BucketType,
		prefix:  cfg.Prefix,
		known:   newRecent[ref, struct{}](rememberedNames),
		open:    newRecent[ref, openSegment](rememberedQueues),
		doubts:  newRecent[ref, []attempt](rememberedDoubts),
	}
	err := s.checkBucketType(ctx)
	if err == nil {
		_, err = s.ChangedElsewhere(ctx)
	}
	if err != nil {
		s.pool.close()
		return nil, err
	}
	return s, nil
}

// checkBucketType reads how many replicas there are, and refuses a type that would lose siblings.
func (s *Store) checkBucketType(ctx context.Context) error {
	cmd, err := s.pool.do(ctx, request{name: "bucket type", build: func(time.Duration) (basho.Command, error) {
		return basho.NewFetchBucketTypePropsCommandBuilder().WithBucketType(s.kind).Build()
	}})
	advice := fmt.Sprintf(`riak-admin bucket-type create %[1]s '{"props":{"n_val":3,"allow_mult":true,"dvv_enabled":true,"last_write_wins":false}}' && riak-admin bucket-type activate %[1]s`, s.kind)
	if e, ok := errors.AsType[*serverError](err); ok && e.permanent() {
		return fmt.Errorf("riak: no bucket type %q (%w); run: %s", s.kind, err, advice)
	}
	if err != nil {
		return err
	}
	p := cmd.(*basho.FetchBucketTypePropsCommand).Response
	switch {
	case p == nil:
		err = errors.New("has no properties")
	case !p.AllowMult || p.LastWriteWins:
		err = errors.New("must have allow_mult=true and last_write_wins=false")
	case p.NVal < 3:
		err = fmt.Errorf("must have n_val=3 or more, not %d", p.NVal)
	}
	if err != nil {
		return fmt.Errorf("riak: bucket type %q %w; make one: %s", s.kind, err, advice)
	}
	s.quorums = quorumsOf(p.NVal)
	return nil
}

// begin starts a verb, and end has to be called after it if it returns nil.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	s.atWork.Add(1)
	return nil
}

func (s *Store) end() { s.atWork.Done() }

// Close ends all connections; verbs at work return store.ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.pool.close()
	s.atWork.Wait()
	return nil
}
