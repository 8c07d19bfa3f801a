package riak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	basho "github.com/basho/riak-go-client"
)

// A value is a state as it was read, with the causal context that a write of it has to carry.
type value struct {
	state
	context  []byte   // nil: nothing was there
	siblings []*state // that it was merged from
	forked   bool     // none of them had it all
}

// A quorum says how many replicas must have answered; pr, pw: how many of those that are responsible, rather than
// stand in for one that is not reachable. docs/operations.md says why which verb has which.
//
// Where stand-ins will do, a read asks those that are responsible first all the same: two that stand in know nothing of what was there
// before, and would be half the replicas. Only when too few are reachable does it ask all, whoever they are.
type quorum struct{ r, pr, w, dw, pw uint32 }

// quorums of a bucket type of n replicas.
type quorums struct {
	// all reads whatever is reachable.
	all quorum
	// lasting is for nearly everything: half the replicas have it on disk, if need be those that stand in for others.
	lasting quorum
	// strict is for what two must not both be given. It does not work on the smaller side of a partition.
	strict quorum
	// sure reads all that is reachable, if that is most of those that are responsible.
	sure quorum
}

func quorumsOf(n uint32) quorums {
	most := n/2 + 1
	return quorums{
		all:     quorum{r: n},
		lasting: quorum{r: most, w: most, dw: most},
		strict:  quorum{r: most, pr: most, w: most, dw: most, pw: most},
		sure:    quorum{r: n, pr: most},
	}
}

// read gets a value and merges its siblings. What is not there is an empty value. It may be a while old
// when replicas are not reachable: what is written of it merges.
func (s *Store) read(ctx context.Context, r ref, q quorum) (*value, error) {
	if q.pr > 0 {
		return s.readFrom(ctx, r, q)
	}
	q.pr = q.r
	v, err := s.readFrom(ctx, r, q)
	if e, ok := errors.AsType[*serverError](err); ok && e.fewPrimaries() {
		return s.readFrom(ctx, r, s.quorums.all)
	}
	return v, err
}

func (s *Store) readFrom(ctx context.Context, r ref, q quorum) (*value, error) {
	cmd, err := s.pool.do(ctx, request{name: "get " + r.bucket, build: func(timeout time.Duration) (basho.Command, error) {
		return basho.NewFetchValueCommandBuilder().WithBucketType(s.kind).WithBucket(s.bucket(r.bucket)).WithKey(keyOf(r.key)).
			WithR(q.r).WithPr(q.pr).WithNotFoundOk(true).WithBasicQuorum(false).WithReturnDeletedVClock(true).WithTimeout(timeout).Build()
	}})
	if err != nil {
		return nil, err
	}
	answer := cmd.(*basho.FetchValueCommand).Response
	v := &value{context: answer.VClock}
	if err := v.take(answer.Values); err != nil {
		return nil, fmt.Errorf("riak: %s of %q: %w", r.bucket, r.key, err)
	}
	return v, nil
}

// contentType is Riak's name for bytes that it knows nothing of.
const contentType = "application/octet-stream"

// keyOf is never empty, which Riak would not take.
func keyOf(key string) string { return "=" + key }

func (s *Store) bucket(name string) string { return s.prefix + name }

// take merges siblings into v, but for tombstones of Riak's: what they deleted and somebody wrote nevertheless is there.
func (v *value) take(contents []*basho.Object) error {
	encoded := make([][]byte, 0, len(contents))
	v.siblings, v.forked = nil, false
	for _, c := range contents {
		if c.IsTombstone || len(c.Value) == 0 {
			continue
		}
		sibling, err := decodeState(c.Value)
		if err != nil {
			return err
		}
		v.siblings, encoded = append(v.siblings, sibling), append(encoded, c.Value)
		v.merge(sibling)
	}
	if len(v.siblings) > 1 {
		all := v.encode()
		v.forked = true
		for _, one := range encoded {
			if bytes.Equal(one, all) {
				v.forked = false
			}
		}
	}
	return nil
}

