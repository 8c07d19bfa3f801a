package muc

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// placeLocked makes the placement that of the nodes that all others reach, once they agree about who is there or have not for a second (cluster/reach.go), and has the
// others told of it; who is not one of those nodes waits for their word. Only then it is known here that nodes are gone.
func (n *simNode) placeLocked() {
	if own := slices.Sorted(maps.Keys(n.peers)); !slices.Equal(own, n.own) {
		n.own = own
		for _, e := range n.peersLocked() {
			e.sendLocked(simReach, "", []byte(strings.Join(own, " ")))
		}
	}
	n.noteHolesLocked()
	homes := n.coreLocked()
	if slices.Contains(homes, n.name) || n.retired[n.name] {
		if !n.agreeLocked(time.Second) {
			return
		}
	} else if !slices.ContainsFunc(homes, func(name string) bool { return n.tokens[name].Nodes == hashOf(homes) }) && !n.agreeLocked(2*time.Second) {
		return
	}
	for name := range n.leaving {
		n.tellGoneLocked(name)
	}
	if slices.Equal(homes, n.homes) {
		return
	}
	n.seen = max(n.seen+1, uint64(time.Now().UnixMilli()))
	n.homes = homes
	n.becomeLocked(Token{n.seen, hashOf(homes)})
	for _, e := range n.peersLocked() {
		e.sendLocked(simToken, "", n.token.append(nil))
	}
}

// peersLocked is the ends of the links that are up, in order of the other nodes' names.
func (n *simNode) peersLocked() (all []*simEnd) {
	for _, name := range slices.Sorted(maps.Keys(n.peers)) {
		all = append(all, n.peers[name])
	}
	return all
}

func (n *simNode) becomeLocked(t Token) {
	n.token = t
	time.AfterFunc(n.s.within(2*time.Millisecond, "placed", n.name), func() {
		if !n.isDead() {
			n.Placed(context.Background())
		}
	})
}

// Node implements Place, and so do the others.
func (n *simNode) Node() string { return n.name }

func pick(room string, homes []string) (best string) {
	var most uint64
	for _, name := range homes {
		h := fnv.New64a()
		io.WriteString(h, room+" "+name+" "+room)
		if score := h.Sum64() * 0x9e3779b97f4a7c15; best == "" || score > most {
			best, most = name, score
		}
	}
	return best
}

func (n *simNode) Home(room string) string {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return pick(room, n.homes)
}

func (n *simNode) Second(room string) string {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return pick(room, slices.DeleteFunc(slices.Clone(n.homes), func(h string) bool { return h == n.name }))
}

func (n *simNode) Token() Token {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return n.token
}

func (n *simNode) Split() bool {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	for _, o := range n.s.nodes {
		if o != nil && o != n && !o.dead && n.peers[o.name] == nil {
			return true
		}
	}
	return false
}

func (n *simNode) Nodes() (names []string) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	for name := range n.peers {
		names = append(names, name)
	}
	for name := range n.leaving {
		if n.peers[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (n *simNode) Send(to string, kind byte, room string, parts ...[]byte) bool {
	payload := bytes.Join(parts, nil)
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	if n.dead {
		return false
	}
	n.s.frameLocked("sends", n.name, to, kind, room, payload)
	if to == n.name {
		n.worker(room).put(func(b *router.Batch) { n.Frame(context.Background(), b, n.name, kind, room, payload) })
		return true
	}
	e := n.peers[to]
	if gone := n.leaving[to]; e == nil && gone != nil {
		gone.frames = append(gone.frames, Frame{kind, room, payload})
		return true
	}
	return e != nil && e.sendLocked(kind, room, payload)
}

// simRows is the rows of other nodes.
type simRows struct {
	router.Elsewhere
	n *simNode
}

func (e simRows) Rows(rows []router.Row, user stanza.JID) []router.Row {
	e.n.s.mu.Lock()
	defer e.n.s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(e.n.rows)) {
		theirs := e.n.rows[name]
		for _, full := range slices.Sorted(maps.Keys(theirs)) {
			if row := theirs[full]; row.Session.JID().Bare() == user.Bare() {
				rows = append(rows, row)
			}
		}
	}
	return slices.DeleteFunc(rows, func(row router.Row) bool { // one that is bound elsewhere since
		return row.Remote && slices.ContainsFunc(rows, func(o router.Row) bool { return o.Session.JID() == row.Session.JID() && boundAt(o) > boundAt(row) })
	})
}

func (e simRows) Changed(row router.Row) { e.tell("+", row) }

func (e simRows) Gone(row router.Row) { e.tell("-", row) }

func (e simRows) tell(what string, row router.Row) {
	e.n.s.mu.Lock()
	defer e.n.s.mu.Unlock()
	full, at := row.Session.JID().String(), boundAt(row)
	if was, has := e.n.bound[full]; (what == "+") == (has && was == at) || what == "-" && was != at {
		return
	}
	e.n.bound[full] = at
	payload := e.n.rowLocked(full)
	if what == "-" {
		delete(e.n.bound, full)
		payload[0] = '-'
	}
	for _, end := range e.n.peersLocked() {
		end.sendLocked(simRow, "", payload)
	}
}

// rowLocked is the payload of a simRow.
func (n *simNode) rowLocked(full string) []byte {
	return append(binary.LittleEndian.AppendUint64([]byte{'+'}, uint64(n.bound[full])), full...)
}

// A simRemote is a session of another node.
type simRemote struct {
	router.Session
	end   *simEnd
	jid   stanza.JID
	state router.State
}

func (r *simRemote) State() *router.State { return &r.state }

func (r *simRemote) JID() stanza.JID { return r.jid }

func (r *simRemote) Node() string { return r.end.to.name }

func (r *simRemote) Send(_ *router.Batch, st *stanza.Stanza) bool {
	n := r.end.from
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	full := r.jid.String()
	payload := binary.AppendUvarint(nil, uint64(len(full)))
	return r.end.sendLocked(simRoute, r.jid.Bare().String(), st.Append(append(payload, full...)))
}

func (n *simNode) routed(b *router.Batch, payload []byte) {
	full, raw, _ := cutText(payload)
	st, err := stanza.Parse(raw)
	if err != nil {
		panic(err)
	}
	n.r.Arrived(context.Background(), b, st, stanza.MustJID(string(full)), false)
}
