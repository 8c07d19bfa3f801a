package cluster

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"time"
)

// A receiver is what is known of a peer's rows. Its lock is held for the whole of a frame.
type receiver struct {
	mu       sync.Mutex
	stale    bool   // a newer incarnation is known
	shown    *Owner // whose rows are seen
	building *Owner // the snapshot that is coming in
	number   uint64 // of the last snapshot that began
	pos      uint64 // the last change that was applied
	bytes    uint64 // of rows applied since the snapshot began
	asked    bool   // for a snapshot, which has not begun yet
	repair   part   // a segment that is coming in
}

// maxRepair bounds a segment that is to be repaired: a million rows.
const maxRepair = 64 << 20

// Frame takes a frame of replication that a peer sent. The payload is a view. What is of no known peer, or of
// an incarnation that is not the newest, is ignored.
func (r *Replica) Frame(s Sender, kind byte, payload []byte) {
	p := r.peer(s)
	if p == nil {
		return
	}
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	if p.in.stale {
		return
	}
	var err error
	switch kind {
	case kindSnapshot:
		err = r.onSnapshot(p, payload)
	case kindSegment:
		err = r.onSegment(p, payload)
	case kindComplete:
		err = r.onComplete(p, payload)
	case kindDeltas:
		err = r.onDeltas(p, payload)
	case kindDigest:
		err = r.onDigest(p, payload)
	case kindGot:
		err = r.onGot(p, payload)
	case kindAsk:
		r.onAsk(p, payload)
	case kindPlacement:
		err = r.onPlacement(p, payload)
	case kindRetire:
		p.mu.Lock()
		p.retired = true
		p.mu.Unlock()
		r.place(nil)
	case kindReach:
		err = r.onReach(p, payload)
	}
	if err != nil {
		r.stats.malformed.Add(1)
		if r.seldom.may("malformed " + p.node) {
			r.cfg.Log.Error("replication: a frame cannot be used", "peer", p.node, "kind", kind, "err", err)
		}
		r.askAll(p)
	}
}

// onSnapshot begins to build the peer's rows anew, beside what is seen of them.
func (r *Replica) onSnapshot(p *replicaPeer, b []byte) error {
	number, after, _, err := pair(b)
	if err != nil {
		return err
	}
	if number <= p.in.number {
		return nil
	}
	r.abandon(p)
	p.in.number, p.in.pos, p.in.bytes, p.in.asked, p.in.repair = number, after, 0, false, part{}
	p.mu.Lock()
	p.applied.number, p.applied.bytes, p.applied.told, p.ask = number, 0, 0, segments{}
	p.mu.Unlock()
	p.in.building, err = r.Rows.open(p.node, p.incarnation, p.sender)
	return err
}

// abandon forgets a snapshot that is not complete.
func (r *Replica) abandon(p *replicaPeer) {
	if p.in.building != nil {
		r.Rows.swap(nil, p.in.building)
		r.Release(p.in.building)
		p.in.building = nil
	}
}

func (r *Replica) onSegment(p *replicaPeer, b []byte) error {
	part, err := readPart(b)
	if err != nil || part.number != p.in.number || p.in.asked {
		return err
	}
	if part.marks&markRepair != 0 {
		return r.onRepair(p, part)
	}
	if p.in.building == nil {
		return errFrame
	}
	err = records(part.records, func(_ int, rec *record) error {
		if rec.gone || segmentOf(r.Rows.key.text(rec.JID.Bare().String())) != part.segment {
			return errRecord
		}
		r.arrives(rec, p.in.building, math.MaxUint64)
		r.Rows.enter(p.in.building, rec)
		r.arrived(rec, p.in.building)
		return nil
	})
	if part.marks&markLast != 0 {
		r.Rows.entered(p.in.building, part.segment, part.last)
	}
	r.applied(p, len(part.records))
	return err
}

