package cluster

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"chatd/stanza"
)

const shardCount = 256

// Rows are the rows of other nodes, the slice of each owner by itself. A row costs about 60 bytes beside its text, and
// nothing in it is a pointer. Any goroutine may read: that takes one shard's read lock, and
// does not allocate.
//
// An owner's slice is built unseen, shown at once, and hidden at once, however large it is. What is hidden can
// still be enumerated until it is reclaimed.
type Rows struct {
	key    hashKey
	clock  atomic.Uint64 // changes of what is seen; moves after the change
	shards [shardCount]shard

	owners atomic.Pointer[owners] // immutable; replaced under mu
	mu     sync.Mutex

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

// owners are all by their numbers; nil is a number that is free, or an owner that is not in the set.
type owners struct {
	all     []*Owner
	current []*Owner // those that are seen, or are being built
	seen    []*Owner
}

// Len counts the owner's rows.
func (o *Owner) Len() int { return int(o.rows.Load()) }

// NewRows makes an empty table. All nodes of a cluster have the same secret.
func NewRows(secret string) *Rows {
	r := &Rows{key: newHashKey(secret)}
	r.owners.Store(new(owners))
	return r
}

// Clock counts the changes of what the methods answer: while it stands still they answer the same.
func (r *Rows) Clock() uint64 { return r.clock.Load() }

// place is where a user's rows are.
func (r *Rows) place(bare string) (sh *shard, tag uint32) {
	h := r.key.text(bare)
	return &r.shards[segmentOf(h)], uint32(h)
}

func segmentOf(hash uint64) int { return int(hash >> 56) }

// Append adds the user's rows to dst, of all owners that are seen.
func (r *Rows) Append(dst []RemoteRow, user stanza.JID) []RemoteRow {
	if len(r.owners.Load().seen) == 0 {
		return dst
	}
	bare := user.Bare().String()
	sh, tag := r.place(bare)
	sh.mu.RLock()
	// Under the lock: what is not seen any more is not reclaimed before it is let go.
	seen := r.owners.Load().seen
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
	_, ok := r.first(user.Bare().String(), "", false)
	return ok
}

// Row is the row of a full JID. If more than one node has bound it, the one that wins.
func (r *Rows) Row(full stanza.JID) (RemoteRow, bool) {
	return r.first(full.Bare().String(), full.String(), false)
}

// rival is Row, but among slices that are still being built too.
func (r *Rows) rival(full stanza.JID) (RemoteRow, bool) {
	return r.first(full.Bare().String(), full.String(), true)
}

// Intern finds the address that raw spells among those with rows, without allocating: as router.Table.Intern.
func (r *Rows) Intern(raw []byte) (stanza.JID, bool) {
	text := view(raw)
	for i := range raw {
		if raw[i] == '/' {
			row, ok := r.first(text[:i], text, false)
			return row.JID, ok
		}
	}
	row, ok := r.first(text, "", false)
	return row.JID.Bare(), ok
}

// first is the best row of the user with this full JID, or with any.
func (r *Rows) first(bare, full string, building bool) (best RemoteRow, ok bool) {
	if len(r.owners.Load().all) == 0 {
		return best, false
	}
	sh, tag := r.place(bare)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	owners := r.owners.Load().seen
	if building {
		owners = r.owners.Load().current
	}
	for n := sh.head(tag, bare); n != 0; {
		s := sh.at(n)
		n = s.next
		o := owners[s.owner]
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
	return slices.DeleteFunc(slices.Clone(r.owners.Load().seen), func(o *Owner) bool { return o == nil })
}

// All yields every row that is seen. It holds no lock while it yields: rows that come or go meanwhile may be
// missed or seen.
func (r *Rows) All() iter.Seq[RemoteRow] {
	return r.each(func(id uint16) *Owner { return r.owners.Load().seen[id] })
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
	o := &Owner{Node: node, Incarnation: incarnation, Peer: peer}
	full := false
	r.change(func(set *owners) {
		id := slices.Index(set.all, nil)
		if id < 0 {
			if id = len(set.all); id > 0xffff {
				full = true
				return
			}
			set.all, set.current, set.seen = append(set.all, nil), append(set.current, nil), append(set.seen, nil)
		}
		o.id = uint16(id)
		set.all[id], set.current[id] = o, o
	})
	if full {
		return nil, errOwners
	}
	return o, nil
}

// swap shows one owner's slice and hides another's, at once; each may be nil.
func (r *Rows) swap(show, hide *Owner) {
	r.change(func(set *owners) {
		if show != nil {
			set.current[show.id], set.seen[show.id] = show, show
		}
		if hide != nil {
			set.current[hide.id], set.seen[hide.id] = nil, nil
		}
	})
	r.clock.Add(1)
}

// change replaces the set of owners.
func (r *Rows) change(do func(*owners)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.owners.Load()
	set := &owners{slices.Clone(old.all), slices.Clone(old.current), slices.Clone(old.seen)}
	do(set)
	r.owners.Store(set)
}

// enter adds a row to what is built of an owner.
func (r *Rows) enter(o *Owner, rec *record) {
	sh, tag := r.place(rec.JID.Bare().String())
	sh.mu.Lock()
	e := sh.put(r.key, o.id, tag, rec)
	sh.mu.Unlock()
	r.count(o, e, false)
}

// meet says, before an owner's change is applied, which was the last of its segment, and whether it is of a row that was bound anew. Then
// the rows of the same full JID that others have are appended to dst.
func (r *Rows) meet(dst []RemoteRow, o *Owner, rec *record) (others []RemoteRow, last uint64, rebound bool) {
	bare, full := rec.JID.Bare().String(), rec.JID.String()
	sh, tag := r.place(bare)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if int(o.id) < len(sh.segs) {
		last = sh.segs[o.id].last
	}
	if rec.gone {
		return dst, last, false
	}
	seen := r.owners.Load().seen
	for n := sh.head(tag, bare); n != 0; {
		s := sh.at(n)
		n = s.next
		switch {
		case sh.full(s) != full:
		case s.owner == o.id && s.bound == rec.Bound:
			return dst, last, false
		case s.owner != o.id && seen[s.owner] != nil:
			dst = append(dst, RemoteRow{sh.row(s), seen[s.owner]})
		}
	}
	return dst, last, true
}

// apply makes the owner's change number seq.
func (r *Rows) apply(o *Owner, rec *record, seq uint64) {
	sh, tag := r.place(rec.JID.Bare().String())
	sh.mu.Lock()
	sh.seg(o.id).last = seq
	var e effect
	removed := false
	if rec.gone {
		removed = sh.remove(r.key, o.id, tag, rec.JID)
	} else {
		e = sh.put(r.key, o.id, tag, rec)
	}
	sh.mu.Unlock()
	r.count(o, e, removed)
}

// count notes what has become of a row.
func (r *Rows) count(o *Owner, e effect, removed bool) {
	if e.isNew {
		o.rows.Add(1)
	}
	if removed {
		o.rows.Add(-1)
	}
	if (e.changed || removed) && r.owners.Load().seen[o.id] != nil {
		r.clock.Add(1)
	}
}

// entered notes that all of a segment is there, up to the owner's change number last.
func (r *Rows) entered(o *Owner, k int, last uint64) {
	sh := &r.shards[k]
	sh.mu.Lock()
	sh.seg(o.id).last = last
	sh.mu.Unlock()
}

// replace makes an owner's segment what recs say, at once.
func (r *Rows) replace(o *Owner, k int, last uint64, recs []byte) error {
	sh := &r.shards[k]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	_, n := sh.clear(o.id, 0, math.MaxInt)
	seg := sh.seg(o.id)
	*seg = segment{last: last}
	err := records(recs, func(_ int, rec *record) error {
		sh.put(r.key, o.id, uint32(r.key.text(rec.JID.Bare().String())), rec)
		return nil
	})
	sh.compact()
	o.rows.Add(int64(seg.rows - n))
	r.clock.Add(1)
	return err
}

// encode adds the records of an owner's segment to dst, as it is now, after its change number last.
func (r *Rows) encode(o *Owner, k int, dst []byte) (recs []byte, last uint64) {
	sh := &r.shards[k]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for _, p := range sh.pages {
		for i := range p {
			if p[i].size != 0 && p[i].owner == o.id {
				dst = sh.record(dst, &p[i])
			}
		}
	}
	if int(o.id) < len(sh.segs) {
		last = sh.segs[o.id].last
	}
	return dst, last
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

// reclaimPlaces is how many places of a shard's index are gone through under one lock: some tens of microseconds.
const reclaimPlaces = 1024

// reclaim frees what an owner has that is not seen any more. It takes time, but holds no lock for long.
func (r *Rows) reclaim(o *Owner) {
	r.reclaiming.Lock()
	defer r.reclaiming.Unlock()
	for i := range r.shards {
		sh := &r.shards[i]
		for place, n := 0, 0; place >= 0; {
			sh.mu.Lock()
			if place, n = sh.clear(o.id, place, reclaimPlaces); place < 0 {
				*sh.seg(o.id) = segment{}
				sh.shrink()
			}
			sh.mu.Unlock()
			o.rows.Add(int64(-n))
		}
	}
	r.change(func(set *owners) { set.all[o.id] = nil })
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
		if e.head == 0 {
			continue
		}
		users++
		bare := sh.bare(sh.at(e.head))
		if home, tag := r.place(bare); home != &r.shards[i] || tag != e.tag || sh.at(e.head).text != e.text {
			return fmt.Errorf("%s does not belong here", bare)
		}
		for n := e.head; n != 0; n = sh.at(n).next {
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
	for id, o := range r.owners.Load().current {
		if o == nil || id >= len(segs) {
			continue
		}
		if segs[id].rows != sh.segs[id].rows || segs[id].sum != sh.segs[id].sum {
			return fmt.Errorf("owner %d: counts or sums are wrong", id)
		}
	}
	return nil
}
