// Command chatd is an XMPP chat server. This file is the map: serve builds
// every part with plain calls, in the order in which to learn them.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"chatd/account"
	"chatd/api"
	"chatd/auth"
	"chatd/c2s"
	"chatd/cluster"
	"chatd/muc"
	"chatd/roster"
	"chatd/router"
	"chatd/stanza"
	"chatd/store"
	"chatd/store/guard"
	"chatd/store/resident"
	"chatd/webhook"
	"chatd/xep"
)

// softwareURI names this software to others (XEP-0115 §4).
const softwareURI = "urn:x-chatd:server"

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals // the second one means it
		os.Exit(exitFailed)
	}()
	os.Exit(run(ctx, os.Args, os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program; args[0] is its name. It returns the exit code, soon
// after ctx ends.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	e := environment{program: programName(args[0]), getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr}
	return dispatch(ctx, e, args[1:])
}

// serve is chatd serve.
func serve(ctx context.Context, e environment, args []string) (err error) {
	where, level, err := parseServe(args)
	if err != nil {
		return err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // at once: by default it would end the process
	defer signal.Stop(hangup)
	cfg, err := where.load(e.getenv)
	if err != nil {
		return err
	}
	var files watcher
	files.watch(cfg.File) // from before all else, lest a change is missed
	log := slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: level}))
	cfg.warn(log)

	lock, err := lockData(cfg.Data)
	if err != nil {
		return err
	}
	defer lock.Close()
	decoy, err := decoyKey(cfg)
	if err != nil {
		return err
	}

	db, err := openStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	ctx, drain := context.WithCancel(ctx)
	defer drain()
	s := build(ctx, cfg, db, decoy, log, drain)
	defer func() { err = errors.Join(err, s.db.Close()) }()
	s.getenv, s.where, s.files = e.getenv, where, files
	defer s.tokens.Close()
	if err := s.start(ctx, cfg); err != nil {
		return errors.Join(err, s.clients.Shutdown(ctx))
	}
	if cfg.File == "" {
		s.welcome(e)
	}
	return s.run(ctx, hangup)
}

// build puts the parts together. It opens nothing, and what can change while
// running start configures. drain ends ctx, with which serving ends.
func build(ctx context.Context, cfg *Config, backend database, decoy []byte, log *slog.Logger, drain func()) *server {
	guarded := guard.New(backend, guard.Config{Patience: time.Duration(cfg.Store.PatienceSeconds) * time.Second, Log: log})
	s := assemble(ctx, cfg, guarded, decoy, log)
	s.foreign = backend.ChangedElsewhere

	// What operators and other services see of it all, and may do.
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "chatd_store_writes_waiting", Help: "Changes that wait for the disk."}, func() float64 { return float64(backend.Waiting()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "chatd_messages_late", Help: "Messages of sessions that have ended, which wait in memory for the store."}, func() float64 { return float64(s.spool.Late()) }))
	guarded.Register(metrics)
	registerResident(metrics, s.db)
	s.router.Metrics.Register(metrics)
	s.clients.Metrics.Register(metrics)
	s.hooks.Metrics.Register(metrics)
	s.rooms.Metrics.Register(metrics)
	s.metrics = metrics
	s.operators = api.New(api.Config{
		Metrics: metrics, Ready: ready(ctx, guarded), Drain: drain, Log: log, Version: buildVersion(), Node: nodeName(cfg),
		PlayerJID: cfg.API.PlayerJID, Router: s.router, Friends: s.friends, Blocking: s.blocking, Auth: s.logins, Accounts: s.accounts, Webhooks: s.hooks, Rooms: s.rooms, Store: s.db, Cluster: s.others,
	})
	return s
}