// onRepair collects a segment, and replaces it at once.
func (r *Replica) onRepair(p *replicaPeer, part part) error {
	r.applied(p, len(part.records))
	if part.marks&markFirst != 0 {
		p.in.repair = part
		p.in.repair.records = slices.Clone(part.records)
	} else if p.in.repair.segment == part.segment && len(p.in.repair.records) <= maxRepair {
		p.in.repair.records = append(p.in.repair.records, part.records...)
	} else {
		return errFrame
	}
	if part.marks&markLast == 0 {
		return nil
	}
	whole := p.in.repair
	p.in.repair.records = nil
	if p.in.shown == nil || p.in.building != nil {
		return nil
	}
	err := records(whole.records, func(_ int, rec *record) error {
		if rec.gone || segmentOf(r.Rows.key.text(rec.JID.Bare().String())) != whole.segment {
			return errRecord
		}
		return nil
	})
	if err != nil {
		return err
	}
	_ = records(whole.records, func(_ int, rec *record) error { r.arrives(rec, p.in.shown, math.MaxUint64); return nil })
	if err := r.Rows.replace(p.in.shown, whole.segment, whole.last, whole.records); err != nil {
		return err
	}
	r.stats.repaired.Add(1)
	return records(whole.records, func(_ int, rec *record) error { r.arrived(rec, p.in.shown); return nil })
}

// onComplete shows a snapshot instead of what was seen so far.
func (r *Replica) onComplete(p *replicaPeer, b []byte) error {
	number, upTo, _, err := pair(b)
	if err != nil || number != p.in.number || p.in.asked || p.in.building == nil {
		return err
	}
	if p.in.pos < upTo {
		r.gap(p, upTo)
		return nil
	}
	old := p.in.shown
	r.Rows.swap(p.in.building, old)
	p.in.shown, p.in.building = p.in.building, nil
	r.Release(old)
	r.stats.snapshotsApplied.Add(1)
	r.cfg.Log.Info("replication: rows of a peer are complete", "peer", p.node, "rows", p.in.shown.Len())
	if r.cfg.Complete != nil {
		r.cfg.Complete(p.in.shown)
	}
	return nil
}

// onDeltas applies changes in the order of their numbers, none twice.
func (r *Replica) onDeltas(p *replicaPeer, b []byte) error {
	number, first, recs, err := pair(b)
	if err != nil || p.in.asked {
		return err
	}
	o := p.in.building
	if o == nil {
		o = p.in.shown
	}
	if o == nil || number != p.in.number || first > p.in.pos+1 {
		r.gap(p, first)
		return nil
	}
	n := 0
	err = records(recs, func(i int, rec *record) error {
		seq := first + uint64(i)
		if seq <= p.in.pos {
			return nil
		}
		p.in.pos = seq
		n++
		if r.arrives(rec, o, seq) {
			return nil
		}
		r.Rows.apply(o, rec, seq)
		if !rec.gone {
			r.arrived(rec, o)
		}
		return nil
	})
	r.stats.deltasApplied.Add(uint64(n))
	r.applied(p, len(recs))
	return err
}

// arrives sees, before an owner's change number seq is seen, to the rows that are not to be sent to any more because of it: that one, and
// others of the same full JID. It reports whether the change is there already.
func (r *Replica) arrives(rec *record, o *Owner, seq uint64) (already bool) {
	var room [4]RemoteRow
	others, last, rebound := r.Rows.meet(room[:0], o, rec)
	if last >= seq {
		return true
	}
	if (rec.gone || rec.Detached) && r.cfg.Receded != nil {
		r.cfg.Receded(rec.JID, o)
	}
	if rebound {
		r.outdoes(&rec.Row, o.Node, others)
		r.meets(rec, o)
	}
	return false
}

