package cluster

import (
	"iter"
	"math"
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
// still be looked up until it is reclaimed.
type Rows struct {
	key    hashKey
	clock  atomic.Uint64 // changes of what is seen; moves after the change
	shards [shardCount]shard

	owners atomic.Pointer[owners] // immutable; replaced under mu
	mu     sync.Mutex

	reclaiming sync.Mutex // one owner at a time
}

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

// appendOf adds the rows that a user has of an owner, whether they are seen or not, until they are reclaimed.
func (r *Rows) appendOf(dst []RemoteRow, o *Owner, user stanza.JID) []RemoteRow {
	bare := user.Bare().String()
	sh, tag := r.place(bare)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for n := sh.head(tag, bare); n != 0; {
		s := sh.at(n)
		if s.owner == o.id {
			dst = append(dst, RemoteRow{sh.row(s), o})
		}
		n = s.next
	}
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

// All yields every row that is seen. It holds no lock while it yields: rows that come or go meanwhile may be
// missed or seen.
func (r *Rows) All() iter.Seq[RemoteRow] {
	return func(yield func(RemoteRow) bool) {
		var rows []RemoteRow
		for i := range r.shards {
			sh := &r.shards[i]
			rows = rows[:0]
			sh.mu.RLock()
			seen := r.owners.Load().seen
			for _, p := range sh.pages {
				for k := range p {
					if s := &p[k]; s.size != 0 && seen[s.owner] != nil {
						rows = append(rows, RemoteRow{sh.row(s), seen[s.owner]})
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