// assemble puts together what serves clients.
func assemble(ctx context.Context, cfg *Config, guarded *guard.Store, decoy []byte, log *slog.Logger) *server {
	// What is kept, behind what bounds the harm when it is out of reach and saves logins most of its round trips.
	db := resident.New(guarded, cfg.Auth.CachedLogins)

	// Who may log in.
	accounts := auth.New(db, cfg.Domain, decoy)
	tokens := auth.NewTokens(log)
	accounts.SetTokens(tokens)

	// Where stanzas go, and who hears of whom.
	rt := router.New(stanza.MustJID(cfg.Domain), log)
	rt.Users = accounts
	var others *cluster.Service // the other nodes
	if cfg.Cluster.Node != "" {
		others = cluster.New(rt, clusterConfig(cfg, log))
		db.AccountChanged = func(user string) {
			if j, err := stanza.ParseJID(user + "@" + cfg.Domain); err == nil {
				others.Stale(j, router.KeptAccount)
			}
		}
	}
	friends := roster.New(rt, db, roster.Config{}, log)
	friends.Register()
	rt.Rules = friends
	players := account.New(rt, db, accounts, friends)

	// Other services, which are told.
	hooks := newHooks(cfg, db, log)
	friends.Presence = hooks.Presence
	rt.OnReject = hooks.Rejected

	// Extensions, one file of package xep each.
	blocking := xep.NewBlocking(rt, db, friends.BlocklistChanged)
	rt.Blocks = blocking
	carbons := xep.NewCarbons(rt)
	rt.Copies = carbons
	offline := xep.NewOffline(rt, db, cfg.Message.OfflineMax)
	rt.Spool = offline
	friends.HandOver = offline.HandOver
	avatar := xep.NewAvatar(rt, db, friends.Reannounce)
	friends.Amend = avatar.Amend
	last := xep.NewLast(rt, friends, db)
	rt.Presence = last.Observe(friends)
	vcard := xep.NewVCard(rt, db, avatar)
	private := xep.NewPrivate(rt, db, friends)
	registration := xep.NewRegister(rt, accounts, friends.RemoveUser)
	ping := xep.NewPing(rt)
	clock := xep.NewTime(rt)
	software := xep.NewVersion(rt, buildVersion(), "")
	xep.NewSession(rt)
	disco := xep.NewDisco(rt, friends, softwareURI,
		features(friends, blocking, carbons, offline, last, vcard, private, registration, ping, clock, software),
		append(features(last, vcard), stanza.NSStanzaID)) // XEP-0359 §4

	disco.Items = []xep.Item{{JID: roomHost(cfg), Name: "Rooms"}}

	// Rooms, at a domain of their own.
	rooms := muc.New(rt, stanza.MustJID(roomHost(cfg)), db, cfg.MUC.Config, log)
	rooms.Watcher = hooks

	// The clients' connections.
	clients := c2s.New(c2s.Config{}, rt, accounts, log)
	clients.OnBind = func(ctx context.Context, s router.Session) error {
		return errors.Join(players.Admit(ctx, s.JID()), blocking.LoadBlocklist(ctx, s), friends.LoadPrivacy(ctx, s))
	}
	clients.OnResume = offline.HandOver
	clients.Keep = keepSessions(cfg.Data)
	clients.Features = disco.CapsElement
	if others != nil {
		clients.Node = cfg.Cluster.Node
		(&joined{Service: others, serving: ctx, self: clientNode(cfg), friends: friends, blocking: blocking, avatar: avatar, offline: offline,
			clients: clients, rooms: rooms, table: rt.Table, forget: db.Forget, log: log}).connect()
	}

	return &server{log: log, db: db, logins: accounts, tokens: tokens, friends: friends, blocking: blocking, accounts: players,
		router: rt, spool: offline, hooks: hooks, rooms: rooms, clients: clients, others: others}
}

// roomHost is the domain of rooms.
func roomHost(cfg *Config) string { return cmp.Or(cfg.MUC.Host, "conference."+cfg.Domain) }

// newHooks makes the webhooks' service, which hears of what changes in the store.
func newHooks(cfg *Config, db store.Store, log *slog.Logger) *webhook.Service {
	hooks := webhook.New(stanza.MustJID(cfg.Domain), cmp.Or(cfg.Cluster.Node, "chatd"), db, log)
	db.Announce(hooks)
	return hooks
}

// registerResident registers what is to be seen of the logins that need no database.
func registerResident(reg prometheus.Registerer, db *resident.Store) {
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "chatd_cached_logins", Help: "Users who could log in while the store is out of reach."}, func() float64 { return float64(db.Kept()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "chatd_cached_logins_used_total", Help: "Logins that were begun by what is cached."}, func() float64 { return float64(db.Served()) }))
}

// features is what several extensions say in service discovery.
func features(extensions ...interface{ Features() []string }) (all []string) {
	for _, x := range extensions {
		all = append(all, x.Features()...)
	}
	return all
}

func parseServe(args []string) (w where, level slog.Level, err error) {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	w.flags(fs)
	fs.TextVar(&level, "log-level", slog.LevelInfo, "")
	rest, err := parse(fs, args)
	if err == nil && len(rest) > 0 {
		err = usagef("serve takes no argument, not %q", rest[0])
	}
	return w, level, err
}
