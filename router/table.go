package router

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"iter"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"chatd/stanza"
)

// Flags are what a resource has asked for.
type Flags uint8

// Flags of a row.
const (
	// Interested resources have fetched the roster and get its pushes (RFC 6121 §2.2).
	Interested Flags = 1 << iota
	// Carbons resources get copies of their user's other conversations (XEP-0280).
	Carbons
	// BlockPushes resources have fetched the block list and get its pushes (XEP-0191 §3.2).
	BlockPushes
	// Resumed sessions are of another process, which they go on with (XEP-0198 §5).
	Resumed
	// Arriving resources were bound just now, as the clock of their own node has it, and have yet to say that they are available.
	Arriving
)

// A Row is one connected resource in the table. Rows are values; changing one
// changes nothing in the table.
type Row struct {
	Session   Session
	Available bool // has sent initial presence and not become unavailable
	Priority  int8 // of the last available presence (RFC 6121 §4.7.2.3)
	Flags     Flags
	Detached  bool // waits for resumption or is catching up after it
	Remote    bool // on another node of the cluster
	// Since is the table's clock when the row last changed in any other field.
	Since uint64
	// Wait, if not nil, is closed when a session of this resource has ended that
	// is still finding other ways for what it was not sent: this one, or
	// the one that it replaces. What is sent to the user waits for it.
	Wait <-chan struct{}
}

// Resource is the row's resourcepart.
func (r Row) Resource() string { return r.Session.JID().Resource() }

// looks reports whether another node would see r as it sees o.
func (r *Row) looks(o *Row) bool {
	return r.Available == o.Available && r.Priority == o.Priority && r.Flags == o.Flags && r.Stored() == o.Stored()
}

// Stored reports whether messages to this resource go to the store: it waits for resumption, and what it had not acknowledged is there
// already. Other nodes are not told before, for they would store what is sent later ahead of that.
func (r *Row) Stored() bool { return r.Detached && r.Wait == nil }

// Pending is the priority of a resource that is available and is being handed what waits: messages to the bare JID do not go to it yet.
const Pending int8 = math.MinInt8

// Reachable reports whether messages to the bare JID may go to this resource
// (RFC 6121 §8.5.2.1.1: never to a negative priority).
func (r Row) Reachable() bool { return r.Available && !r.Detached && r.Priority >= 0 }

const tableShards = 64

// A Table maps users to their connected resources. Reads take one shard's read
// lock, do not allocate and return immutable snapshots; writes copy one
// user's few rows.
type Table struct {
	// Elsewhere is the rest of the cluster. It is set before the first row and fixed afterwards.
	Elsewhere Elsewhere

	seed   maphash.Seed
	clock  atomic.Uint64 // changes of rows so far; moves under the shard's lock, before the change
	shards [tableShards]tableShard
}

type tableShard struct {
	mu    sync.RWMutex
	users map[string][]Row // by bare JID; slices are never changed in place, nor empty
	_     [32]byte         // keeps neighbours' locks off one cache line
}

// NewTable makes an empty table.
func NewTable() *Table {
	t := &Table{Elsewhere: alone{}, seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].users = make(map[string][]Row)
	}
	return t
}

func (t *Table) shard(bare string) *tableShard {
	return &t.shards[maphash.String(t.seed, bare)%tableShards]
}

// Clock counts the changes of rows so far: a row whose Since is not after it was
// then as it is.
func (t *Table) Clock() uint64 { return t.clock.Load() }

// Rows is the user's connected resources, those of this node first, in the order in which they bound.
// The caller must not change the slice.
func (t *Table) Rows(user stanza.JID) []Row {
	return t.Elsewhere.Rows(slices.Clip(t.Local(user)), user)
}

// Local is those that are connected to this node, in the order in which they bound. The caller must not change the slice.
func (t *Table) Local(user stanza.JID) []Row {
	bare := user.Bare().String()
	sh := t.shard(bare)
	sh.mu.RLock()
	rows := sh.users[bare]
	sh.mu.RUnlock()
	return rows
}

// A view is the rows of one user as they were when the table's clock was as it is noted.
type view struct {
	user  stanza.JID
	clock uint64 // of the rows here and elsewhere: both only grow
	rows  []Row
}

