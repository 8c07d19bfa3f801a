package cluster

import (
	"fmt"
)

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
