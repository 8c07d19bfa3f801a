package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chatd/account"
	"chatd/api"
	"chatd/auth"
	"chatd/c2s"
	"chatd/cluster"
	"chatd/muc"
	"chatd/roster"
	"chatd/router"
	"chatd/stanza"
	"chatd/store/guard"
	"chatd/store/resident"
	"chatd/webhook"
	"chatd/xep"
)

const (
	// shutdownTimeout bounds how long sessions and requests may take to end, besides what
	// c2s.drain_seconds allows.
	shutdownTimeout = 10 * time.Second
	// watchInterval is how often files are looked at.
	watchInterval = time.Second
	// spareInterval is how often memory that is free is looked at.
	spareInterval = 30 * time.Second
)

// A server is what serve has built while it runs. It belongs to one goroutine.
type server struct {
	log       *slog.Logger
	getenv    func(string) string
	where     where
	logins    *auth.Service
	db        *resident.Store
	tokens    *auth.Tokens
	friends   *roster.Service
	blocking  *xep.Blocking
	accounts  *account.Service
	router    *router.Router
	spool     *xep.Offline
	hooks     *webhook.Service
	foreign   func(context.Context) (bool, error) // whether another process has changed the store
	rooms     *muc.Service
	unheeded  bool // it has, and the store could not be asked for all of it
	clients   *c2s.Server
	operators *api.Server
	others    *cluster.Service // nil: this node is alone
	metrics   prometheus.Registerer

	cfg     *Config         // in force
	filter  *webhook.Filter // of messages; nil: none
	cert    certificate
	tls     *tls.Config // the same for good: session tickets live in it
	tickets *ticketKeys
	token   *api.Token // of development mode
	secret  string     // its secret, if it was made just now
	files   watcher    // those whose change means a reload
	sockets []socket
}

// start puts a configuration in force, opens its sockets and, before anybody is served there,
// restores the sessions. On an error no socket is left open.
func (s *server) start(ctx context.Context, cfg *Config) (err error) {
	s.tls = s.cert.tlsConfig()
	if s.tickets, err = loadTicketKeys(cfg.Data); err != nil {
		return err
	}
	s.tickets.use(s.tls)
	if err := s.tickets.renew(s.tls, time.Now()); err != nil {
		return err
	}
	if cfg.File == "" {
		if s.token, s.secret, err = developmentToken(cfg.Data); err != nil {
			return err
		}
	}
	if err := s.apply(cfg); err != nil {
		return err
	}
	if s.sockets, err = s.listen(); err != nil {
		return err
	}
	if s.others != nil {
		err = s.joinCluster(ctx)
	}
	if err == nil {
		err = s.restoreSessions(ctx)
	}
	if err == nil {
		err = s.restoreRooms()
	}
	if err != nil {
		for _, k := range s.sockets {
			k.Close()
		}
		return err
	}
	s.hooks.Start()
	return nil
}

// run serves until ctx ends or a socket fails, and then ends everything but
// the store. It reloads on a hangup.
func (s *server) run(ctx context.Context, hangup <-chan os.Signal) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	spare, spareTick := newSpareMemory(), time.NewTicker(spareInterval)
	defer spareTick.Stop()

	ended := make(chan error, len(s.sockets))
	for _, k := range s.sockets {
		go func() { ended <- k.serve(k.Listener) }()
		s.log.Info("listening", "kind", k.kind, "addr", k.Addr().String())
	}
	s.log.Info("ready", "version", buildVersion(), "domain", s.cfg.Domain, "data", s.cfg.Data)

	for {
		select {
		case <-ctx.Done():
			s.stop(ended, len(s.sockets))
			return nil
		case err := <-ended:
			s.stop(ended, len(s.sockets)-1)
			return fmt.Errorf("a listener failed: %w", err)
		case <-hangup:
			s.reload()
		case <-spareTick.C:
			spare.look()
		case <-tick.C:
			if s.files.changed() {
				s.reload()
			}
			s.heed(ctx)
			if err := s.tickets.renew(s.tls, time.Now()); err != nil {
				s.log.Error("the old keys stay in use", "err", err)
			}
		}
	}
}

