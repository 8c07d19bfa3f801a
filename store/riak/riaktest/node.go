package riaktest

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	rpb "github.com/basho/riak-go-client/rpb/riak_kv"
)

const (
	up int32 = iota
	stalled
	dead
)

// A node is one server of the cluster. It holds virtual nodes: of its own
// partitions, and of others' whose owner it could not see.
type node struct {
	cluster *Cluster
	index   int
	addr    string // fixed after Start
	state   atomic.Int32
	slow    atomic.Int64 // nanoseconds more for each request

	mu      sync.Mutex
	ln      net.Listener
	conns   map[net.Conn]struct{}
	vnodes  []*vnode // by partition; nil: holds nothing of it
	backlog []func() // what a stalled node was asked to store
}

// listen opens the node's port; that of a killed node may be taken for a moment.
func (n *node) listen(addr string) error {
	var ln net.Listener
	var err error
	for range 100 {
		if ln, err = net.Listen("tcp", addr); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.addr == "" {
		n.addr = ln.Addr().String()
	}
	n.ln, n.conns = ln, map[net.Conn]struct{}{}
	n.cluster.conns.Go(func() { n.accept(ln) })
	return nil
}

func (n *node) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		if !n.adopt(conn) {
			conn.Close()
			continue
		}
		n.cluster.conns.Go(func() {
			defer n.disown(conn)
			newSession(n, conn).serve()
		})
	}
}

func (n *node) adopt(conn net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cluster.mu.RLock()
	refused := n.cluster.refused || n.cluster.closed
	n.cluster.mu.RUnlock()
	if refused || n.state.Load() == dead {
		return false
	}
	n.conns[conn] = struct{}{}
	return true
}

func (n *node) disown(conn net.Conn) {
	conn.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, conn)
}

// hangUp ends every connection, and the listener too if asked.
func (n *node) hangUp(listener bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if listener && n.ln != nil {
		n.ln.Close()
	}
	for conn := range n.conns {
		conn.Close()
	}
}

func (n *node) setState(state int32) {
	c := n.cluster
	c.mu.Lock()
	n.state.Store(state)
	c.notifyLocked()
	c.mu.Unlock()
	switch state {
	case dead:
		n.hangUp(true)
		n.mu.Lock()
		n.backlog = nil
		n.mu.Unlock()
	case up:
		n.mu.Lock()
		late := n.backlog
		n.backlog = nil
		n.mu.Unlock()
		for _, store := range late {
			store()
		}
	}
}

// name is the node's name in Riak's manner.
func (n *node) name() string { return fmt.Sprintf("riak%d@127.0.0.1", n.index+1) }

// A bucket is a bucket and its type.
type bucket struct{ kind, name string }

const defaultType = "default"

// A vnode keeps one partition, guarded by its node's mu.
type vnode struct {
	name    string
	epochs  int
	buckets map[bucket]map[string]*replica
}

// A replica is an object as one virtual node has it.
type replica struct {
	object *object
	actor  string    // that coordinates puts over it
	reapAt time.Time // of a tombstone that all replicas have; zero: not to be reaped
}

func (n *node) vnodeLocked(partition int) *vnode {
	v := n.vnodes[partition]
	if v == nil {
		v = &vnode{name: fmt.Sprintf("%d.%d", n.index, partition), buckets: map[bucket]map[string]*replica{}}
		n.vnodes[partition] = v
	}
	return v
}

// find is the replica of a key, or nil. A tombstone whose time has come is
// reaped when it is looked at.
func (v *vnode) find(b bucket, key string) *replica {
	r := v.buckets[b][key]
	if r != nil && !r.reapAt.IsZero() && !time.Now().Before(r.reapAt) {
		delete(v.buckets[b], key)
		return nil
	}
	return r
}

// set stores the object. A replica that begins gets an actor of its own, so that
// no count is used twice when a key begins again.
func (v *vnode) set(b bucket, key string, r *replica, o *object) {
	if r != nil {
		r.object, r.reapAt = o, time.Time{}
		return
	}
	keys := v.buckets[b]
	if keys == nil {
		keys = map[string]*replica{}
		v.buckets[b] = keys
	}
	keys[key] = &replica{object: o, actor: v.newActor()}
}

func (v *vnode) newActor() string {
	v.epochs++
	return fmt.Sprintf("%s.%d", v.name, v.epochs)
}

// load is the object a partition of the node has under the key, or nil.
func (n *node) load(partition int, b bucket, key string) *object {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.vnodeLocked(partition).find(b, key); r != nil {
		return r.object
	}
	return nil
}

// store joins an object from another replica with what the partition has, and
// is what it has then.
func (n *node) store(partition int, b bucket, key string, o *object, p Props) *object {
	n.mu.Lock()
	defer n.mu.Unlock()
	v := n.vnodeLocked(partition)
	r := v.find(b, key)
	if r != nil && !p.LastWriteWins {
		if o = reconcile(r.object, o, p).single(p); o == r.object {
			return o
		}
	}
	v.set(b, key, r, o)
	return o
}

// storeSoon stores the object at once, or when the node is no longer stalled;
// done is called then.
func (n *node) storeSoon(store func()) {
	n.mu.Lock()
	if n.state.Load() == stalled {
		n.backlog = append(n.backlog, store)
		n.mu.Unlock()
		return
	}
	n.mu.Unlock()
	store()
}

// coordinate makes the put at the partition: it is the replica that gives the
// value its dot.
func (n *node) coordinate(partition int, b bucket, key string, seen clock, value *rpb.RpbContent, p Props) (*object, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v := n.vnodeLocked(partition)
	r := v.find(b, key)
	var o *object
	if r == nil {
		o = update(nil, seen, value, v.newActor(), p)
	} else {
		o = update(r.object, seen, value, r.actor, p).single(p)
	}
	if most := n.cluster.config.MaxSiblings; len(o.siblings) > most {
		return nil, fmt.Errorf("{too_many_siblings,%d}", len(o.siblings))
	}
	v.set(b, key, r, o)
	return o, nil
}

// reap lets the tombstone go after a while, if it is still the one.
func (n *node) reap(partition int, b bucket, key string, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.vnodeLocked(partition).find(b, key); r != nil && r.reapAt.IsZero() && r.object.tombstone() {
		r.reapAt = at
	}
}