// look is t.Rows(user), without a lookup if v has the answer and nothing in the table has
// changed since.
func (v *view) look(t *Table, user stanza.JID) []Row {
	user = user.Bare()
	now := t.clock.Load() + t.Elsewhere.Clock() // before the rows: they may only be newer
	if v.clock != now || v.user != user {
		*v = view{user, now, t.Rows(user)}
	}
	return v.rows
}

// Row finds one resource by its full JID, one of this node first.
func (t *Table) Row(full stanza.JID) (Row, bool) {
	for _, r := range t.Rows(full) {
		if r.Session.JID() == full {
			return r, true
		}
	}
	return Row{}, false
}

// Intern finds the address that raw spells among the online users, without
// allocating. A miss says nothing: the caller parses raw.
func (t *Table) Intern(raw []byte) (stanza.JID, bool) {
	bare, resource := raw, []byte(nil)
	if i := bytes.IndexByte(raw, '/'); i >= 0 {
		bare, resource = raw[:i], raw[i+1:]
		if len(resource) == 0 {
			return stanza.JID{}, false
		}
	}
	sh := &t.shards[maphash.Bytes(t.seed, bare)%tableShards]
	sh.mu.RLock()
	rows := sh.users[string(bare)]
	sh.mu.RUnlock()
	if len(rows) == 0 {
		return t.Elsewhere.Intern(raw)
	}
	if resource == nil {
		return rows[0].Session.JID().Bare(), true
	}
	for _, r := range rows {
		if j := r.Session.JID(); j.Resource() == string(resource) {
			return j, true
		}
	}
	return t.Elsewhere.Intern(raw)
}

// Bind enters a session as a connected resource. If its full JID is taken,
// replace decides: with it, the new session takes the row and the old session
// is returned for the caller to close and wait for, and then to call Settled; without
// it nothing is changed and ok is false. Of several concurrent Binds exactly one ends up in the table.
func (t *Table) Bind(s Session, replace bool) (old Session, ok bool) {
	bare := s.JID().Bare().String()
	sh := t.shard(bare)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	rows := sh.users[bare]
	i := slices.IndexFunc(rows, func(r Row) bool { return r.Session.JID() == s.JID() })
	if i < 0 {
		row := Row{Session: s, Flags: Arriving, Since: t.clock.Add(1)}
		sh.users[bare] = append(slices.Clip(rows), row)
		t.Elsewhere.Changed(row)
		return nil, true
	}
	if !replace {
		return nil, false
	}
	old = rows[i].Session
	rows = slices.Clone(rows)
	rows[i] = Row{Session: s, Flags: Arriving, Since: t.clock.Add(1), Wait: old.Done()}
	sh.users[bare] = rows
	t.Elsewhere.Changed(rows[i])
	return old, true
}

// Enter enters a session that comes from elsewhere with the row that it had there, but for Since. It
// does nothing and returns false if the full JID is taken.
func (t *Table) Enter(row Row) bool {
	bare := row.Session.JID().Bare().String()
	sh := t.shard(bare)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	rows := sh.users[bare]
	if slices.ContainsFunc(rows, func(r Row) bool { return r.Session.JID() == row.Session.JID() }) {
		return false
	}
	row.Since = t.clock.Add(1)
	sh.users[bare] = append(slices.Clip(rows), row)
	t.Elsewhere.Changed(row)
	return true
}

// Unbind removes the session's row; false if another session has taken it.
func (t *Table) Unbind(s Session) bool {
	bare := s.JID().Bare().String()
	sh := t.shard(bare)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	rows := sh.users[bare]
	i := slices.IndexFunc(rows, func(r Row) bool { return r.Session == s })
	if i < 0 {
		return false
	}
	t.clock.Add(1)
	t.Elsewhere.Gone(rows[i])
	if len(rows) == 1 {
		delete(sh.users, bare)
		return true
	}
	sh.users[bare] = slices.Delete(slices.Clone(rows), i, i+1)
	return true
}