// heed takes note of what another process, such as chatd user remove, has done to the store.
func (s *server) heed(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, watchInterval)
	defer cancel()
	changed, err := s.foreign(asking)
	s.unheeded = s.unheeded || changed
	ended := 0
	if err == nil && s.unheeded {
		s.db.Forget("")
		ended, err = s.accounts.EndOrphans(ctx)
		s.unheeded = err != nil && stanza.Passing(err)
	}
	if err != nil && ctx.Err() == nil && !stanza.Passing(err) { // of an outage the store itself tells
		s.log.Error("changes by other processes not heeded", "err", err)
	}
	if ended > 0 {
		s.log.Info("sessions ended whose account is gone", "sessions", ended)
	}
}

// stop ends sessions first: clients then know why, and what they were not sent
// is stored or, with sessions that can be resumed, kept.
func (s *server) stop(ended <-chan error, serving int) {
	s.log.Info("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout+time.Duration(s.cfg.C2S.DrainSeconds)*time.Second)
	defer cancel()
	if s.others != nil {
		s.others.Tell()
		s.moveRooms(ctx)
	}
	s.clients.OnDismiss = s.rooms.Farewell()
	err := errors.Join(s.clients.Shutdown(ctx), s.keepRooms(), s.rooms.Close(ctx))
	s.settle(ctx)
	if s.others != nil {
		err = errors.Join(err, s.others.Leave(ctx))
	}
	if lost := s.spool.Close(ctx); lost > 0 {
		s.log.Error("messages not stored", "messages", lost)
	}
	err = errors.Join(err, s.operators.Shutdown(ctx), s.hooks.Close(ctx))
	for range serving {
		err = errors.Join(err, <-ended)
	}
	if err != nil {
		s.log.Warn("stopped before all had ended", "err", err)
		return
	}
	s.log.Info("stopped")
}

// settle gives a store that fails, or is not known yet to work again, the time to take what this process alone has, while other nodes
// can still be told of it.
func (s *server) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout/2)
	defer cancel()
	if s.others != nil {
		s.others.Settle(ctx)
	}
	s.spool.Settle(ctx)
}

