package riaktest

import (
	"errors"
	"fmt"
	"time"

	rpb "github.com/basho/riak-go-client/rpb/riak_kv"
)

func serveGet(s *session, m *rpb.RpbGetReq) {
	if !s.named(m, true) {
		return
	}
	o, err := s.get(getRequest{requestOf(m, m.SloppyQuorum), quorumOf(m.R), quorumOf(m.Pr), m.NotfoundOk, m.BasicQuorum})
	switch {
	case errors.Is(err, errNotFound):
		s.reply(codeGetResp, &rpb.RpbGetResp{})
	case err != nil:
		s.fail(err.Error())
	case o.tombstone() && m.GetDeletedvclock():
		s.reply(codeGetResp, &rpb.RpbGetResp{Vclock: o.clock.encode()})
	case o.tombstone():
		s.reply(codeGetResp, &rpb.RpbGetResp{})
	default:
		s.replyObject(m, o)
	}
}

func (s *session) replyObject(m *rpb.RpbGetReq, o *object) {
	if seen, err := decodeClock(m.GetIfModified()); err == nil && len(seen) > 0 && seen.equal(o.clock) {
		unchanged := true
		s.reply(codeGetResp, &rpb.RpbGetResp{Unchanged: &unchanged})
		return
	}
	s.reply(codeGetResp, &rpb.RpbGetResp{Content: contents(o, m.GetHead()), Vclock: o.clock.encode()})
}

// contents are the values for the client, without their bytes for a head.
func contents(o *object, head bool) []*rpb.RpbContent {
	out := make([]*rpb.RpbContent, len(o.siblings))
	for i, sib := range o.siblings {
		out[i] = sib.pb
		if head {
			blank := stamp(sib.pb)
			blank.Value, blank.Vtag, blank.LastMod, blank.LastModUsecs = []byte{}, sib.pb.Vtag, sib.pb.LastMod, sib.pb.LastModUsecs
			out[i] = blank
		}
	}
	return out
}

func servePut(s *session, m *rpb.RpbPutReq) {
	if !s.named(m, m.Key != nil) {
		return
	}
	var made []byte
	if m.Key == nil {
		made = fmt.Appendf(nil, "%016x%016x", s.node.cluster.intn(1<<62), time.Now().UnixNano())
		m.Key = made
	}
	q := putRequest{
		request: requestOf(m, m.SloppyQuorum), value: m.Content,
		w: quorumOf(m.W), dw: quorumOf(m.Dw), pw: quorumOf(m.Pw),
	}
	var err error
	if q.seen, err = decodeClock(m.Vclock); err != nil {
		s.fail(errBadMessage.Error())
		return
	}
	if err := s.condition(m, q); err != nil {
		s.fail(err.Error())
		return
	}
	o, err := s.put(q)
	switch {
	case err != nil:
		s.fail(err.Error())
	case m.GetReturnBody() || m.GetReturnHead():
		s.reply(codePutResp, &rpb.RpbPutResp{Content: contents(o, m.GetReturnHead()), Vclock: o.clock.encode(), Key: made})
	default:
		s.reply(codePutResp, &rpb.RpbPutResp{Key: made})
	}
}

// condition checks a conditional put by reading first, as Riak does: between the
// check and the write others get through.
func (s *session) condition(m *rpb.RpbPutReq, q putRequest) error {
	if !m.GetIfNotModified() && !m.GetIfNoneMatch() {
		return nil
	}
	read := q.request
	read.timeout = 0
	o, err := s.get(getRequest{read, DefaultQuorum, DefaultQuorum, nil, nil})
	if err == nil && o.tombstone() {
		err = errNotFound
	}
	switch {
	case m.GetIfNoneMatch() && err == nil:
		return errors.New("match_found")
	case m.GetIfNoneMatch():
	case err != nil:
		return err
	case !q.seen.equal(o.clock):
		return errors.New("modified")
	}
	if window := s.node.cluster.config.RaceWindow; window > 0 {
		s.pause(time.Duration(s.node.cluster.intn(int(window))))
	}
	return nil
}

// serveDel is a put of a tombstone: in the context given, or in that which the
// key has now.
func serveDel(s *session, m *rpb.RpbDelReq) {
	if !s.named(m, true) {
		return
	}
	q := putRequest{
		request: requestOf(m, m.SloppyQuorum), value: tombstone(),
		w: quorumOf(m.W), dw: quorumOf(m.Dw), pw: quorumOf(m.Pw),
	}
	if err := s.contextOf(m, &q); errors.Is(err, errNotFound) {
		s.out = appendFrame(s.out, codeDelResp, nil)
		return
	} else if err != nil {
		s.fail(err.Error())
		return
	}
	if _, err := s.put(q); err != nil {
		s.fail(err.Error())
		return
	}
	s.out = appendFrame(s.out, codeDelResp, nil)
	all := getRequest{request: q.request, r: All, pr: DefaultQuorum}
	s.later(func() { s.readAll(all) })
}

func (s *session) contextOf(m *rpb.RpbDelReq, q *putRequest) (err error) {
	if m.Vclock != nil {
		if q.seen, err = decodeClock(m.Vclock); err != nil {
			return errBadMessage
		}
		return nil
	}
	r := quorumOf(m.R)
	if m.R == nil && m.W == nil {
		r = quorumOf(m.Rw)
	}
	o, err := s.get(getRequest{q.request, r, quorumOf(m.Pr), nil, nil})
	if err != nil {
		return err
	}
	if o.tombstone() {
		return errNotFound
	}
	q.seen = o.clock
	return nil
}

// readAll is the read of all replicas after a delete, which reaps the tombstone
// if nothing is against it.
func (s *session) readAll(q getRequest) {
	r, places, err := s.prepareGet(q)
	if err == nil {
		s.repair(q.request, r, places, 0)
	}
}

func tombstone() *rpb.RpbContent {
	deleted := true
	return &rpb.RpbContent{Value: []byte{}, Deleted: &deleted}
}
