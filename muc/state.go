package muc

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"
	"unique"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// A State is a whole room with its occupants, as one process hands it to another: a value that shares nothing with the
// room it was made of.
type State struct {
	Name         string                 `json:"name"`
	Config       []byte                 `json:"config"` // as in the store
	Subject      []byte                 `json:"subject,omitempty"`
	Created      time.Time              `json:"created"`
	Expected     bool                   `json:"expected,omitempty"` // made by a service, and nobody has been in it yet
	Locked       bool                   `json:"locked,omitempty"`   // has yet to be configured
	Affiliations []store.Affiliation    `json:"affiliations,omitempty"`
	Occupants    []OccupantState        `json:"occupants,omitempty"` // in the order in which they entered
	History      []store.HistoryMessage `json:"history,omitempty"`   // what is in memory, oldest first; Seq is 0
	Voices       map[string]string      `json:"voices,omitempty"`    // roles of users who have left, by address; of a change "none" for one that is forgotten

	// What only nodes of a cluster tell each other. Stamps are nanoseconds since 1970.
	Configured int64             `json:"configured,omitempty"`  // when Config was changed; 1: it is as in the store
	SubjectSet int64             `json:"subject_set,omitempty"` // when Subject was
	Stamps     map[string]int64  `json:"stamps,omitempty"`      // when affiliations were, by address, also those that are no more
	Left       []string          `json:"left,omitempty"`        // of a change: sessions that are no more
	Whole      string            `json:"whole,omitempty"`       // Occupants has all sessions of this node, and History the messages that they have heard lately
	Sees       map[string]string `json:"sees,omitempty"`        // whom these have been shown: ids (XEP-0421) by nick, behind "~" if not all of them have
	Dealt      map[string]mark   `json:"dealt,omitempty"`       // how far it has come with what each node has sent
	Awaited    int64             `json:"awaited,omitempty"`     // until when it is there for those who are out of reach
	Asked      int64             `json:"asked,omitempty"`       // it answers this frameWho
	Behind     bool              `json:"behind,omitempty"`      // the sessions of Whole may have missed something; Asked is to be in the answer
	Returned   bool              `json:"returned,omitempty"`    // of Whole: it comes from where the room was thought to be
	CopyOf     string            `json:"copy_of,omitempty"`     // it is a copy of the room of this node, which was gone
	Unkept     bool              `json:"unkept,omitempty"`      // the store may have something else of it
	Unread     bool              `json:"unread,omitempty"`      // the store could not be asked for it
	Secret     []byte            `json:"secret,omitempty"`      // of that room: one that is made anew has another
}

// An OccupantState is one occupant of a State.
type OccupantState struct {
	Nick     string         `json:"nick"`
	Role     string         `json:"role"`
	Sessions []SessionState `json:"sessions"` // the one whose presence is shown first

	Affiliation string `json:"affiliation,omitempty"`
	Since       int64  `json:"since,omitempty"` // when it entered, nanoseconds since 1970
}

// A SessionState is one session of an OccupantState.
type SessionState struct {
	JID      string `json:"jid"`                // full
	Presence string `json:"presence,omitempty"` // children, raw XML
	Node     string `json:"node,omitempty"`     // where it is connected
	Since    int64  `json:"since,omitempty"`    // when it entered, milliseconds since 1970
	Bound    int64  `json:"bound,omitempty"`    // when it was bound, nanoseconds since 1970

	Absent int64    `json:"absent,omitempty"` // since when it is not there any more, and is looked for, milliseconds since 1970
	Waits  []string `json:"waits,omitempty"`  // what it is to be told then, raw XML
}

// Export yields every room that somebody is in.
func (s *Service) Export() iter.Seq[*State] {
	return func(yield func(*State) bool) {
		var b router.Batch
		for _, name := range s.names() {
			r := s.lock(&b, name)
			if r == nil {
				continue
			}
			x, err := r.state()
			empty := len(r.all) == 0
			r.mu.Unlock()
			if err != nil {
				s.log.Error("room not kept", "room", r.at, "err", err)
			} else if !empty && !yield(x) {
				return
			}
		}
	}
}

// state is the room as it is. The caller holds its lock.
func (r *room) state() (*State, error) {
	rec, err := r.record(r.cfg)
	if err != nil {
		return nil, err
	}
	x := &State{Name: rec.Name, Config: rec.Config, Subject: rec.Subject, Created: rec.Created, Locked: r.phase == locked, Affiliations: r.affiliates.stored()}
	x.Expected, x.Unkept, x.Unread, x.Voices = r.expected, r.unkept, r.unread, namedRoles(r.voices)
	if time.Now().Before(r.awaited) {
		x.Awaited = r.awaited.UnixNano()
	}
	if r.rep != nil {
		x.Configured, x.SubjectSet, x.Stamps, x.Dealt = r.rep.configured, r.rep.subjectSet, maps.Clone(r.rep.stamps), maps.Clone(r.rep.dealt)
	}
	for _, o := range r.all {
		x.Occupants = append(x.Occupants, o.state(r.rep, ""))
	}
	for _, m := range r.past.messages {
		x.History = append(x.History, m.kept())
	}
	return x, nil
}