// reload reads the configuration and the certificate anew. All of it takes
// effect, or nothing.
func (s *server) reload() {
	s.files.note()
	next, differ, err := s.next()
	if err == nil {
		err = s.apply(next)
	}
	if err != nil {
		s.log.Error("not reloaded: everything stays as it was", "err", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	s.log.Info("reloaded")
	if len(differ) > 0 {
		s.log.Warn("takes effect when chatd is restarted", "keys", strings.Join(differ, " "))
	}
}

// next is the configuration to change to, and the keys that cannot change now.
func (s *server) next() (next *Config, differ []string, err error) {
	if s.cfg.File == "" {
		return s.cfg, nil, nil
	}
	if next, err = s.where.load(s.getenv); err != nil {
		return nil, nil, err
	}
	differ = next.keep(s.cfg)
	if errs := next.check(); len(errs) > 0 { // with the sockets that are open
		return nil, nil, errs
	}
	return next, differ, nil
}

// apply puts in force what can change while running. On an error nothing has.
func (s *server) apply(cfg *Config) error {
	loginTokens, err := tokenConfig(cfg)
	if err != nil {
		return err
	}
	if cfg.C2S.TLS != "off" {
		if err := s.cert.load(cfg, s.log); err != nil {
			return err
		}
	}
	s.tokens.Reload(loginTokens)
	s.logins.SetSCRAM(cfg.Auth.SCRAM)
	s.clients.Reload(s.clientConfig(cfg))
	s.friends.Reload(friendsConfig(cfg))
	s.rooms.Reload(cfg.MUC.Config)
	s.hooks.Reload(cfg.Webhooks)
	s.applyFilter(cfg)
	tokens := cfg.API.Tokens
	if s.token != nil {
		tokens = append(tokens[:len(tokens):len(tokens)], *s.token)
	}
	s.operators.SetTokens(tokens)
	s.cfg = cfg
	cert, key := certificateFiles(cfg)
	s.files.watch(cfg.File, cert, key, cfg.Auth.Token.JWKSFile)
	return nil
}

// applyFilter changes the filter if its configuration has changed.
func (s *server) applyFilter(cfg *Config) {
	want := filterConfig(cfg)
	if s.cfg != nil && reflect.DeepEqual(want, filterConfig(s.cfg)) {
		return
	}
	old := s.filter
	if want.URL == "" {
		s.filter = nil
		s.router.SetFilter(nil)
	} else {
		s.filter = s.hooks.NewFilter(want)
		s.router.SetFilter(s.filter)
	}
	if old != nil {
		old.Close()
	}
}

// friendsConfig is what applies to friends lists.
func friendsConfig(cfg *Config) roster.Config {
	var require router.Requirement
	if cfg.Message.RequireFriendship {
		require |= router.ForMessages
	}
	for _, what := range cfg.Rules.RequireFriendship {
		require |= map[string]router.Requirement{
			"messages": router.ForMessages, "presence": router.ForPresence, "invitations": router.ForInvitations,
		}[what]
	}
	return roster.Config{MaxContacts: cfg.Roster.MaxContacts, RequestsPerMinute: cfg.Rules.RequestsPerMinute, Require: require}
}

func (s *server) clientConfig(cfg *Config) c2s.Config {
	c := c2s.Config{
		TLS:                    s.tls,
		RequireTLS:             cfg.C2S.TLS == "required",
		MaxStanzaBytes:         cfg.C2S.MaxStanzaBytes,
		Registration:           cfg.C2S.Registration,
		RegistrationsPerMinute: cfg.C2S.RegistrationsPerMinute,
		ConnectionsPerAddress:  cfg.C2S.ConnectionsPerAddress,
		StanzasPerSecond:       cfg.C2S.Limits.StanzasPerSecond,
		StanzaBurst:            cfg.C2S.Limits.StanzaBurst,
		BytesPerSecond:         cfg.C2S.Limits.BytesPerSecond,
		ByteBurst:              cfg.C2S.Limits.ByteBurst,
		LoginsPerSecond:        cfg.C2S.Limits.LoginsPerSecond,
		ResourcesPerUser:       cfg.C2S.ResourcesPerUser,
		ResumeTime:             time.Duration(cfg.C2S.ResumeSeconds) * time.Second,
		UnackedStanzas:         cfg.C2S.UnackedStanzas,
		UnackedBytes:           cfg.C2S.UnackedBytes,
		Address:                cfg.C2S.Address,
		DrainTime:              time.Duration(cfg.C2S.DrainSeconds) * time.Second,
		DrainTo:                cfg.C2S.DrainTo,
		Conflict: map[string]c2s.ConflictPolicy{
			"replace": c2s.Replace, "refuse": c2s.Refuse, "rename": c2s.Rename,
		}[cfg.C2S.ResourceConflict],
		ProxyFrom:    prefixes(cfg.C2S.ProxyProtocolFrom),
		WebProxyFrom: prefixes(cfg.HTTP.ProxyProtocolFrom),
		WebTLS: map[string]c2s.WebTLS{
			"on": c2s.WebOwn, "proxy": c2s.WebProxy, "off": c2s.WebNone,
		}[cfg.HTTP.TLS],
		WebURL: cfg.HTTP.URL,
	}
	if cfg.C2S.TLS == "off" {
		c.TLS = nil
	}
	return c
}

// nodeName is what this node is called.
func nodeName(cfg *Config) string {
	if cfg.Cluster.Node != "" {
		return cfg.Cluster.Node
	}
	name, err := os.Hostname()
	if err != nil {
		return cfg.Domain
	}
	return name
}

// ready says whether clients should be sent here: the node is not stopping, and the store can be read and
// written. Its sockets are open before anybody can ask.
func ready(serving context.Context, db *guard.Store) func(context.Context) error {
	return func(ctx context.Context) error {
		if serving.Err() != nil {
			return api.NotReady("stopping", serving.Err())
		}
		if _, err := db.ListAccounts(ctx, "", 1); err != nil {
			return api.NotReady("store", err)
		}
		if what, since := db.Failing(); what != "" {
			return api.NotReady("store", fmt.Errorf("no %s since %s", what, since.UTC().Format(time.RFC3339)))
		}
		return nil
	}
}
