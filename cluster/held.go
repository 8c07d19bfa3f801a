package cluster

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chatd/stanza"
)

const (
	// heldTime is for how long a user for whom a message was stored is remembered: longer than a node's word that
	// the user has come takes to get here. While a node is missing nobody is forgotten.
	heldTime = 30 * time.Second
	// heldMax bounds those who are remembered. Over it the oldest are forgotten; what waits for them is handed over at
	// their next login, or when their own node meets another one again.
	heldMax = 1 << 16
)

// Held remembers for whom messages were stored lately. Such a user may be on another node, or have come there just before
// the message was stored and after all that waited was handed over. That node has to look into the store before
// it gets anything more for the user.
type held struct {
	count atomic.Int32  // of users
	notes atomic.Uint64 // that were ever made

	mu    sync.Mutex
	users map[string]*heldUser // by bare JID
	order []*heldUser          // oldest first; those who are not in users any more are void
}

type heldUser struct {
	bare string
	at   time.Time
	told []*Peer // where it was looked since then
}

// add notes a user anew, and forgets those of whom it is long ago unless keep.
func (h *held) add(bare string, now time.Time, keep bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users == nil {
		h.users = make(map[string]*heldUser)
	}
	h.notes.Add(1)
	u := &heldUser{bare: bare, at: now}
	h.users[bare] = u
	h.order = append(h.order, u)
	gone := 0
	for _, old := range h.order {
		void := h.users[old.bare] != old
		if !void && len(h.users) <= heldMax && (keep || now.Sub(old.at) < heldTime) {
			break
		}
		if !void {
			delete(h.users, old.bare)
		}
		gone++
	}
	h.order = slices.Delete(h.order, 0, gone)
	if len(h.order) > 2*len(h.users)+64 {
		h.order = slices.DeleteFunc(h.order, func(u *heldUser) bool { return h.users[u.bare] != u })
	}
	h.count.Store(int32(len(h.users)))
}

// look calls tell if a user was noted whom a peer has not looked for since. Nobody else gets past it meanwhile.
func (h *held) look(bare string, p *Peer, tell func() bool) {
	if h.count.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if u := h.users[bare]; u != nil && !slices.Contains(u.told, p) && tell() {
		u.told = append(u.told, p)
	}
}

// appendTold adds the peers that have been told to look for a user to some others.
func (h *held) appendTold(peers []*Peer, bare string) []*Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if u := h.users[bare]; u != nil {
		for _, p := range u.told {
			if !slices.Contains(peers, p) {
				peers = append(peers, p)
			}
		}
	}
	return peers
}

// all is those who are noted.
func (h *held) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	users := make([]string, 0, len(h.users))
	for bare := range h.users {
		users = append(users, bare)
	}
	return users
}

// Held implements router.Elsewhere: the nodes where the user is are told, now and if the user turns up.
func (s *Service) Held(user stanza.JID) {
	bare := user.Bare().Clone()
	split := s.missing.any()
	s.held.add(bare.String(), time.Now(), split)
	s.tellHeld(bare)
	if !split || s.returned.doubts(bare.String()) || s.moving.of(bare) != nil { // then the missing one has to say first what it had
		return
	}
	s.passHeld(bare)
}

// passHeld has the other nodes remember a user, too: they may reach the one that is missing here.
func (s *Service) passHeld(bare stanza.JID) {
	for _, p := range s.peers() {
		p.Send(kindHeld, appendTo(nil, bare))
	}
}

// leaveHeld passes on all who are remembered during a split, since this node will not be there when it ends.
func (s *Service) leaveHeld() {
	if !s.missing.any() {
		return
	}
	for _, bare := range s.held.all() {
		if j, err := stanza.ParseJID(bare); err == nil {
			s.passHeld(j)
		}
	}
}

// leaveSent waits for what was sent to the other nodes: they have dealt with it, or it has come back and is in the store before those that
// can be reached are told for whom (leaveHeld).
func (s *Service) leaveSent(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*downAfter)
	defer cancel()
	for _, p := range s.peers() {
		p.Confirm(ctx)
	}
}

// tellHeld has the nodes where a user is look for what waits.
func (s *Service) tellHeld(user stanza.JID) {
	var room [4]RemoteRow
	for _, row := range s.rows.Append(room[:0], user) {
		if p, ok := row.Owner.Peer.(*Peer); ok && row.Available {
			s.lookFirst(user, p)
		}
	}
}

// lookFirst has a node look for what waits for a user before anything else for the user gets there that is sent from now on.
func (s *Service) lookFirst(user stanza.JID, p *Peer) {
	bare := user.Bare()
	if s.moving.of(bare) != nil {
		return // told when all is in the store
	}
	s.held.look(bare.String(), p, func() bool {
		_, ok := p.Send(kindLook, appendTo(nil, bare))
		return ok
	})
}

