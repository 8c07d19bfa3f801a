package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatd/c2s"
	"chatd/cluster"
	"chatd/muc"
	"chatd/roster"
	"chatd/router"
	"chatd/stanza"
	"chatd/xep"
)

// clusterConfig is what makes a node of this process.
func clusterConfig(cfg *Config, log *slog.Logger) cluster.Config {
	return cluster.Config{
		Node: cfg.Cluster.Node, Domain: cfg.Domain, Gossip: cfg.Cluster.Gossip, Link: cfg.Cluster.Link,
		AdvertiseGossip: cfg.Cluster.AdvertiseGossip, AdvertiseLink: cfg.Cluster.AdvertiseLink,
		Join: cfg.Cluster.Join, Secret: cfg.Cluster.Secret, Weight: cfg.Cluster.Weight, Log: log,
	}
}

// incarnationFile has the number of this node's last process, by which the others know whether they have met all that were before it.
const incarnationFile = "incarnation"

// joinCluster makes this process a node of the cluster.
func (s *server) joinCluster(ctx context.Context) error {
	cfg, path := clusterConfig(s.cfg, s.log), filepath.Join(s.cfg.Data, incarnationFile)
	text, err := os.ReadFile(path)
	if err == nil {
		cfg.Previous, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("not known which process of this node was before this one", "file", path, "err", err)
	}
	if err := s.others.Start(ctx, cfg); err != nil {
		return err
	}
	s.others.Register(s.metrics)
	return replaceFile(path, 0o600, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, s.others.Incarnation())
		return err
	})
}

// joined is what a node of a cluster consists of besides the rest of a server.
type joined struct {
	*cluster.Service
	serving  context.Context // ends when this node begins to stop
	self     c2s.Node
	friends  *roster.Service
	blocking *xep.Blocking
	avatar   *xep.Avatar
	offline  *xep.Offline
	clients  *c2s.Server
	table    *router.Table
	rooms    *muc.Service
	forget   func(user string) // drops what is in memory of the store
	log      *slog.Logger
}

// connect makes sessions here and on other nodes one.
func (j *joined) connect() {
	j.Sessions = cluster.Sessions{
		Stale: j.stale, Forget: j.forget, Look: j.look, Lost: j.friends.Lost, Found: j.friends.Found, Appeared: j.friends.Appeared,
		Yield: j.yield, Restore: j.restore, Adopt: j.adopt,
	}
	j.friends.Nodes, j.friends.Serving = true, j.serving
	j.offline.Had, j.offline.Stored = j.Had, j.Stored
	j.rooms.Place = place{j.Rooms}
	j.Rooms.Frame, j.Rooms.Placed, j.Rooms.Overflowed = j.rooms.Frame, j.rooms.Placed, j.rooms.Overflowed
	j.Rooms.Down = func(node string, left bool, unacked []cluster.RoomFrame) {
		frames := make([]muc.Frame, len(unacked))
		for i := range unacked {
			frames[i] = muc.Frame(unacked[i])
		}
		j.rooms.Down(node, left, frames)
	}
	j.clients.Fetch = j.fetch
	j.clients.HandOver = j.handOver
	j.clients.OnResume = j.resume
	prepare := j.clients.OnBind
	j.clients.OnBind = func(ctx context.Context, sess router.Session) error {
		err := prepare(ctx, sess)
		if err == nil && sess.State().Presence.Load() != nil { // the session was another node's
			j.introduce(ctx, sess)
		}
		return err
	}
	j.clients.Nodes = j.nodes
	j.About = func() []byte {
		self := j.self
		if j.serving.Err() != nil {
			self.Weight = 0 // no more clients
		}
		text, err := json.Marshal(self)
		if err != nil { // strings and numbers
			panic(err)
		}
		return text
	}
}

// nodes is how clients reach the nodes that are there, this one first unless it is about to stop.
func (j *joined) nodes() []c2s.Node {
	all := []c2s.Node{}
	if j.serving.Err() == nil {
		all = append(all, j.self)
	}
	abouts := j.Abouts()
	for _, name := range slices.Sorted(maps.Keys(abouts)) {
		n := c2s.Node{Name: name}
		if err := json.Unmarshal(abouts[name], &n); err == nil && n.Name == name && n.Weight > 0 {
			all = append(all, n)
		}
	}
	return all
}

// stale brings up to date what is kept here of a user whom another node has changed.
func (j *joined) stale(ctx context.Context, user stanza.JID, what router.Kept) {
	j.forget(user.Local())
	if what&router.KeptFriends != 0 {
		j.friends.Forget(user)
	}
	reload := func(kept router.Kept, load func(context.Context, stanza.JID) error) {
		if what&kept == 0 {
			return
		}
		if err := load(ctx, user); err != nil {
			j.log.Error("a change by another node is not in force here", "user", user, "err", err)
		}
	}
	reload(router.KeptBlocklist, j.blocking.Reload)
	reload(router.KeptPrivacy, j.friends.ReloadPrivacy)
	reload(router.KeptProfile, j.avatar.Reload)
}

