package main

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"hash"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"chatd/cluster"
	"chatd/cluster/simnet"
	"chatd/store"
	"chatd/store/guard"
	"chatd/store/memory"
)

const (
	simDomain   = "chat.test"
	simPassword = "s3cret"
	simSecret   = "the secret of a simulation"
)

// A simNode is one machine of a schedule: a whole chatd but for its private HTTP and its files, in one process after another.
type simNode struct {
	s    *simSchedule
	name string
	ip   string

	incarnation uint64 // of the last process

	mu   sync.Mutex
	now  *simProcess // nil: none runs
	busy bool        // one is starting or stopping
}

// A simProcess is one chatd.
type simProcess struct {
	*server
	node  *simNode
	store *simStore
	drain context.CancelFunc
	ended sync.WaitGroup // what serves its sockets
}

func simNodeIP(i int) string { return fmt.Sprintf("10.0.0.%d", i) }

// simLog is the log of a node; CHATD_CLUSTER_LOG=1 shows it.
func simLog(name string) *slog.Logger {
	if os.Getenv("CHATD_CLUSTER_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
}

// config is that of a node of a cluster, without TLS, since all of it is in memory.
func (n *simNode) config() *Config {
	cfg := defaultConfig()
	cfg.Domain = simDomain
	cfg.C2S.TLS = "off"
	cfg.C2S.DrainSeconds = 1
	cfg.C2S.Limits.StanzasPerSecond = 0
	cfg.C2S.Limits.BytesPerSecond = 0
	cfg.Cluster.Node, cfg.Cluster.Secret = n.name, simSecret
	cfg.Cluster.Gossip, cfg.Cluster.Link = n.ip+":7946", n.ip+":7947"
	cfg.Cluster.Join = []string{simNodeIP(1) + ":7946", simNodeIP(2) + ":7946"}
	return cfg
}

// start begins a process and returns when it serves.
func (n *simNode) start() error {
	cfg, log := n.config(), simLog(n.name)
	p := &simProcess{node: n, store: &simStore{Store: n.s.store, outage: &n.s.outage}}
	serving, drain := context.WithCancel(context.Background())
	p.drain = drain
	guarded := guard.New(p.store, guard.Config{Patience: time.Duration(cfg.Store.PatienceSeconds) * time.Second, Log: log})
	p.server = assemble(serving, cfg, guarded, []byte(simSecret+simSecret), log)
	p.cfg = cfg
	p.clients.Keep = nil // a file
	p.clients.Reload(p.clientConfig(cfg))
	p.friends.Reload(friendsConfig(cfg))
	p.rooms.Reload(cfg.MUC.Config)
	host := n.s.net.Host(n.ip)
	conf := clusterConfig(cfg, log)
	conf.Network, conf.Previous = host, n.incarnation
	if err := p.others.Start(context.Background(), conf); err != nil {
		return err
	}
	n.incarnation = p.others.Incarnation()
	l, err := host.Listen(n.ip + ":5222")
	if err != nil {
		return err
	}
	p.ended.Go(func() { _ = p.clients.Serve(l, false) })
	n.mu.Lock()
	n.now = p
	n.mu.Unlock()
	return nil
}

// process is the one that runs; nil: none does.
func (n *simNode) process() *simProcess {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

// retire takes the process from its node; nil if there is none.
func (n *simNode) retire() *simProcess {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.now
	n.now = nil
	return p
}

// stop ends the process as SIGTERM does.
func (p *simProcess) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout+time.Duration(p.cfg.C2S.DrainSeconds)*time.Second)
	defer cancel()
	p.drain()
	p.end(ctx)
}

// end is as server.stop, without what this server has not.
func (p *simProcess) end(ctx context.Context) {
	p.others.Tell()
	p.moveRooms(ctx)
	_ = p.clients.Shutdown(ctx)
	_ = p.rooms.Close(ctx)
	p.settle(ctx)
	_ = p.others.Leave(ctx)
	p.spool.Close(ctx)
	p.ended.Wait()
	p.tokens.Close()
	_ = p.db.Close()
}

// kill ends the process as kill -9 does: from now on it reaches nobody. It returns when nothing is left of it.
func (p *simProcess) kill() {
	p.store.dead.Store(true)
	p.node.s.net.Crash(p.node.ip)
	p.drain()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	p.end(ctx)
	p.node.s.net.Boot(p.node.ip)
}

// A simStore is what one process has of the store that all share: it fails while there is an outage, and
// does nothing any more when the process is dead.
type simStore struct {
	store.Store
	dead   atomic.Bool
	outage *atomic.Bool
}

