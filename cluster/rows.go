package cluster

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"chatd/stanza"
)

const shardCount = 256

// Rows are the rows of other nodes, the slice of each owner by itself. A row costs about 50 bytes beside its text, and
// nothing in it is a pointer. Any goroutine may read: that takes one shard's read lock, and
// does not allocate.
//
// An owner's slice is built unseen, shown at once, and hidden at once, however large it is. What is hidden can
// still be enumerated until it is reclaimed.
type Rows struct {
	key    hashKey
	clock  atomic.Uint64 // changes of what is seen; moves after the change
	shards [shardCount]shard

	seen atomic.Pointer[[]*Owner] // by number; nil for those not seen. Immutable; replaced under mu

	mu     sync.Mutex
	owners []*Owner // by number; nil is free

	reclaiming sync.Mutex // one owner at a time
}

// An Owner is one incarnation of a node with rows. Its fields do not change.
type Owner struct {
	Node        string
	Incarnation uint64
	// Peer is what leads to the node, as it was given to Replica.PeerUp.
	Peer Sender

	id   uint16
	rows atomic.Int64
}

// Len counts the owner's rows.
func (o *Owner) Len() int { return int(o.rows.Load()) }

// NewRows makes an empty table. All nodes of a cluster have the same secret.
func NewRows(secret string) *Rows {
	r := &Rows{key: newHashKey(secret)}
	r.seen.Store(new([]*Owner))
	return r
}

// Clock counts the changes of what the methods answer: while it stands still they answer the same.
func (r *Rows) Clock() uint64 { return r.clock.Load() }

// place is where a user's rows are.
func (r *Rows) place(bare string) (sh *shard, tag uint32) {
	h := r.key.text(bare)
	return &r.shards[h>>56], uint32(h)
}

// Append adds the user's rows to dst, of all owners that are seen.
func (r *Rows) Append(dst []RemoteRow, user stanza.JID) []RemoteRow {
	if len(*r.seen.Load()) == 0 {
		return dst
	}
	bare := user.Bare().String()
	sh, tag := r.place(bare)
	sh.mu.RLock()
	// Under the lock: what is not seen any more is not reclaimed before it is let go.
	seen := *r.seen.Load()
	for n := sh.head(tag, bare); n != 0; {
		s := sh.at(n)
		if o := seen[s.owner]; o != nil {
			dst = append(dst, RemoteRow{sh.row(s), o})
		}
		n = s.next
	}
	sh.mu.RUnlock()
	return dst
}

// Has reports whether the user has a row.
func (r *Rows) Has(user stanza.JID) bool {
	_, ok := r.first(user.Bare().String(), "")
	return ok
}

// Row is the row of a full JID. If more than one node has bound it, the one that wins.
func (r *Rows) Row(full stanza.JID) (RemoteRow, bool) {
	return r.first(full.Bare().String(), full.String())
}

// Intern finds the address that raw spells among those with rows, without allocating: as router.Table.Intern.
func (r *Rows) Intern(raw []byte) (stanza.JID, bool) {
	text := view(raw)
	for i := range raw {
		if raw[i] == '/' {
			row, ok := r.first(text[:i], text)
			return row.JID, ok
		}
	}
	row, ok := r.first(text, "")
	return row.JID.Bare(), ok
}

// first is the best row of the user with this full JID, or with any.
func (r *Rows) first(bare, full string) (best RemoteRow, ok bool) {
	if len(*r.seen.Load()) == 0 {
		return best, false
	}
	sh, tag := r.place(bare)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	seen := *r.seen.Load()
	for n := sh.head(tag, bare); n != 0; {
		s := sh.at(n)
		n = s.next
		o := seen[s.owner]
		if o == nil || full != "" && sh.full(s) != full {
			continue
		}
		if !ok || Wins(s.bound, o.Node, best.Bound, best.Owner.Node) {
			best, ok = RemoteRow{sh.row(s), o}, true
		}
		if full == "" {
			return best, true
		}
	}
	return best, ok
}

// Len counts the rows that are seen.
func (r *Rows) Len() int {
	n := 0
	for _, o := range r.Owners() {
		n += o.Len()
	}
	return n
}

// Owners are those whose rows are seen.
func (r *Rows) Owners() []*Owner {
	return slices.DeleteFunc(slices.Clone(*r.seen.Load()), func(o *Owner) bool { return o == nil })
}

// All yields every row that is seen. It holds no lock while it yields: rows that come or go meanwhile may be
// missed or seen.
func (r *Rows) All() iter.Seq[RemoteRow] {
	return r.each(func(id uint16) *Owner { return (*r.seen.Load())[id] })
}

// Of yields the rows of an owner, whether they are seen or not, as All does, until they are reclaimed.
func (r *Rows) Of(o *Owner) iter.Seq[RemoteRow] {
	return r.each(func(id uint16) *Owner {
		if id != o.id {
			return nil
		}
		return o
	})
}

func (r *Rows) each(owner func(id uint16) *Owner) iter.Seq[RemoteRow] {
	return func(yield func(RemoteRow) bool) {
		var rows []RemoteRow
		for i := range r.shards {
			sh := &r.shards[i]
			rows = rows[:0]
			sh.mu.RLock()
			for _, p := range sh.pages {
				for k := range p {
					if p[k].size == 0 {
						continue
					}
					if o := owner(p[k].owner); o != nil {
						rows = append(rows, RemoteRow{sh.row(&p[k]), o})
					}
				}
			}
			sh.mu.RUnlock()
			for _, row := range rows {
				if !yield(row) {
					return
				}
			}
		}
	}
}

var errOwners = errors.New("cluster: too many owners of rows")