func (j *joined) look(ctx context.Context, user stanza.JID) {
	j.forget(user.Local())
	j.offline.Look(ctx, user)
}

func (j *joined) yield(id, user string) ([]byte, error) {
	x, err := j.clients.Yield(id, user)
	if err != nil {
		return nil, err
	}
	return json.Marshal(j.leaves(x))
}

// marked notes of a session that moves whether this node may have told it and its contacts of each other what is not so elsewhere.
func (j *joined) marked(x *c2s.Suspended) *c2s.Suspended {
	x.Strayed = x.Strayed || j.Uncertain()
	return x
}

// freshFor is for how long what a session has asked for when it came may be on its way to it: longer than a link can be silent that is not missed.
const freshFor = 3 * time.Second

// leaves is marked for a session of this node's, which takes along what came for it, too: nodes that do not know that have stored it, or are about to.
func (j *joined) leaves(x *c2s.Suspended) *c2s.Suspended {
	for _, u := range x.Unacked {
		if st, err := stanza.Parse([]byte(u.Stanza)); err == nil && router.Storable(st) {
			j.Stored(st.WrittenID())
		}
	}
	if full, err := stanza.ParseJID(x.JID); err == nil {
		var had []router.Given
		for _, id := range j.HadBy(full) {
			had = append(had, router.Given{ID: string(id[:]), Had: true})
		}
		x.Handed = append(had, x.Handed...) // of too many it is these that are forgotten
	}
	x.Strayed = x.Strayed || time.Since(x.Begun) < freshFor // the answers of its contacts' nodes would come here
	return j.marked(x)
}

func (j *joined) fetch(ctx context.Context, id, user string) (*c2s.Suspended, error) {
	session, kept, err := j.Service.Fetch(ctx, id, user)
	if err != nil {
		return nil, err
	}
	x := new(c2s.Suspended)
	if err := json.Unmarshal(session, x); err != nil {
		return nil, fmt.Errorf("session of another node: %w", err)
	}
	kept()
	j.moved(x)
	return j.marked(x), nil
}

// resume is c2s.Server.OnResume.
func (j *joined) resume(ctx context.Context, s router.Session, attached func()) {
	if s.State().Strayed.Load() {
		j.settle(ctx, s)
	}
	j.offline.HandOver(ctx, s, attached)
}

// settle has a session that came here during a split, and its contacts, know of each other what is so from here.
func (j *joined) settle(ctx context.Context, s router.Session) {
	var b router.Batch
	defer b.Flush()
	if err := j.friends.Moved(ctx, &b, s); err != nil {
		j.log.Log(ctx, stanza.FaultLevel(err), "presence not brought up to date", "jid", s.JID(), "err", err)
	}
}

// introduce has a session that came here and those who became available at the same moment see one another.
func (j *joined) introduce(ctx context.Context, sess router.Session) {
	if tell := j.friends.Appeared(sess.JID()); tell != nil {
		tell(ctx)
	}
}

// moved makes a session that has been another node's bound here last: that one's row of it may be seen for a moment longer, and is
// not to win.
func (j *joined) moved(x *c2s.Suspended) { x.Begun = j.Now() }

// restore takes back a session as old as it is: the client may have bound another one since, which stays.
func (j *joined) restore(ctx context.Context, session []byte) {
	x := new(c2s.Suspended)
	if err := json.Unmarshal(session, x); err != nil {
		j.log.Error("session not restored", "err", err)
		return
	}
	j.clients.Restore(ctx, x)
}

// clientNode is how clients reach this node.
func clientNode(cfg *Config) c2s.Node {
	return c2s.Node{Name: cfg.Cluster.Node, Address: cfg.C2S.Address, URL: cfg.HTTP.URL, Weight: cfg.Cluster.Weight}
}

// handOver is c2s.Server.HandOver.
func (j *joined) handOver(ctx context.Context, id string, give func() *c2s.Suspended) error {
	return j.Service.HandOver(ctx, id, func() ([]byte, error) { return json.Marshal(j.leaves(give())) })
}

var errNotAdopted = errors.New("the session cannot go on here")

func (j *joined) adopt(ctx context.Context, session []byte) error {
	x := new(c2s.Suspended)
	if err := json.Unmarshal(session, x); err != nil {
		return err
	}
	full, err := stanza.ParseJID(x.JID)
	if err != nil || j.BoundAfter(full, x.Begun) {
		return errNotAdopted // its client has not waited for it
	}
	j.moved(x)
	j.marked(x) // until its client comes: it may move on before it is settled here
	ctx = context.WithoutCancel(ctx)
	if j.clients.Import(ctx, []*c2s.Suspended{x}) == 0 {
		return errNotAdopted
	}
	if row, ok := j.table.Row(full); ok && !row.Remote && x.Strayed {
		j.settle(ctx, row.Session)
	}
	return nil
}

// A place is where rooms are, as they have it.
type place struct{ *cluster.Rooms }

// Token implements muc.Place.
func (p place) Token() muc.Token { return muc.Token(p.Rooms.Token()) }