// up is whether the store can be reached.
func (s *simStore) up() error {
	switch {
	case s.dead.Load():
		return store.ErrClosed
	case s.outage.Load():
		return store.ErrUnavailable
	}
	return nil
}

func simAsk[V any](s *simStore, call func() (V, error)) (v V, err error) {
	if err := s.up(); err != nil {
		return v, err
	}
	return call()
}

// simDo does a write. One that fails may have been done.
func (s *simStore) simDo(call func() error) error {
	err := s.up()
	if err == nil {
		return call()
	}
	if !s.dead.Load() && rand.IntN(4) == 0 {
		_ = call()
	}
	return err
}

func (s *simStore) Close() error { return nil }

func (s *simStore) Account(ctx context.Context, user string) (store.Account, error) {
	return simAsk(s, func() (store.Account, error) { return s.Store.Account(ctx, user) })
}

func (s *simStore) Player(ctx context.Context, user string) (store.Player, error) {
	return simAsk(s, func() (store.Player, error) { return s.Store.Player(ctx, user) })
}

func (s *simStore) Roster(ctx context.Context, user string) (store.Roster, error) {
	return simAsk(s, func() (store.Roster, error) { return s.Store.Roster(ctx, user) })
}

func (s *simStore) Mutual(ctx context.Context, user string) ([]string, error) {
	return simAsk(s, func() ([]string, error) { return s.Store.Mutual(ctx, user) })
}

func (s *simStore) Blocklist(ctx context.Context, user string) ([]string, error) {
	return simAsk(s, func() ([]string, error) { return s.Store.Blocklist(ctx, user) })
}

func (s *simStore) Privacy(ctx context.Context, user string) (store.Privacy, error) {
	return simAsk(s, func() (store.Privacy, error) { return s.Store.Privacy(ctx, user) })
}

func (s *simStore) VCard(ctx context.Context, user string) ([]byte, error) {
	return simAsk(s, func() ([]byte, error) { return s.Store.VCard(ctx, user) })
}

func (s *simStore) SetVCard(ctx context.Context, user string, xml []byte) error {
	return s.simDo(func() error { return s.Store.SetVCard(ctx, user, xml) })
}

func (s *simStore) SetLastActivity(ctx context.Context, user string, a store.LastActivity) error {
	return s.simDo(func() error { return s.Store.SetLastActivity(ctx, user, a) })
}

func (s *simStore) OfflinePage(ctx context.Context, user string, after int64, limit int) ([]store.OfflineMessage, error) {
	return simAsk(s, func() ([]store.OfflineMessage, error) { return s.Store.OfflinePage(ctx, user, after, limit) })
}

func (s *simStore) AppendOffline(ctx context.Context, user string, m store.OfflineMessage, max int) (seq int64, err error) {
	switch err := s.up(); {
	case err == store.ErrUnavailable: // or else the guard would pause, and xep's gate with it, which no bubble knows to be waiting
		return 0, fmt.Errorf("%w: %w", store.ErrNotTried, err)
	case err != nil:
		return 0, err
	}
	return s.Store.AppendOffline(ctx, user, m, max)
}

func (s *simStore) RemoveOffline(ctx context.Context, user string, seqs []int64) error {
	return s.simDo(func() error { return s.Store.RemoveOffline(ctx, user, seqs) })
}

// simUsers fills a store with users who are all friends of one another.
func simUsers(db *memory.Store, users []string) error {
	for _, user := range users {
		if err := db.CreateAccount(context.Background(), store.Account{User: user, Credentials: simCredentials}); err != nil {
			return err
		}
	}
	for _, user := range users {
		for _, other := range users {
			if other == user {
				continue
			}
			_, err := db.UpdateItem(context.Background(), user, other+"@"+simDomain, 0, func(item *store.RosterItem, _ bool) (store.Verdict, error) {
				item.Sub = store.SubBoth
				return store.Keep, nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// simCredentials are of simPassword, with a single iteration, which costs nothing.
var simCredentials = []store.Credential{simCredential("SCRAM-SHA-256", sha256.New), simCredential("SCRAM-SHA-1", sha1.New)}

func simCredential(mechanism string, h func() hash.Hash) store.Credential {
	salt := []byte("salt of a simulation")
	salted, err := pbkdf2.Key(h, simPassword, salt, 1, h().Size())
	if err != nil {
		panic(err)
	}
	mac := func(text string) []byte {
		m := hmac.New(h, salted)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored := h()
	stored.Write(mac("Client Key"))
	return store.Credential{Mechanism: mechanism, Salt: salt, Iterations: 1, StoredKey: stored.Sum(nil), ServerKey: mac("Server Key")}
}

var _ cluster.Network = (*simnet.Host)(nil)
