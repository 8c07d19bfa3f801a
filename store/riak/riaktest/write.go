package riaktest

import (
	"fmt"
	"slices"
	"time"

	rpb "github.com/basho/riak-go-client/rpb/riak_kv"
)

// A putRequest is one value with the context of its writer, and its quorums.
type putRequest struct {
	request
	seen      clock
	value     *rpb.RpbContent
	w, dw, pw Quorum
}

// A writing counts the replicas that have the object, as Riak's put does.
type writing struct {
	props    Props
	w, pw    int // w is the larger of w and dw
	dw       int
	places   []place // the coordinator first
	have     int
	primary  int
	combined *object // what they have together
}

func (w *writing) add(at place, o *object) {
	w.have++
	if at.primary {
		w.primary++
	}
	w.combined = reconcile(w.combined, o, w.props)
}

func (w *writing) enough() bool { return w.have >= w.w && w.primary >= w.pw }

func (w *writing) err() error {
	switch {
	case w.enough():
		return nil
	case w.primary < w.pw && (w.have >= w.w || w.pw >= w.dw):
		return fmt.Errorf("{pw_val_unsatisfied,%d,%d}", w.pw, w.primary)
	case w.have < w.dw:
		return fmt.Errorf("{dw_val_unsatisfied,%d,%d}", w.dw, w.have)
	}
	return errTimeout
}

// put writes a value: first where it is coordinated, then to as many replicas as
// the quorum needs before the answer, and to the others after it. A put that
// fails in the middle stays where it was written.
func (s *session) put(q putRequest) (*object, error) {
	w, err := s.preparePut(q)
	if err != nil {
		return nil, err
	}
	at := w.places[0]
	deadline := time.Now().Add(s.timeout(q.timeout))
	if err := s.awaitAnswer(at.node, time.Until(deadline)); err != nil {
		return nil, err
	}
	o, err := at.node.coordinate(at.partition, q.b, q.key, q.seen, stamp(q.value), w.props)
	if err != nil {
		return nil, err
	}
	s.node.cluster.counts.siblings(o)
	w.add(at, o)
	if s.half {
		return nil, errTimeout
	}
	s.replicate(q.request, w, o, time.Until(deadline))
	return w.combined, w.err()
}

// replicate sends the coordinated object to the other replicas. Those that are
// not needed for the quorum get it after the answer.
func (s *session) replicate(q request, w *writing, o *object, patience time.Duration) {
	var silent []<-chan *object
	var owners []place
	for i, at := range w.places[1:] {
		if w.enough() {
			rest := w.places[i+1:]
			s.later(func() { s.sendRest(q, w, rest, o) })
			return
		}
		if !s.alive() || !s.node.cluster.reaches(s.node.index, at.node.index) {
			continue
		}
		s.pause(time.Duration(at.node.slow.Load()))
		stored := make(chan *object, 1)
		at.node.storeSoon(func() { stored <- at.node.store(at.partition, q.b, q.key, o, w.props) })
		select {
		case have := <-stored:
			w.add(at, have)
		default:
			silent, owners = append(silent, stored), append(owners, at)
		}
	}
	s.awaitSilent(w, silent, owners, patience)
}

func (s *session) sendRest(q request, w *writing, rest []place, o *object) {
	for _, at := range rest {
		if !s.alive() || !s.node.cluster.reaches(s.node.index, at.node.index) {
			continue
		}
		at.node.storeSoon(func() { at.node.store(at.partition, q.b, q.key, o, w.props) })
	}
}

// awaitSilent waits for stalled replicas that the quorum needs.
func (s *session) awaitSilent(w *writing, silent []<-chan *object, owners []place, patience time.Duration) {
	if w.enough() || len(silent) == 0 {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for i, stored := range silent {
		for waiting := true; waiting && !w.enough(); {
			changed := s.node.cluster.changes()
			if !s.alive() {
				return
			}
			select {
			case o := <-stored:
				w.add(owners[i], o)
				waiting = false
			case <-changed:
			case <-timer.C:
				w.w, w.dw, w.pw = len(w.places)+1, 0, 0
				return
			}
		}
	}
}

func (s *session) preparePut(q putRequest) (*writing, error) {
	c := s.node.cluster
	p, ok := c.props(q.b)
	if !ok {
		return nil, errNoType
	}
	n, err := replicasOf(q.request, p)
	if err != nil {
		return nil, err
	}
	w := &writing{props: p, pw: orDefault(q.pw, p.PW).replicas(n), dw: max(1, orDefault(q.dw, p.DW).replicas(n))}
	w.w = max(w.dw, orDefault(q.w, p.W).replicas(n))
	w.places = c.preflist(s.node, c.first(q.b, q.key), n, q.sloppy)
	have := primaries(w.places)
	switch {
	case len(w.places) == 0:
		return nil, fmt.Errorf("all_nodes_down")
	case w.w > n || w.pw > n:
		return nil, fmt.Errorf("{n_val_violation,%d}", n)
	case w.pw > have:
		return nil, fmt.Errorf("{pw_val_unsatisfied,%d,%d}", w.pw, have)
	case len(w.places) < max(w.w, w.pw):
		return nil, fmt.Errorf("{insufficient_vnodes,%d,need,%d}", len(w.places), max(w.w, w.pw))
	}
	s.bySpeed(w.places)
	if i := slices.IndexFunc(w.places, func(at place) bool { return at.node == s.node }); i > 0 {
		w.places[0], w.places[i] = w.places[i], w.places[0]
	}
	return w, nil
}

// stamp is the value as it is stored: with the time and a tag of its own.
func stamp(value *rpb.RpbContent) *rpb.RpbContent {
	now := time.Now()
	seconds, micros := uint32(now.Unix()), uint32(now.Nanosecond()/1000)
	return &rpb.RpbContent{
		Value: append([]byte{}, value.Value...), ContentType: value.ContentType, Charset: value.Charset,
		ContentEncoding: value.ContentEncoding, Links: value.Links, Usermeta: value.Usermeta, Indexes: value.Indexes,
		Deleted: value.Deleted, Vtag: fmt.Appendf(nil, "%x", now.UnixNano()), LastMod: &seconds, LastModUsecs: &micros,
	}
}