// arrived sees to the clock, and to what has come here while the change was made.
func (r *Replica) arrived(rec *record, o *Owner) {
	r.saw(rec.Bound)
	if r.cfg.Arrived != nil {
		r.cfg.Arrived(rec.Row, o)
	}
	if r.meets(rec, o) {
		r.stats.duplicates.Add(1)
	}
}

// meets calls Duplicate if this node has a row of the same full JID.
func (r *Replica) meets(rec *record, o *Owner) bool {
	if r.self.Len() == 0 || r.cfg.Duplicate == nil {
		return false
	}
	local, ok := r.local.Row(rec.JID)
	if ok {
		remote := RemoteRow{rec.Row, o}
		remote.JID = local.JID // which is not a view of the frame
		r.cfg.Duplicate(local.Row, remote)
	}
	return ok
}

// onDigest compares the peer's digest, which follows all else, with what is seen of its rows. A segment whose changes are still
// to come has to wait for the next one.
func (r *Replica) onDigest(p *replicaPeer, b []byte) error {
	number, upTo, sums, err := pair(b)
	if err != nil || len(sums) != shardCount*16 {
		return errFrame
	}
	if number != p.in.number || p.in.pos < upTo || p.in.asked || p.in.building != nil || p.in.shown == nil {
		r.gap(p, upTo)
		return nil
	}
	var differ segments
	n := 0
	for k := range shardCount {
		last, sum := binary.LittleEndian.Uint64(sums[k*16:]), binary.LittleEndian.Uint64(sums[k*16+8:])
		seg := r.Rows.segment(p.in.shown, k)
		if last > p.in.pos || seg.last == last && seg.sum == sum {
			continue
		}
		differ.add(k)
		n++
	}
	p.mu.Lock()
	p.ask, p.differ, p.compared = differ, n, time.Now()
	p.mu.Unlock()
	if n > 0 {
		r.stats.drift.Add(uint64(n))
		r.cfg.Log.Error("replication: rows differ from their owner's, and are repaired", "peer", p.node, "segments", n)
		poke(r.wake)
	}
	return nil
}

// gap asks for a snapshot, because changes are missing.
func (r *Replica) gap(p *replicaPeer, at uint64) {
	r.stats.gaps.Add(1)
	r.cfg.Log.Warn("replication: changes are missing, a snapshot is asked for", "peer", p.node, "have", p.in.pos, "next", at)
	r.askAll(p)
}

func (r *Replica) askAll(p *replicaPeer) {
	p.in.asked = true
	p.mu.Lock()
	p.askAll = true
	p.mu.Unlock()
	poke(r.wake)
}

// applied counts, so that the peer sends more.
func (r *Replica) applied(p *replicaPeer, n int) {
	p.in.bytes += uint64(n)
	p.mu.Lock()
	p.applied.bytes = p.in.bytes
	due := p.applied.bytes-p.applied.told >= window/8
	p.mu.Unlock()
	if due {
		poke(r.wake)
	}
}

func (r *Replica) onGot(p *replicaPeer, b []byte) error {
	snapshot, bytes, _, err := pair(b)
	if err != nil {
		return err
	}
	p.mu.Lock()
	if snapshot == p.number && bytes <= p.sent {
		p.got, p.moved = max(p.got, bytes), time.Now()
	}
	p.mu.Unlock()
	poke(r.wake)
	return nil
}

func (r *Replica) onPlacement(p *replicaPeer, b []byte) error {
	epoch, nodes, _, err := pair(b)
	if err != nil {
		return err
	}
	r.Places.told(Token{epoch, nodes})
	p.mu.Lock()
	p.placement = nodes
	p.mu.Unlock()
	if !r.settled.Load() {
		r.place(nil)
	}
	return nil
}

func (r *Replica) onAsk(p *replicaPeer, b []byte) {
	p.mu.Lock()
	if len(b) == 0 {
		p.begun = false
	}
	for _, k := range b {
		p.repairs.add(int(k))
	}
	p.mu.Unlock()
	poke(r.wake)
}
