package cluster

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chatd/stanza"
)

const (
	// returnedMax bounds the stored messages of which it is remembered that a node which is gone may have had them. What is
	// over it may come twice, with the same stanza-id (XEP-0359).
	returnedMax = 1 << 17
	// returnLanes is how many messages of a node that is gone are stored at the same time, each of another user.
	returnLanes = 16
	// returnPatience is for how long they are kept for a store that does not answer. Then they wait with what else does: whether the node had
	// them does not count any more.
	returnPatience = time.Minute
	returnPauseMin = 50 * time.Millisecond
	returnPauseMax = time.Second
)

// Returned is what links gave back and the store has, until the node is back and says what it had, or is started anew.
type returned struct {
	mu    sync.Mutex
	nodes map[string]*returnedTo
	count int
}

// returnedTo is what was on its way to one incarnation of a node.
type returnedTo struct {
	incarnation uint64
	users       map[string]bool // bare JIDs; fixed
	frames      []returnedFrame // those of one user in order
	ready       chan struct{}   // closed when all frames are in
	taken       bool            // does not count any more
}

type returnedFrame struct {
	seq    uint64 // of the frame
	user   string // localpart
	stored int64
}

// begin makes the place for what comes back of an incarnation. What there was of an earlier one is of no use any more.
func (t *returned) begin(p *Peer, unacked []Frame) *returnedTo {
	r := &returnedTo{incarnation: p.Incarnation, users: make(map[string]bool), ready: make(chan struct{})}
	for _, f := range unacked {
		if to, _, ok := cutTo(f.Payload); ok && f.Kind == kindStanza {
			r.users[string(bareOf(to))] = true
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.nodes == nil {
		t.nodes = make(map[string]*returnedTo)
	}
	if old := t.nodes[p.Name]; old != nil {
		t.count -= len(old.frames)
	}
	delete(t.nodes, p.Name)
	if len(r.users) > 0 {
		t.nodes[p.Name] = r
	}
	return r
}

func (t *returned) add(r *returnedTo, f returnedFrame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count < returnedMax {
		r.frames = append(r.frames, f)
		if !r.taken {
			t.count++
		}
	}
}

// doubts reports whether something for a user is in the store that a node may have had.
func (t *returned) doubts(bare string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.nodes {
		if r.users[bare] {
			return true
		}
	}
	return false
}

// expect forgets what was on its way to an earlier incarnation of a node, which will never tell.
func (t *returned) expect(node string, incarnation uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.nodes[node]; r != nil && r.incarnation != incarnation {
		delete(t.nodes, node)
		t.count -= len(r.frames)
	}
}

// take is what is known of an incarnation, which is then forgotten; nil if that is nothing.
func (t *returned) take(node string, incarnation uint64) *returnedTo {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.nodes[node]
	if r == nil || r.incarnation != incarnation {
		return nil
	}
	delete(t.nodes, node)
	t.count -= len(r.frames)
	r.taken = true
	return r
}

// takeBack stores the messages that a peer did not confirm, those of each user in order. When a user's have been no more messages are moving for that one.
func (s *Service) takeBack(ctx context.Context, unacked []Frame, r *returnedTo) {
	defer close(r.ready)
	ctx, cancel := context.WithTimeout(ctx, returnPatience)
	defer cancel()
	seed := maphash.MakeSeed()
	var lanes [returnLanes]map[string][]Frame
	for _, f := range unacked {
		if to, _, ok := cutTo(f.Payload); ok && f.Kind == kindStanza {
			bare := bareOf(to)
			lane := &lanes[maphash.Bytes(seed, bare)%returnLanes]
			if *lane == nil {
				*lane = make(map[string][]Frame)
			}
			(*lane)[string(bare)] = append((*lane)[string(bare)], f)
		}
	}
	var work sync.WaitGroup
	for _, lane := range lanes {
		work.Go(func() { s.takeLaneBack(ctx, lane, r) })
	}
	work.Wait()
}

// takeLaneBack tries until ctx ends, and at least once: nobody else has the messages. Who can be reached does not wait for those for whom the store has
// to work.
func (s *Service) takeLaneBack(ctx context.Context, users map[string][]Frame, r *returnedTo) {
	for bare, frames := range users {
		users[bare] = onceEach(frames)
	}
	for pause := returnPauseMin; ; pause = min(2*pause, returnPauseMax) {
		for bare, frames := range users {
			if users[bare] = s.takeUserBack(ctx, frames, r); len(users[bare]) == 0 {
				delete(users, bare)
				s.back.end(map[string]bool{bare: true})
				s.moved(map[string]bool{bare: true})
			}
		}
		if len(users) == 0 {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done(): // the next time nothing is left
		}
	}
}

// takeUserBack returns what could not be stored now. When ctx has ended that waits with what else does.
func (s *Service) takeUserBack(ctx context.Context, frames []Frame, r *returnedTo) (rest []Frame) {
	for i, f := range frames {
		_, raw, _ := cutTo(f.Payload)
		st, err := stanza.Parse(raw)
		if err != nil {
			s.log.Error("a stanza that came back cannot be read", "err", err)
			continue
		}
		switch seq, err := s.r.Returned(context.WithoutCancel(ctx), st); {
		case err == nil && seq != 0:
			s.returned.add(r, returnedFrame{f.Seq, st.To.Local(), seq})
		case err == nil:
		case ctx.Err() == nil:
			return frames[i:]
		default:
			s.r.NotReturned(st, err)
		}
	}
	return nil
}

// onceEach leaves out what was sent to several resources of a user, but for the first of them. Messages have ids: equal ones are one.
func onceEach(frames []Frame) []Frame {
	seen := make(map[string]bool, len(frames))
	return slices.DeleteFunc(frames, func(f Frame) bool {
		_, raw, _ := cutTo(f.Payload)
		again := seen[view(raw)]
		seen[view(raw)] = true
		return again
	})
}

// PeerReceived implements Handler: what the node had is taken out of the store again. Until then nobody looks there for
// those users.
func (s *Service) PeerReceived(name string, incarnation, upTo uint64) {
	r := s.returned.take(name, incarnation)
	if r == nil {
		return
	}
	s.moving.begin(r.users)
	s.background(func(ctx context.Context) {
		ctx = context.WithoutCancel(ctx)
		<-r.ready
		for _, f := range r.frames {
			if f.seq > upTo {
				continue
			}
			if err := s.r.Spool.Forget(ctx, f.user, []int64{f.stored}); err != nil {
				s.log.Error("message that was delivered stays in the store", "user", f.user, "err", err)
			}
		}
		s.moved(r.users)
	})
}

// moved ends the moving of messages for users.
func (s *Service) moved(users map[string]bool) {
	s.moving.end(users)
	for bare := range users {
		if j, err := stanza.ParseJID(bare); err == nil {
			s.tellHeld(j)
		}
	}
}

// Moving implements router.Elsewhere.
func (s *Service) Moving(user stanza.JID) <-chan struct{} { return s.moving.of(user) }

// Moving is the users whose messages are just on their way from a link into the store, or out of it again. What is sent to them meanwhile
// must not overtake these, nor may the store be looked into.
type moving struct {
	count atomic.Int32

	mu    sync.Mutex
	users map[string]*movingUser // by bare JID
}

type movingUser struct {
	times int
	since time.Time // of the first
	done  chan struct{}
}

func (m *moving) begin(users map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users == nil {
		m.users = make(map[string]*movingUser)
	}
	for bare := range users {
		if m.users[bare] == nil {
			m.users[bare] = &movingUser{since: time.Now(), done: make(chan struct{})}
		}
		m.users[bare].times++
	}
	m.count.Store(int32(len(m.users)))
}

func (m *moving) end(users map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for bare := range users {
		u := m.users[bare]
		if u.times--; u.times == 0 {
			close(u.done)
			delete(m.users, bare)
		}
	}
	m.count.Store(int32(len(m.users)))
}

// wait returns when no messages are being moved, or ctx ends.
func (m *moving) wait(ctx context.Context) {
	for {
		var done chan struct{}
		m.mu.Lock()
		for _, u := range m.users {
			done = u.done
		}
		m.mu.Unlock()
		if done == nil {
			return
		}
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// of is closed when the user's messages have been moved; nil: none are.
func (m *moving) of(user stanza.JID) <-chan struct{} {
	done, _ := m.ofSince(user)
	return done
}

// ofSince also tells since when they are moved.
func (m *moving) ofSince(user stanza.JID) (done <-chan struct{}, since time.Time) {
	if m.count.Load() == 0 {
		return nil, time.Time{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if u := m.users[user.Bare().String()]; u != nil {
		return u.done, u.since
	}
	return nil, time.Time{}
}
