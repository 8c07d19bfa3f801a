package riaktest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A riakError is an error in Riak's words.
type riakError string

func (e riakError) Error() string { return string(e) }

const (
	errNotFound   = riakError("notfound")
	errTimeout    = riakError("timeout")
	errNoType     = riakError("no_type")
	errBadMessage = riakError("Error processing incoming message: error:badarg")
)

// A request is where a key is and how long its answer may take.
type request struct {
	b       bucket
	key     string
	n       int // n_val of the request; 0: the bucket's
	sloppy  bool
	timeout time.Duration
}

// A getRequest is a read with its quorums.
type getRequest struct {
	request
	r, pr             Quorum
	notFoundOK, basic *bool
}

// An answer is what one replica has; nil: nothing.
type answer struct {
	place  place
	object *object
}

// A reading collects replicas' answers, as Riak's get does.
type reading struct {
	props      Props
	n, r, pr   int
	notFoundOK bool
	failures   int // so many make success impossible

	answers                      []answer
	ok, primary, notFound, fails int
}

func (r *reading) add(a answer) {
	r.answers = append(r.answers, a)
	if a.object == nil && !r.notFoundOK {
		r.notFound++
		return
	}
	r.ok++
	if a.place.primary {
		r.primary++
	}
}

func (r *reading) quorum() bool { return r.ok >= r.r && r.primary >= r.pr }

func (r *reading) enough() bool {
	return r.quorum() || r.notFound+r.fails >= r.failures || r.ok+r.notFound+r.fails >= r.n
}

// merged is what all answers are together; nil if none has anything.
func (r *reading) merged() *object {
	var o *object
	for _, a := range r.answers {
		o = reconcile(o, a.object, r.props)
	}
	if o == nil {
		return nil
	}
	return o.single(r.props)
}

func (r *reading) result() (*object, error) {
	o := r.merged()
	switch {
	case r.quorum() && o == nil:
		return nil, errNotFound
	case r.quorum():
		return o, nil
	case r.fails == 0 && r.notFound > 0 && (o == nil || o.tombstone()):
		return nil, errNotFound
	case r.pr > r.primary && (r.ok >= r.r || r.pr >= r.r):
		return nil, fmt.Errorf("{pr_val_unsatisfied,%d,%d}", r.pr, r.primary)
	}
	return nil, fmt.Errorf("{r_val_unsatisfied,%d,%d}", r.r, r.ok)
}

// get reads a key: as many replicas as the quorum needs before the answer, the
// others after it, for read repair. A tombstone is an object here.
func (s *session) get(q getRequest) (*object, error) {
	r, places, err := s.prepareGet(q)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(s.timeout(q.timeout))
	for i, at := range places {
		if r.enough() {
			s.later(func() { s.repair(q.request, r, places, i) })
			return r.result()
		}
		if err := s.awaitAnswer(at.node, time.Until(deadline)); errors.Is(err, errTimeout) {
			return nil, err
		} else if err != nil {
			r.fails++
			continue
		}
		r.add(answer{at, at.node.load(at.partition, q.b, q.key)})
	}
	s.later(func() { s.repair(q.request, r, places, len(places)) })
	return r.result()
}

func (s *session) prepareGet(q getRequest) (*reading, []place, error) {
	c := s.node.cluster
	p, ok := c.props(q.b)
	if !ok {
		return nil, nil, errNoType
	}
	n, err := replicasOf(q.request, p)
	if err != nil {
		return nil, nil, err
	}
	r := &reading{props: p, n: n, r: orDefault(q.r, p.R).replicas(n), pr: orDefault(q.pr, p.PR).replicas(n), notFoundOK: p.NotFoundOK}
	if q.notFoundOK != nil {
		r.notFoundOK = *q.notFoundOK
	}
	r.failures = n - max(r.r, r.pr) + 1
	if basic := q.basic; basic != nil && *basic || basic == nil && p.BasicQuorum {
		r.failures = min(r.failures, n/2+1)
	}
	places := c.preflist(s.node, c.first(q.b, q.key), n, q.sloppy)
	have := primaries(places)
	switch {
	case r.r > n || r.pr > n:
		err = fmt.Errorf("{n_val_violation,%d}", n)
	case r.pr > have:
		err = fmt.Errorf("{pr_val_unsatisfied,%d,%d}", r.pr, have)
	case r.r > len(places):
		err = fmt.Errorf("{insufficient_vnodes,%d,need,%d}", len(places), r.r)
	}
	s.bySpeed(places)
	return r, places, err
}

func replicasOf(q request, p Props) (int, error) {
	if q.n > p.N {
		return 0, fmt.Errorf("{n_val_violation,%d}", q.n)
	}
	return cmp.Or(q.n, p.N), nil
}

func orDefault(q, byDefault Quorum) Quorum {
	if q == DefaultQuorum {
		return byDefault
	}
	return q
}

// bySpeed orders replicas as their answers come: at random, slow ones late,
// silent ones last.
func (s *session) bySpeed(places []place) {
	s.node.cluster.shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	slices.SortStableFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.node.state.Load(), b.node.state.Load()),
			cmp.Compare(a.node.slow.Load(), b.node.slow.Load()))
	})
}

// repair asks the replicas that were not needed, from the one at rest, gives all
// what they together have, and lets a tombstone go that all have.
func (s *session) repair(q request, r *reading, places []place, rest int) {
	for _, at := range places[rest:] {
		if at.node.state.Load() == up && s.node.cluster.reaches(s.node.index, at.node.index) {
			r.add(answer{at, at.node.load(at.partition, q.b, q.key)})
		}
	}
	o := r.merged()
	if o == nil {
		return
	}
	all := len(r.answers) == r.props.N && primaries(places) == r.props.N
	for _, a := range r.answers {
		all = all && a.object != nil
		if a.object == o || a.object != nil && a.object.clock.descends(o.clock) || !s.alive() {
			continue
		}
		a.place.node.storeSoon(func() { a.place.node.store(a.place.partition, q.b, q.key, o, r.props) })
	}
	if all && o.tombstone() {
		s.node.cluster.reap(q, r.answers)
	}
}

// reap ends a tombstone that every replica has, on its owner, after
// Config.ReapAfter.
func (c *Cluster) reap(q request, answers []answer) {
	if c.config.ReapAfter < 0 {
		return
	}
	at := time.Now().Add(c.config.ReapAfter)
	for _, a := range answers {
		a.place.node.reap(a.place.partition, q.b, q.key, at)
	}
}
