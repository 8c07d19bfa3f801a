package resident

import (
	"container/list"
	"sync"
	"time"

	"chatd/store"
)

// parts is a set of the parts of a store.Player.
type parts uint8

const (
	account parts = 1 << iota
	blocked
	privacy
	roster
	vcard
	waiting

	// login is what a login cannot do without.
	login      = account | blocked | privacy | roster
	everything = login | vcard | waiting
)

// rosterReads is how often one login reads the friends list: for the client, and for the initial presence.
const rosterReads = 2

// An entry is what is known of one user. Those that somebody reads or doubts are in the map only.
type entry struct {
	user    string
	player  *store.Player // never changed in place; nil: there is no such user, if has is not empty
	has     parts         // of player that still hold
	fresh   parts         // of these, those that answer the login that is going on
	rosters int           // how often the roster has been taken
	at      time.Time     // when it was read
	size    int           // in bytes, roughly
	in      *list.List    // shard.logins or shard.kept; nil: neither
	where   *list.Element // there

	readers int   // who are reading it just now
	spoiled parts // changed since the first of them began
	doubt   parts // perhaps changed yet, until then
	until   time.Time
}

// A shard is the users of one hash.
type shard struct {
	mu      sync.Mutex
	keeps   int // bounds kept
	entries map[string]*entry
	logins  *list.List  // entries that answer a login, the newest in front
	kept    *list.List  // entries that are for logins without the database, likewise
	used    int         // size of logins
	sweeper *time.Timer // nil: there is nothing to sweep
	closed  bool
}

func (sh *shard) init(keeps int) {
	sh.keeps, sh.entries, sh.logins, sh.kept = keeps, make(map[string]*entry), list.New(), list.New()
}

func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.closed = true
	if sh.sweeper != nil {
		sh.sweeper.Stop()
	}
}

// login is the user for whom a login began lately; nil if there is none of that name. It is ok if
// that is known.
func (sh *shard) login(user string) (p *store.Player, ok bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.entries[user]
	if e == nil || e.fresh&account == 0 || time.Since(e.at) > fresh {
		return nil, false
	}
	return e.player, e.player == nil || e.fresh&login == login
}

// take is the user if one of its parts is fresh. What the login will not ask for again goes.
func (sh *shard) take(user string, which parts) *store.Player {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.entries[user]
	if e == nil || e.player == nil || e.fresh&which == 0 || time.Since(e.at) > fresh {
		return nil
	}
	p := e.player
	switch {
	case which == roster:
		if e.rosters++; e.rosters >= rosterReads {
			e.fresh &^= roster
		}
	case which == vcard, which == waiting:
		e.fresh &^= which
	}
	if e.fresh&(roster|waiting) == 0 {
		sh.settleLocked(e)
	}
	return p
}

// old is the user as last known, if these parts are.
func (sh *shard) old(user string, which parts) *store.Player {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.entries[user]
	if sh.keeps == 0 || e == nil || e.player == nil || e.has&which != which || time.Since(e.at) > KeptFor {
		return nil
	}
	return e.player
}

// reading begins a read of a user, which keep or failed ends.
func (sh *shard) reading(user string) *entry {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.entries[user]
	if e == nil {
		e = &entry{user: user}
		sh.entries[user] = e
	}
	e.readers++
	return e
}

// failed ends a read that has found out nothing.
func (sh *shard) failed(e *entry) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.readLocked(e)
	sh.restLocked(e)
}

// readLocked is the end of a read.
func (sh *shard) readLocked(e *entry) {
	if e.readers--; e.readers == 0 {
		e.spoiled = 0
	}
}

// keep ends a read that has found p, nil if there is no such user, and keeps of it what nobody has changed meanwhile.
func (sh *shard) keep(e *entry, p *store.Player) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	holds := everything &^ e.spoiled
	if e.doubt != 0 {
		if time.Now().After(e.until) {
			e.doubt = 0
		}
		holds &^= e.doubt
	}
	sh.readLocked(e)
	if holds&account == 0 || sh.closed {
		sh.restLocked(e)
		return
	}
	sh.unlinkLocked(e)
	e.player, e.has, e.fresh, e.rosters, e.at, e.size = p, holds, holds, 0, time.Now(), sizeOf(p)
	sh.linkLocked(e, sh.logins)
	for sh.used > freshRoom/shards && sh.logins.Len() > 1 {
		sh.settleLocked(sh.logins.Back().Value.(*entry))
	}
	sh.sweepLaterLocked()
}

