package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// Kinds of the frames about stanzas and sessions.
const (
	kindStanza byte = 20 // full JID of the resource that it is for, stanza
	kindEnd    byte = 21 // full JID of a session to end, condition, text
	kindStale  byte = 22 // bare JID, what (router.Kept)
	kindLook   byte = 23 // bare JID of a user for whom messages were stored
	kindKept   byte = 24 // id of a session that was taken over and is kept now
	kindAbout  byte = 25 // what Service.About says
	kindHeld   byte = 26 // bare JID of a user for whom messages were stored, while a node is missing
	kindAfter  byte = 27 // incarnation of the node's process before this one
	kindForget byte = 28 // name of a node that is gone for good
)

// Kinds of requests.
const (
	askTake  byte = 40 // full JID: its session is to end
	askYield byte = 41 // id, localpart of the user: the session is to be handed over
	askAdopt byte = 42 // session: it is to go on there
)

// Sessions is what the service needs of those who have the sessions of this node. All fields are set before Start; all
// functions may block on the store.
type Sessions struct {
	// Stale brings up to date what sessions and caches here keep of a user, whom another node has changed.
	Stale func(ctx context.Context, user stanza.JID, what router.Kept)
	// Forget drops what is in memory of the store of a user who logs in here, or of all if user is empty: another node has just ended or given away the user's
	// session, and may have stored what its client had not acknowledged, or it has stored what it can not tell of. It does not block.
	Forget func(user string)
	// Look hands over what waits for a user who has reachable sessions here, and returns when that has been done.
	Look func(ctx context.Context, user stanza.JID)
	// Yield gives up the session of an id for another node, in an encoding of its own.
	Yield func(id, user string) ([]byte, error)
	// Adopt goes on with a session of another node's Yield, until its client comes.
	Adopt func(ctx context.Context, session []byte) error
	// Restore takes a session back that the other node has not kept, or ends it if this one is about to leave.
	Restore func(ctx context.Context, session []byte)
	// Lost tells the users here that resources of others are gone with their node. gone says which a user, a bare JID, had there.
	Lost func(ctx context.Context, gone func(user stanza.JID) []stanza.JID)
	// Appeared is told of each resource of another node's that has become available. What it returns, if not nil, is run soon. It must not block.
	Appeared func(full stanza.JID) (soon func(context.Context))
	// Found tells a node that has come the presence of the users here.
	Found func(ctx context.Context, node string)
}

// A Service makes the resources of other nodes reachable for a router, and this node's for the others. It is the
// router's Elsewhere, and the Handler of the links.
type Service struct {
	Sessions Sessions
	Rooms    *Rooms // whose fields are set before Start
	// About is what the other nodes are told of this one, in an encoding of the caller's. It is called when a node comes up, and by Tell.
	About func() []byte

	r        *router.Router
	name     string // this node's
	log      *slog.Logger
	rows     *Rows
	replica  *Replica
	node     *Node                // set by Start
	previous uint64               // likewise
	started  atomic.Pointer[Node] // the same, for those whom nodes may reach before Start returns; nil until then
	arrivals arrivals
	held     held
	had      had
	moving   moving
	back     moving // those of them whose messages come from a link that is down
	receding receding
	missing  missing
	returned returned
	yielded  yielded
	about    sync.Map // *Peer to string: what it has said of itself
	giving   giving
	givenTo  atomic.Uint32 // counts, for taking turns
	bad      atomic.Uint64 // frames that could not be used
	seldom   seldom

	ctx     context.Context // of what goes on in the background
	cancel  context.CancelFunc
	leaving context.Context // done: what arrives waits for nothing any more; before ctx
	leave   context.CancelFunc
	work    sync.WaitGroup
}

// New makes the service of a node whose router has no rows yet.
func New(r *router.Router, cfg Config) *Service {
	s := &Service{r: r, name: cfg.Node, log: cfg.Log, node: nil}
	s.Rooms = &Rooms{s: s}
	s.replica = NewReplica(ReplicaConfig{Placed: s.Rooms.placed, Node: cfg.Node, Secret: cfg.Secret, Log: cfg.Log, Duplicate: s.duplicate, Arrived: s.appeared, Receded: s.receded, Complete: s.complete, Settled: s.Rooms.settled})
	s.rows = s.replica.Rows
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.leaving, s.leave = context.WithCancel(s.ctx)
	r.Table.Elsewhere = s
	return s
}

