package roster

import (
	"hash/maphash"
	"sync"
	"time"

	"chatd/stanza"
)

const (
	stripes = 512
	// cachedContacts bounds the cache of all stripes together, in contacts. One costs
	// some 60 bytes.
	cachedContacts = 2 << 20
)

// accounts gives each account one of a fixed number of locks. Nobody waits for
// one lock while holding another, but for both, which takes them in order.
type accounts struct {
	seed    maphash.Seed
	stripes [stripes]stripe
}

// A stripe is the lock of many accounts, and caches for those of them that are
// online who is to be told of their presence, so that a presence update does
// not read the store. The server is the only one to change rosters: what is cached is dropped
// when it changes (Service.update) and when the last resource leaves. Past its
// bound a stripe forgets any others.
type stripe struct {
	sync.Mutex
	viewers map[string][]stanza.JID // by bare JID; contacts with from or both, in byte order; never changed in place
	cached  int                     // contacts in viewers, plus one for each account
	// requests is, by bare JID, when who has asked for friendship lately may ask as much again.
	requests map[string]time.Time
}

func (a *accounts) init() { a.seed = maphash.MakeSeed() }

func (a *accounts) index(bare stanza.JID) int {
	return int(maphash.String(a.seed, bare.String()) % stripes)
}

// lock locks one account, given by its bare JID.
func (a *accounts) lock(bare stanza.JID) *stripe {
	st := &a.stripes[a.index(bare)]
	st.Lock()
	return st
}

// lockBoth locks two accounts, given by their bare JIDs, until unlock is called.
func (a *accounts) lockBoth(one, two stanza.JID) (unlock func()) {
	i, j := a.index(one), a.index(two)
	if i == j {
		a.stripes[i].Lock()
		return a.stripes[i].Unlock
	}
	first, second := &a.stripes[min(i, j)], &a.stripes[max(i, j)]
	first.Lock()
	second.Lock()
	return func() {
		second.Unlock()
		first.Unlock()
	}
}

// of is the stripe of an account that the caller has locked.
func (a *accounts) of(bare stanza.JID) *stripe { return &a.stripes[a.index(bare)] }

// keepLocked caches an account's viewers.
func (st *stripe) keepLocked(bare stanza.JID, viewers []stanza.JID) {
	const room = cachedContacts / stripes
	st.dropLocked(bare)
	size := len(viewers) + 1
	if size > room {
		return
	}
	for other, list := range st.viewers {
		if st.cached+size <= room {
			break
		}
		delete(st.viewers, other)
		st.cached -= len(list) + 1
	}
	if st.viewers == nil {
		st.viewers = make(map[string][]stanza.JID)
	}
	st.viewers[bare.String()] = viewers
	st.cached += size
}

// dropLocked forgets an account's viewers.
func (st *stripe) dropLocked(bare stanza.JID) {
	if list, ok := st.viewers[bare.String()]; ok {
		delete(st.viewers, bare.String())
		st.cached -= len(list) + 1
	}
}