// SetPresence records a resource's availability and priority. It does nothing
// for a session that is not in the table.
func (t *Table) SetPresence(s Session, available bool, priority int8) {
	t.update(s, func(r *Row, now uint64) {
		r.Available, r.Priority, r.Since = available, priority, now
		if available {
			r.Flags &^= Arriving
		}
	})
}

// Arrived marks a session that has not said within ArrivingTime that it is available as one that may never do.
func (t *Table) Arrived(s Session) {
	t.update(s, func(r *Row, now uint64) {
		if r.Flags&Arriving != 0 {
			r.Flags, r.Since = r.Flags&^Arriving, now
		}
	})
}

// SetFlags adds and removes flags. It does nothing for a session that is not
// in the table.
func (t *Table) SetFlags(s Session, add, remove Flags) {
	t.update(s, func(r *Row, now uint64) { r.Flags, r.Since = r.Flags&^remove|add, now })
}

// Ending marks a session as ending: it is not available any more, and what is
// sent to its user waits for its end. It does nothing for a session that is
// not in the table.
func (t *Table) Ending(s Session) {
	t.update(s, func(r *Row, _ uint64) { r.Available, r.Wait = false, s.Done() })
}

// Settled marks that the session that s replaced has ended.
func (t *Table) Settled(s Session) {
	t.update(s, func(r *Row, _ uint64) { r.Wait = nil })
}

// Detach marks a session as waiting for resumption. What is sent to its user waits until
// ready is closed, and then Settled is called.
func (t *Table) Detach(s Session, ready <-chan struct{}) {
	t.update(s, func(r *Row, now uint64) { r.Detached, r.Wait, r.Since = true, ready, now })
}

// Attach marks a session as one that has a connection and has caught up.
func (t *Table) Attach(s Session) {
	t.update(s, func(r *Row, now uint64) { r.Detached, r.Since = false, now })
}

// Resume gives old's row to s, a session of the same full JID, as it is, but that it is not arriving.
// It does nothing if old has no row any more.
func (t *Table) Resume(old, s Session) {
	t.update(old, func(r *Row, _ uint64) { r.Session, r.Flags = s, r.Flags&^Arriving })
}

// update changes the session's row; now is the clock's tick for that.
func (t *Table) update(s Session, change func(r *Row, now uint64)) {
	bare := s.JID().Bare().String()
	sh := t.shard(bare)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	rows := sh.users[bare]
	i := slices.IndexFunc(rows, func(r Row) bool { return r.Session == s })
	if i < 0 {
		return
	}
	before := rows[i]
	rows = slices.Clone(rows)
	change(&rows[i], t.clock.Add(1))
	sh.users[bare] = rows
	if !rows[i].looks(&before) {
		t.Elsewhere.Changed(rows[i])
	}
}

// Len counts the resources that are connected to this node.
func (t *Table) Len() int {
	n := 0
	for range t.All() {
		n++
	}
	return n
}

// All yields every row of this node. It holds no lock while it yields: rows that come or go
// meanwhile may be missed or seen.
func (t *Table) All() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		var rows []Row
		for i := range t.shards {
			sh := &t.shards[i]
			rows = rows[:0]
			sh.mu.RLock()
			for _, u := range sh.users {
				rows = append(rows, u...)
			}
			sh.mu.RUnlock()
			for _, r := range rows {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// ConsistencyCheck verifies what must hold at any time: each row under its own
// user and shard, no full JID twice, no user without rows.
func (t *Table) ConsistencyCheck() error {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.RLock()
		err := sh.check(t, i)
		sh.mu.RUnlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (sh *tableShard) check(t *Table, i int) error {
	for bare, rows := range sh.users {
		if t.shard(bare) != sh {
			return fmt.Errorf("router: %s is in shard %d, not in its own", bare, i)
		}
		if len(rows) == 0 {
			return fmt.Errorf("router: %s has no rows", bare)
		}
		seen := make(map[string]bool)
		for _, r := range rows {
			j := r.Session.JID()
			if j.Bare().String() != bare {
				return fmt.Errorf("router: row of %s under %s", j, bare)
			}
			if seen[j.Resource()] {
				return fmt.Errorf("router: %s twice", j)
			}
			seen[j.Resource()] = true
		}
	}
	return nil
}