// Start joins the cluster. It returns when the node can be reached by the others, whether or not there are any.
func (s *Service) Start(ctx context.Context, cfg Config) (err error) {
	s.previous = cfg.Previous
	s.arrivals.start(func() dealer { return newArrival(s) })
	s.background(s.replica.Run)
	if s.node, err = Start(ctx, cfg, s); err == nil {
		s.started.Store(s.node)
	}
	return err
}

// Incarnation is that of this process, after Start: for Config.Previous of the next one.
func (s *Service) Incarnation() uint64 { return s.node.Incarnation }

// Settle waits until what has come back from links to nodes that are gone is in the store, or ctx ends. What is stored after Leave nobody
// hears of.
func (s *Service) Settle(ctx context.Context) { s.moving.wait(ctx) }

// Leave tells the others that this node goes, and leaves. What its sessions were to be sent the others keep from then on.
func (s *Service) Leave(ctx context.Context) error {
	s.leaveYielded(ctx)
	s.leaveSent(ctx)
	s.leaveHeld()
	err := s.node.Leave(ctx)
	s.leave()
	s.arrivals.stop()
	s.leaveYielded(ctx) // that were given since
	s.cancel()
	s.work.Wait()
	return err
}

// Retire has the rooms whose home is this node moved to others, before it leaves.
func (s *Service) Retire() { s.replica.Retire() }

// Rows implements router.Elsewhere.
func (s *Service) Rows(rows []router.Row, user stanza.JID) []router.Row {
	var room [4]RemoteRow
	remote := s.rows.Append(room[:0], user)
	for i := range remote {
		if p, ok := remote[i].Owner.Peer.(*Peer); ok && !s.outdone(&remote[i], rows, remote) {
			rows = append(rows, s.remoteRow(&remote[i], p))
		}
	}
	return rows
}

// outdone reports whether a row's full JID was bound later elsewhere: its session is about to end there, and would pass on what it is sent to the one that the
// other row is for, which has had it then.
func (s *Service) outdone(row *RemoteRow, local []router.Row, remote []RemoteRow) bool {
	for i := range local {
		if !local[i].Remote && local[i].Session.JID() == row.JID && Wins(local[i].Session.State().Begun.UnixNano(), s.name, row.Bound, row.Owner.Node) {
			return true
		}
	}
	for i := range remote {
		if o := &remote[i]; o.JID == row.JID && Wins(o.Bound, o.Owner.Node, row.Bound, row.Owner.Node) {
			return true
		}
	}
	return false
}

// Clock implements router.Elsewhere.
func (s *Service) Clock() uint64 { return s.rows.Clock() }

// Now implements router.Elsewhere.
func (s *Service) Now() time.Time { return time.Unix(0, s.replica.Stamp()) }

// Intern implements router.Elsewhere.
func (s *Service) Intern(raw []byte) (stanza.JID, bool) { return s.rows.Intern(raw) }

// Changed implements router.Elsewhere.
func (s *Service) Changed(row router.Row) {
	s.replica.Changed(Row{
		JID: row.Session.JID(), Bound: row.Session.State().Begun.UnixNano(),
		Priority: row.Priority, Flags: row.Flags, Available: row.Available, Detached: row.Stored(),
	})
}

// Gone implements router.Elsewhere.
func (s *Service) Gone(row router.Row) { s.replica.Gone(row.Session.JID()) }

// Stale implements router.Elsewhere.
func (s *Service) Stale(user stanza.JID, what router.Kept) {
	for _, p := range s.peers() {
		p.Send(kindStale, appendTo(nil, user), []byte{byte(what)})
	}
}

// Take implements router.Elsewhere.
func (s *Service) Take(ctx context.Context, full stanza.JID) error {
	row, ok := s.rows.Row(full)
	if !ok {
		return nil
	}
	p, ok := row.Owner.Peer.(*Peer)
	if !ok {
		return nil
	}
	defer s.Sessions.Forget(full.Local())
	_, err := p.Request(ctx, askTake, []byte(full.String()))
	return err
}