// sizeOf is what a user costs until the login is over, in bytes, roughly.
func sizeOf(p *store.Player) int {
	const fixed, perContact, perBlocked = 1024, 192, 64
	if p == nil {
		return fixed
	}
	size := fixed + perContact*len(p.Roster.Items) + perBlocked*len(p.Blocked) + len(p.VCard)
	for i := range p.Roster.Items {
		size += len(p.Roster.Items[i].Request)
	}
	return size
}

// changed forgets parts of a user; with doubt they may change yet. It reports whether something is kept for logins without the database.
func (sh *shard) changed(user string, which parts, doubt bool) (kept bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.entries[user]
	if e == nil && !doubt {
		return false
	}
	if e == nil {
		e = &entry{user: user}
		sh.entries[user] = e
	}
	kept = sh.keeps > 0 && e.has&login != 0 && e.player != nil
	e.spoiled |= which
	if e.readers == 0 {
		e.spoiled = 0
	}
	e.has &^= which
	e.fresh &^= which
	if e.player == nil || e.has == 0 {
		e.has, e.fresh, e.player = 0, 0, nil
		sh.unlinkLocked(e)
	}
	if doubt {
		e.doubt, e.until = e.doubt|which, time.Now().Add(doubtTime)
		sh.sweepLaterLocked()
	}
	sh.restLocked(e)
	return kept
}

func (sh *shard) forget(user string) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.entries[user]; e != nil {
		sh.forgetLocked(e)
	}
}

func (sh *shard) forgetAll() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, e := range sh.entries {
		sh.forgetLocked(e)
	}
}

func (sh *shard) forgetLocked(e *entry) {
	sh.unlinkLocked(e)
	e.player, e.has, e.fresh = nil, 0, 0
	if e.readers > 0 {
		e.spoiled = everything
	}
	sh.restLocked(e)
}

func (sh *shard) count() int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.kept.Len()
}

// settleLocked is the end of a login: its user is forgotten, or kept without what only a login with the database needs.
func (sh *shard) settleLocked(e *entry) {
	e.fresh = 0
	sh.unlinkLocked(e)
	if sh.keeps == 0 || e.player == nil || e.has&login != login {
		e.player, e.has = nil, 0
		sh.restLocked(e)
		return
	}
	if e.player.VCard != nil {
		p := *e.player
		p.VCard = nil
		e.player = &p
	}
	e.has &= login
	sh.linkLocked(e, sh.kept)
	if sh.kept.Len() > sh.keeps {
		sh.forgetLocked(sh.kept.Back().Value.(*entry))
	}
}

func (sh *shard) linkLocked(e *entry, in *list.List) {
	e.in, e.where = in, in.PushFront(e)
	if in == sh.logins {
		sh.used += e.size
	}
}

func (sh *shard) unlinkLocked(e *entry) {
	if e.in == sh.logins {
		sh.used -= e.size
	}
	if e.in != nil {
		e.in.Remove(e.where)
		e.in, e.where = nil, nil
	}
}

// restLocked drops an entry that says nothing any more.
func (sh *shard) restLocked(e *entry) {
	if e.in == nil && e.readers == 0 && (e.doubt == 0 || time.Now().After(e.until)) {
		delete(sh.entries, e.user)
	}
}

// sweep ends the logins that have taken too long, or were none, and forgets who was not here for long. It runs again as long as
// there is anything to do.
func (sh *shard) sweep() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, e := range sh.entries {
		switch {
		case e.in == nil:
			sh.restLocked(e)
		case e.in == sh.logins && time.Since(e.at) >= fresh:
			sh.settleLocked(e)
		case time.Since(e.at) > KeptFor:
			sh.forgetLocked(e)
		}
	}
	sh.sweeper = nil
	if len(sh.entries) > 0 {
		sh.sweepLaterLocked()
	}
}

func (sh *shard) sweepLaterLocked() {
	if sh.sweeper != nil || sh.closed {
		return
	}
	sh.sweeper = time.AfterFunc(fresh, sh.sweep)
}
