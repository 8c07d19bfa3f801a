package riaktest

import (
	"cmp"
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