// open begins the slice of an owner, unseen.
func (r *Rows) open(node string, incarnation uint64, peer Sender) (*Owner, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := slices.Index(r.owners, nil)
	if id < 0 {
		if id = len(r.owners); id > 0xffff {
			return nil, errOwners
		}
		r.owners = append(r.owners, nil)
	}
	o := &Owner{Node: node, Incarnation: incarnation, Peer: peer, id: uint16(id)}
	r.owners[id] = o
	r.look(nil, nil) // so that each number has its place before a row has it
	return o, nil
}

// swap shows one owner's slice and hides another's, at once; each may be nil.
func (r *Rows) swap(show, hide *Owner) {
	r.mu.Lock()
	r.look(show, hide)
	r.mu.Unlock()
	r.clock.Add(1)
}

// look replaces what is seen. The caller holds mu.
func (r *Rows) look(show, hide *Owner) {
	seen := make([]*Owner, len(r.owners))
	copy(seen, *r.seen.Load())
	if show != nil {
		seen[show.id] = show
	}
	if hide != nil {
		seen[hide.id] = nil
	}
	r.seen.Store(&seen)
}

// put enters or changes an owner's row, number seq of its changes.
func (r *Rows) put(o *Owner, rec *record, seq uint64) {
	sh, tag := r.place(rec.JID.Bare().String())
	sh.mu.Lock()
	isNew, changed := sh.put(r.key, o.id, tag, rec)
	sh.seg(o.id).last = seq
	sh.mu.Unlock()
	if isNew {
		o.rows.Add(1)
	}
	if changed {
		r.clock.Add(1)
	}
}

// remove takes out an owner's row, number seq of its changes.
func (r *Rows) remove(o *Owner, full stanza.JID, seq uint64) {
	sh, tag := r.place(full.Bare().String())
	sh.mu.Lock()
	removed := sh.remove(r.key, o.id, tag, full)
	sh.seg(o.id).last = seq
	sh.mu.Unlock()
	if removed {
		o.rows.Add(-1)
		r.clock.Add(1)
	}
}

// segment is what is known of an owner's segment.
func (r *Rows) segment(o *Owner, k int) segment {
	sh := &r.shards[k]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if int(o.id) >= len(sh.segs) {
		return segment{}
	}
	return sh.segs[o.id]
}

// reclaimRows is how many rows are freed under one lock: some tens of microseconds.
const reclaimRows = 256

// reclaim frees what an owner has that is not seen any more. It takes time, but holds no lock for long.
func (r *Rows) reclaim(o *Owner) {
	r.reclaiming.Lock()
	defer r.reclaiming.Unlock()
	for i := range r.shards {
		sh := &r.shards[i]
		for page := 0; page >= 0; {
			sh.mu.Lock()
			page = r.reclaimSome(sh, o, page)
			sh.mu.Unlock()
		}
	}
	r.mu.Lock()
	r.owners[o.id] = nil
	r.mu.Unlock()
}

// reclaimSome frees rows from a page on; it returns the page to go on with, or -1.
func (r *Rows) reclaimSome(sh *shard, o *Owner, page int) int {
	n := 0
	for ; page < len(sh.pages); page++ {
		for i := range sh.pages[page] {
			s := &sh.pages[page][i]
			if s.size == 0 || s.owner != o.id {
				continue
			}
			sh.unlink(uint32(r.key.text(sh.bare(s))), uint32(page*pageRows+i)+firstSlot)
			n++
		}
		if n >= reclaimRows {
			o.rows.Add(int64(-n))
			return page + 1
		}
	}
	o.rows.Add(int64(-n))
	if int(o.id) < len(sh.segs) {
		sh.segs[o.id] = segment{}
	}
	sh.shrink()
	return -1
}

// ConsistencyCheck verifies what must hold at any time: each row under its own user and shard, no full JID twice
// for one owner, and counts and sums that are those of the rows.
func (r *Rows) ConsistencyCheck() error {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		err := sh.check(r, i)
		sh.mu.Unlock()
		if err != nil {
			return fmt.Errorf("cluster: shard %d: %w", i, err)
		}
	}
	return nil
}

func (sh *shard) check(r *Rows, i int) error {
	type key struct {
		owner uint16
		full  string
	}
	twice := make(map[key]bool)
	segs := make([]segment, len(sh.segs))
	users, text := 0, 0
	for _, e := range sh.index {
		if e == 0 {
			continue
		}
		users++
		bare := sh.bare(sh.at(uint32(e)))
		if home, tag := r.place(bare); home != &r.shards[i] || tag != uint32(e>>32) {
			return fmt.Errorf("%s does not belong here", bare)
		}
		for n := uint32(e); n != 0; n = sh.at(n).next {
			s := sh.at(n)
			k := key{s.owner, sh.full(s)}
			if twice[k] || s.size == 0 || sh.bare(s) != bare {
				return fmt.Errorf("row of %s under %s", k.full, bare)
			}
			twice[k] = true
			text += int(s.size)
			segs[s.owner].rows++
			segs[s.owner].sum += sh.sum(r.key, s)
		}
	}
	live := 0
	for _, c := range sh.arena.chunks {
		live += c.live
	}
	if users != sh.users || len(twice) != sh.used || live != text {
		return fmt.Errorf("%d users, %d rows, %d bytes, counted as %d, %d, %d", users, len(twice), text, sh.users, sh.used, live)
	}
	for id := range segs {
		if segs[id].rows != sh.segs[id].rows || segs[id].sum != sh.segs[id].sum {
			return fmt.Errorf("owner %d: counts or sums are wrong", id)
		}
	}
	return nil
}