func (s *Service) peers() []*Peer {
	n := s.started.Load()
	if n == nil {
		return nil
	}
	return n.Peers()
}

// PeerUp implements Handler.
func (s *Service) PeerUp(p *Peer) {
	s.returned.expect(p.Name, p.Incarnation)
	s.Rooms.rises(p)
	p.Send(kindAbout, s.About())
	p.Send(kindAfter, binary.BigEndian.AppendUint64(nil, s.previous))
	s.replica.PeerUp(p, p.Name, p.Incarnation)
}

// Tell tells all nodes anew what About says.
func (s *Service) Tell() {
	for _, p := range s.peers() {
		p.Send(kindAbout, s.About())
	}
}

// Abouts is what each other node that is up has said of itself, by name.
func (s *Service) Abouts() map[string][]byte {
	all := make(map[string][]byte)
	for _, p := range s.peers() {
		if text, ok := s.about.Load(p); ok {
			all[p.Name] = []byte(text.(string))
		}
	}
	return all
}

// PeerDown implements Handler. From before the node's rows are gone until what comes back is in the store, messages for the users whom
// that is for wait.
func (s *Service) PeerDown(p *Peer, unacked []Frame, left bool) {
	s.Sessions.Forget("")
	r := s.returned.begin(p, unacked)
	s.moving.begin(r.users)
	s.back.begin(r.users)
	s.missing.set(p.Name, !left)
	s.had.down(p)
	s.about.Delete(p)
	s.Rooms.leaves(p, left, unacked)
	lost := s.replica.PeerDown(p)
	s.Rooms.hidden(p)
	s.background(func(ctx context.Context) {
		s.takeBack(ctx, unacked, r)
		close(p.back)
	})
	s.background(func(ctx context.Context) { // which is not to wait for the store
		s.tellLost(ctx, lost)
		s.replica.Release(lost)
	})
	if p.hearsay { // nor could it say for whom it has stored what it had to send here
		met := s.Now()
		s.background(func(ctx context.Context) { s.seek(ctx, met) })
	}
}

// PeerForgotten implements Handler: what may have been told to users here, or stored for them, by a node that is looked for no more does not count.
func (s *Service) PeerForgotten(name string) {
	s.missing.forget(name)
	s.returned.expect(name, 0)
}

// ForgetNode has this node and those that it reaches give up one that is gone for good.
func (s *Service) ForgetNode(name string) error {
	if err := s.node.Forget(name); err != nil {
		return err
	}
	for _, p := range s.peers() {
		p.Send(kindForget, []byte(name))
	}
	return nil
}

// Frame implements Handler. What may have to wait for the store does so elsewhere.
func (s *Service) Frame(p *Peer, kind byte, seq uint64, payload []byte) {
	switch {
	case kind < 20:
		s.replica.Frame(p, kind, payload)
		return
	case kind >= firstRoomKind && kind <= lastRoomKind:
		room, _, ok := cutTo(payload)
		p.Later(seq)
		if !ok || !s.arrivals.put(room, job{kind: kind, peer: p, seq: seq}, payload) {
			s.Rooms.overflowed(p.Name, payload, kind)
			p.Settled(seq)
		}
		return
	}
	switch kind {
	case kindStanza, kindEnd, kindStale, kindLook, kindHeld:
		to, _, ok := cutTo(payload)
		if !ok {
			s.malformed(p.Name, kind)
			return
		}
		p.Later(seq)
		if !s.arrivals.put(bareOf(to), job{kind: kind, peer: p, seq: seq}, payload) {
			s.overflowed(kind, payload)
			p.Settled(seq)
		}
	case kindKept:
		s.yielded.kept(string(payload))
	case kindAbout:
		s.about.Store(p, string(payload))
	case kindAfter:
		if len(payload) != 8 {
			s.malformed(p.Name, kind)
			return
		}
		s.missing.after(p.Name, binary.BigEndian.Uint64(payload))
	case kindForget:
		if n := s.started.Load(); n != nil && errors.Is(n.Forget(string(payload)), ErrNodeThere) {
			s.log.Warn("cluster: a node that another one has forgotten is there and stays", "name", string(payload), "peer", p.Name)
		}
	default:
		p.Unknown(kind)
	}
}

