package riaktest

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	rpbriak "github.com/basho/riak-go-client/rpb/riak"
	rpb "github.com/basho/riak-go-client/rpb/riak_kv"
	"google.golang.org/protobuf/protoadapt"
)

// An Op is a kind of request, as faults and counters name it.
type Op string

// The requests that the double knows.
const (
	Any           Op = "" // in a Fault
	Ping          Op = "ping"
	ServerInfo    Op = "server-info"
	Get           Op = "get"
	Put           Op = "put"
	Del           Op = "del"
	ListBuckets   Op = "list-buckets"
	ListKeys      Op = "list-keys"
	GetBucket     Op = "get-bucket"
	SetBucket     Op = "set-bucket"
	GetBucketType Op = "get-bucket-type"
	Index         Op = "index"
)

// Message codes, of which an answer's is mostly its request's and one.
const (
	codeError byte = iota
	codePing
	codePong
	_
	_
	_
	_
	codeInfo
	codeInfoResp
	codeGet
	codeGetResp
	codePut
	codePutResp
	codeDel
	codeDelResp
	codeListBuckets
	codeListBucketsResp
	codeListKeys
	codeListKeysResp
	codeGetBucket
	codeGetBucketResp
	codeSetBucket
	codeSetBucketResp
	codeIndex         byte = 25
	codeIndexResp     byte = 26
	codeGetBucketType byte = 31
)

// A verb is how a request is read and answered.
type verb struct {
	op      Op
	message func() protoadapt.MessageV1 // nil: the request has none
	serve   func(s *session, m protoadapt.MessageV1)
}

var verbs = map[byte]verb{
	codePing:          {Ping, nil, func(s *session, _ protoadapt.MessageV1) { s.out = appendFrame(s.out, codePong, nil) }},
	codeInfo:          {ServerInfo, nil, serveInfo},
	codeGet:           verbOf(Get, func() *rpb.RpbGetReq { return &rpb.RpbGetReq{} }, serveGet),
	codePut:           verbOf(Put, func() *rpb.RpbPutReq { return &rpb.RpbPutReq{} }, servePut),
	codeDel:           verbOf(Del, func() *rpb.RpbDelReq { return &rpb.RpbDelReq{} }, serveDel),
	codeListBuckets:   verbOf(ListBuckets, func() *rpb.RpbListBucketsReq { return &rpb.RpbListBucketsReq{} }, serveListBuckets),
	codeListKeys:      verbOf(ListKeys, func() *rpb.RpbListKeysReq { return &rpb.RpbListKeysReq{} }, serveListKeys),
	codeGetBucket:     verbOf(GetBucket, func() *rpbriak.RpbGetBucketReq { return &rpbriak.RpbGetBucketReq{} }, serveGetBucket),
	codeSetBucket:     verbOf(SetBucket, func() *rpbriak.RpbSetBucketReq { return &rpbriak.RpbSetBucketReq{} }, serveSetBucket),
	codeIndex:         verbOf(Index, func() *rpb.RpbIndexReq { return &rpb.RpbIndexReq{} }, serveIndex),
	codeGetBucketType: verbOf(GetBucketType, func() *rpbriak.RpbGetBucketTypeReq { return &rpbriak.RpbGetBucketTypeReq{} }, serveGetBucketType),
}

func verbOf[M protoadapt.MessageV1](op Op, message func() M, serve func(*session, M)) verb {
	return verb{op, func() protoadapt.MessageV1 { return message() }, func(s *session, m protoadapt.MessageV1) { serve(s, m.(M)) }}
}

func serveInfo(s *session, _ protoadapt.MessageV1) {
	s.reply(codeInfoResp, &rpbriak.RpbGetServerInfoResp{Node: []byte(s.node.name()), ServerVersion: []byte("3.2.0")})
}

func bucketOf(kind, name []byte) bucket {
	return bucket{cmp.Or(string(kind), defaultType), string(name)}
}

func quorumOf(q *uint32) Quorum {
	if q == nil {
		return DefaultQuorum
	}
	return Quorum(*q)
}

// A located message is one that names a key.
type located interface {
	GetBucket() []byte
	GetKey() []byte
	GetType() []byte
	GetNVal() uint32
	GetTimeout() uint32
}

func requestOf(m located, sloppy *bool) request {
	return request{
		b: bucketOf(m.GetType(), m.GetBucket()), key: string(m.GetKey()), n: int(m.GetNVal()),
		sloppy: sloppy == nil || *sloppy, timeout: time.Duration(m.GetTimeout()) * time.Millisecond,
	}
}

// named answers for a request that names no bucket or no key.
func (s *session) named(m located, key bool) bool {
	switch {
	case len(m.GetBucket()) == 0:
		s.fail("Bucket cannot be zero-length")
	case key && len(m.GetKey()) == 0:
		s.fail("Key cannot be zero-length")
	default:
		return true
	}
	return false
}

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

func serveGetBucket(s *session, m *rpbriak.RpbGetBucketReq) {
	p, ok := s.node.cluster.props(bucketOf(m.Type, m.Bucket))
	if !ok {
		s.failNoType(m.Type)
		return
	}
	s.reply(codeGetBucketResp, &rpbriak.RpbGetBucketResp{Props: p.encode()})
}

func (s *session) failNoType(kind []byte) { s.fail(fmt.Sprintf("No bucket-type named '%s'", kind)) }

func serveSetBucket(s *session, m *rpbriak.RpbSetBucketReq) {
	c, b := s.node.cluster, bucketOf(m.Type, m.Bucket)
	p, ok := c.props(b)
	if !ok {
		s.failNoType(m.Type)
		return
	}
	if p = p.with(m.GetProps()); p.N < 1 || p.N > c.partitions() {
		s.fail(fmt.Sprintf("Invalid bucket properties: [{n_val,%d}]", p.N))
		return
	}
	c.mu.Lock()
	c.buckets[b] = p
	c.mu.Unlock()
	s.out = appendFrame(s.out, codeSetBucketResp, nil)
}

func serveGetBucketType(s *session, m *rpbriak.RpbGetBucketTypeReq) {
	c := s.node.cluster
	c.mu.RLock()
	p, ok := c.typePropsLocked(string(m.Type))
	c.mu.RUnlock()
	if !ok {
		s.fail(fmt.Sprintf("Invalid bucket type: <<%q>>", m.Type))
		return
	}
	s.reply(codeGetBucketResp, &rpbriak.RpbGetBucketResp{Props: p.encode()})
}