// appeared is called for each row of another node that has become available.
func (s *Service) appeared(row Row, o *Owner) {
	if p, ok := o.Peer.(*Peer); ok && row.Available {
		s.lookFirst(row.JID, p)
		if tell := s.Sessions.Appeared(row.JID); tell != nil {
			s.background(tell)
		}
	}
}

// recedeTimeout bounds how long is waited for a node that does not confirm what it was sent before.
const recedeTimeout = 5 * time.Second

// Receding is the users with rows of other nodes that take no more messages. What was sent there and is not confirmed finds
// another way from there, or from here if the node dies; what is sent from now on waits, so that it does not overtake that (RFC 6120 §10.1).
type receding struct {
	mu    sync.Mutex
	users map[*Peer]map[string]bool // by bare JID: for whom it has yet to be waited; with an entry, somebody waits
}

// receded implements ReplicaConfig.
func (s *Service) receded(full stanza.JID, o *Owner) {
	p, ok := o.Peer.(*Peer)
	if !ok {
		return
	}
	if frames, _ := p.Queued(); frames == 0 && p.Down() == nil { // what has just come back from a link is about to be stored
		return
	}
	r := &s.receding
	bare := full.Bare().Clone().String()
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting, serving := r.users[p]
	if waiting[bare] {
		return
	}
	s.moving.begin(map[string]bool{bare: true})
	if r.users == nil {
		r.users = make(map[*Peer]map[string]bool)
	}
	if waiting == nil {
		r.users[p] = make(map[string]bool)
	}
	r.users[p][bare] = true
	if !serving {
		s.background(func(ctx context.Context) { s.recede(ctx, p) })
	}
}

// recede waits for what a node was sent, and again as long as more users have come meanwhile.
func (s *Service) recede(ctx context.Context, p *Peer) {
	for users := s.receding.take(p); users != nil; users = s.receding.take(p) {
		waiting, cancel := context.WithTimeout(ctx, recedeTimeout)
		p.Confirm(waiting)
		cancel()
		s.moved(users)
	}
}

// take is for whom to wait next; nil: for nobody, and nobody waits any more.
func (r *receding) take(p *Peer) map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	users := r.users[p]
	if users == nil {
		delete(r.users, p)
		return nil
	}
	r.users[p] = nil
	return users
}

// Split reports whether a node is missing that did not leave.
func (s *Service) Split() bool { return s.missing.any() }

// reunion is for how long after nodes have met what they tell each other's users (Sessions.Found) may be on its way to where a session was before.
const reunion = 2 * time.Second

// Uncertain reports whether a node is missing or was just now, or this one may be missed by another: what its users and others have been told of one
// another may differ from what nodes know that see all.
func (s *Service) Uncertain() bool {
	n := s.started.Load()
	return n == nil || s.Split() || !n.steady() || !n.whole() || s.missing.lately(time.Now())
}

// Missing is which nodes are down and did not leave, of all that this node has met and not forgotten.
type missing struct {
	mu    sync.Mutex
	nodes map[string]bool   // by name: whether it is missing
	count int               // of those that are
	met   time.Time         // when one came, or came back, last
	last  map[string]uint64 // the last incarnation met, by name
	unmet map[string]bool   // by name
}

// after notes which process of a node was before the one that has come, as that says.
func (m *missing) after(node string, previous uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if last, met := m.last[node]; met && last != previous {
		if m.unmet == nil {
			m.unmet = make(map[string]bool)
		}
		m.unmet[node] = true
	}
}

// meet notes a process of a node, and reports whether there was another one since the last that this node has met: what that had stored for users
// here is not known.
func (m *missing) meet(node string, incarnation uint64) (unknown bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	unknown = m.unmet[node]
	delete(m.unmet, node)
	if m.last == nil {
		m.last = make(map[string]uint64)
	}
	m.last[node] = incarnation
	return unknown
}

// set notes whether a node is missing, and reports whether what it had stored for users here may not be known: it was missing, or
// has never been met.
func (m *missing) set(node string, is bool) (unknown bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, met := m.nodes[node]
	if m.nodes == nil {
		m.nodes = make(map[string]bool)
	}
	m.nodes[node] = is
	if was {
		m.count--
	}
	if is {
		m.count++
	} else if was || !met {
		m.met = time.Now()
	}
	return was || !met
}

// forget is for a node that will not come back. If it does it is met for the first time.
func (m *missing) forget(node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nodes[node] {
		m.count--
	}
	delete(m.nodes, node)
	delete(m.last, node)
	delete(m.unmet, node)
}

// lately reports whether a node has come, or come back, just now.
func (m *missing) lately(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Sub(m.met) < reunion
}

func (m *missing) any() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count > 0
}