// malformed counts and, once in a while, logs a frame that no node sends that works.
func (s *Service) malformed(from string, kind byte) {
	s.bad.Add(1)
	if s.seldom.may("malformed " + from) {
		s.log.Error("cluster: a frame cannot be used", "peer", from, "kind", kind)
	}
}

// tellLost tells the users here of the resources that an owner had. It looks these up one by one: there may be many more of them than users here have friends.
func (s *Service) tellLost(ctx context.Context, o *Owner) {
	if o == nil || o.Len() == 0 || s.r.Table.Len() == 0 {
		return
	}
	s.Sessions.Lost(ctx, func(user stanza.JID) (gone []stanza.JID) {
		var room [4]RemoteRow
		for _, row := range s.rows.appendOf(room[:0], o, user) {
			if row.Available {
				gone = append(gone, row.JID.Clone())
			}
		}
		return gone
	})
}

// seekAfter is how long after a node is back its users' nodes look for what was stored by others that are gone, and seekPause the time
// between two users.
const (
	seekAfter = 5 * time.Second
	seekPause = time.Millisecond
)

// complete is called when all rows of a node are known, for the first time or after a gap.
func (s *Service) complete(o *Owner) {
	s.Sessions.Forget("") // before met: who is bound later is handed what that node has stored
	unknown, met := s.missing.set(o.Node, false), s.Now()
	unknown = s.missing.meet(o.Node, o.Incarnation) || unknown
	s.background(func(ctx context.Context) {
		for _, bare := range s.held.all() {
			if j, err := stanza.ParseJID(bare); err == nil {
				s.tellHeld(j)
			}
		}
		s.Sessions.Found(ctx, o.Node)
		if unknown {
			s.seek(ctx, met)
		}
	})
}

// seek looks for what waits for the users who were here already when a node was met. Who has stored it during a split says so; but that
// node may be gone since. It ends when the next node is missed: what comes back from the link to that one may be in the store although it
// is known here.
func (s *Service) seek(ctx context.Context, met time.Time) {
	pause := time.NewTimer(seekAfter)
	defer pause.Stop()
	for row := range s.r.Table.All() {
		if row.Session.State().Begun.After(met) {
			continue // and was handed everything
		}
		for steady := false; !steady; steady = s.node.steady() {
			select {
			case <-pause.C:
				pause.Reset(seekPause)
			case <-ctx.Done():
				return
			}
			if s.missing.any() {
				return
			}
		}
		if row.Reachable() {
			s.Sessions.Look(ctx, row.Session.JID())
		}
	}
}

// duplicate ends the session here of a full JID that another node has bound later.
func (s *Service) duplicate(local Row, remote RemoteRow) {
	if Wins(local.Bound, s.name, remote.Bound, remote.Owner.Node) {
		return
	}
	for _, row := range s.r.Table.Local(local.JID) {
		if row.Session.JID() == local.JID && row.Session.State().Begun.UnixNano() == local.Bound && row.Wait != row.Session.Done() {
			s.log.Info("resource is bound on two nodes: the session here ends", "jid", local.JID, "node", remote.Owner.Node)
			s.r.Table.Ending(row.Session) // what is sent from now on goes to the other one, behind what this one leaves
			row.Session.Close(stanza.StreamConflict)
		}
	}
}

// bareOf is the bare JID of a JID, both as text.
func bareOf(j []byte) []byte {
	for i, c := range j {
		if c == '/' {
			return j[:i]
		}
	}
	return j
}

var errRequest = errors.New("cluster: a request of a kind that this version does not know")

// Request implements Handler.
func (s *Service) Request(ctx context.Context, p *Peer, kind byte, payload []byte) ([]byte, error) {
	switch kind {
	case askTake:
		return nil, s.give(ctx, string(payload))
	case askYield:
		return s.yield(ctx, p, payload)
	case askAdopt:
		return nil, s.Sessions.Adopt(ctx, payload)
	}
	return nil, errRequest
}

// background runs work that ends with the service.
func (s *Service) background(work func(ctx context.Context)) {
	s.work.Go(func() { work(s.ctx) })
}