// state is an occupant, with the sessions that are on one node or, if that is "", all of them.
func (o *occupant) state(rep *replication, only string) OccupantState {
	os := OccupantState{Nick: o.nick(), Role: o.role.String(), Affiliation: o.affiliation.String(), Since: o.since}
	for _, seat := range o.seats {
		node := rep.nodeOf(seat.session)
		if only == "" || rep.isOn(&seat, only) {
			x := SessionState{JID: seat.jid.String(), Presence: seat.presence.Value(), Node: node, Since: seat.since, Bound: seat.bound}
			if a, ok := seat.session.(*absent); ok && a.sure {
				x.Absent, x.Waits = a.since, a.waits()
			}
			os.Sessions = append(os.Sessions, x)
		}
	}
	return os
}

var errState = errors.New("muc: a room that cannot be")

// Import goes on with a room that another process has exported. Its occupants are those whose sessions are in the table; the others have
// left meanwhile, which is told. It does nothing if the room is here already, and when nobody is left in it.
func (s *Service) Import(x *State) error {
	name, err := stanza.ParseJID(x.Name + "@" + s.host.Domain())
	if err != nil || name.Local() != x.Name || !name.IsBare() {
		return errState
	}
	cfg, key, err := decodeSettings(x.Config)
	if err != nil {
		return err
	}
	r := &room{at: name, phase: open, cfg: cfg, secret: key, subject: x.Subject, created: x.Created.Unix(), affiliates: readAffiliates(x.Affiliations), voices: readRoles(x.Voices)}
	if x.Locked {
		r.phase = locked
	}
	for _, h := range x.History {
		r.past.add(remembered(h), s.cfg.Load())
	}
	var left []*occupant
	for i := range x.Occupants {
		o, err := s.occupant(r, &x.Occupants[i])
		if err != nil {
			return fmt.Errorf("%w: %w", errState, err)
		}
		if o.seats[0].session == nil {
			left = append(left, o)
		} else {
			r.add(o)
		}
	}
	for _, o := range left {
		r.keepVoice(o, o.role)
	}
	if len(r.all) == 0 {
		for _, o := range left {
			s.tellLeft(r, o, &notice{})
		}
		if !r.cfg.Persistent {
			s.tellDestroyed(r, LeftEmpty, "")
		}
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !s.insert(x.Name, r) {
		return nil
	}
	s.restore(r, x)
	s.Metrics.occupants.Add(float64(r.seats))
	var b router.Batch
	defer b.Flush()
	for _, o := range left {
		s.tellLeft(r, o, &notice{})
		if r.shown(o.role) {
			s.showOthers(&b, r, o, &notice{gone: true})
		}
	}
	return nil
}

// restore gives a room of a cluster what other nodes go by, and what it has yet to do with the store. The caller holds its lock.
func (s *Service) restore(r *room, x *State) {
	p := r.rep
	if p == nil {
		return
	}
	p.cfg, p.phase, p.configured, p.subject, p.subjectSet, p.stamps, p.dealt = r.cfg, r.phase, x.Configured, r.subject, x.SubjectSet, maps.Clone(x.Stamps), maps.Clone(x.Dealt)
	if r.unread = x.Unread; r.unread {
		s.tryLater(r)
	}
	if x.Unkept && r.cfg.Persistent {
		s.keepMerged(r)
	}
}

// occupant is one of a room that is imported. Who has no session any more keeps one without.
func (s *Service) occupant(r *room, x *OccupantState) (*occupant, error) {
	at, err := r.at.WithResource(x.Nick)
	role, ok := ParseRole(x.Role)
	if err != nil || !ok || at.IsBare() || r.named(x.Nick) != nil || len(x.Sessions) == 0 {
		return nil, errState
	}
	var here, gone []seat
	for _, session := range x.Sessions {
		full, err := stanza.ParseJID(session.JID)
		if err != nil || full.IsBare() || full.Local() == "" || r.of(full) != nil {
			return nil, errState
		}
		who := seat{jid: full, bound: session.Bound, presence: unique.Make(session.Presence), since: session.Since}
		if row, ok := s.rowOf(full, session.Bound); ok {
			who.session = s.sessionOf(row)
			here = append(here, who)
		} else {
			gone = append(gone, who)
		}
	}
	if len(here) == 0 {
		here = gone
	}
	user := here[0].jid
	o := &occupant{at: at, since: x.Since, id: r.secret.identify(user), role: role, affiliation: r.affiliation(user)}
	o.sit(here)
	return o, nil
}