// write puts a value in the place of those that were read. Riak tells how many siblings there are afterwards; if there are others
// it merges them into the value and returns all. It may run twice, or late, without harm: what it puts merges.
func (s *Store) write(ctx context.Context, r ref, v *value, q quorum) (others []*state, err error) {
	body := v.encode()
	if len(body) > maxValue {
		return nil, fmt.Errorf("riak: %s of %q has %d bytes", r.bucket, r.key, len(body))
	}
	causal := v.context
	cmd, err := s.pool.do(ctx, request{name: "put " + r.bucket, put: true, build: func(timeout time.Duration) (basho.Command, error) {
		return basho.NewStoreValueCommandBuilder().WithBucketType(s.kind).WithBucket(s.bucket(r.bucket)).WithKey(keyOf(r.key)).WithVClock(causal).
			WithContent(&basho.Object{ContentType: contentType, Value: body}).WithW(q.w).WithDw(q.dw).WithPw(q.pw).WithReturnHead(true).WithTimeout(timeout).Build()
	}})
	if err != nil {
		return nil, err
	}
	if answer := cmd.(*basho.StoreValueCommand).Response; len(answer.Values) == 1 {
		v.context = answer.VClock
		return nil, nil // ours
	}
	now, err := s.read(ctx, r, q)
	if err != nil {
		return nil, err
	}
	v.merge(&now.state)
	v.context, v.forked = now.context, now.forked
	return now.siblings, nil
}

// settleRounds is how often a writer who finds siblings tries to make one of them; then the next one does.
const settleRounds = 3

// store writes a value and makes one of its siblings.
func (s *Store) store(ctx context.Context, r ref, v *value, q quorum) error {
	others, err := s.write(ctx, r, v, q)
	if err == nil && len(others) > 1 {
		s.settle(ctx, r, v)
	}
	return err
}

// settle writes what was merged from siblings, after a moment by chance, so that of several that do only one need be in time. The
// siblings keep everything if it fails.
func (s *Store) settle(ctx context.Context, r ref, v *value) {
	for i := range settleRounds {
		sleep(ctx, rand.N(2*time.Millisecond<<i))
		others, err := s.write(ctx, r, v, s.quorums.lasting)
		if err != nil || len(others) < 2 {
			return
		}
	}
}

// fetch reads a value for a verb that reads only. If it had siblings one reader in two writes them back as one.
func (s *Store) fetch(ctx context.Context, r ref) (*value, error) {
	v, err := s.read(ctx, r, s.quorums.lasting)
	if err == nil && v.forked && rand.N(2) == 0 {
		back := *v
		_, _ = s.write(ctx, r, &back, s.quorums.lasting)
	}
	return v, err
}

// errUnchanged is returned by a change that changed nothing.
var errUnchanged = errors.New("riak: unchanged")

// update is a read-modify-write of one value. change gets a stamp for what it writes.
func (s *Store) update(ctx context.Context, r ref, change func(v *value, at stamp) error) error {
	err := s.locks.with(ctx, r, func() error {
		v, err := s.read(ctx, r, s.quorums.lasting)
		if err != nil {
			return err
		}
		if err := change(v, s.clock.next(v.top())); err != nil {
			return err
		}
		v.prune(s.clock.now())
		return s.store(ctx, r, v, s.quorums.lasting)
	})
	if err == errUnchanged {
		return nil
	}
	return err
}

// delete removes a value that nobody needs any longer as it was read.
func (s *Store) delete(ctx context.Context, r ref, v *value) error {
	q := s.quorums.lasting
	causal := v.context
	_, err := s.pool.do(ctx, request{name: "delete " + r.bucket, build: func(timeout time.Duration) (basho.Command, error) {
		return basho.NewDeleteValueCommandBuilder().WithBucketType(s.kind).WithBucket(s.bucket(r.bucket)).WithKey(keyOf(r.key)).WithVClock(causal).
			WithW(q.w).WithDw(q.dw).WithTimeout(timeout).Build()
	}})
	return err
}
