package riaktest

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"net"
	"time"

	rpbriak "github.com/basho/riak-go-client/rpb/riak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// A session is one client's connection. Its goroutine coordinates what the
// client asks: there is one request at a time on a connection.
type session struct {
	node *node
	conn net.Conn
	in   *bufio.Reader

	// Of the request under way:
	out   []byte   // answers not yet sent
	after []func() // what is done once the answer is sent
	half  bool     // a fault: the put stops after its first replica
}

func newSession(n *node, conn net.Conn) *session {
	return &session{node: n, conn: conn, in: bufio.NewReaderSize(conn, 16<<10)}
}

func (s *session) serve() {
	for {
		code, body, err := readFrame(s.in)
		if err != nil {
			if errors.Is(err, errFrame) {
				s.fail("Invalid message packet, reason: einval")
				s.flush()
			}
			return
		}
		if !s.handle(code, body) {
			return
		}
	}
}

// handle does one request with the faults that are due, and is false when the
// connection is to end.
func (s *session) handle(code byte, body []byte) bool {
	s.out, s.after, s.half = s.out[:0], nil, false
	if !s.gate() {
		return false
	}
	v, ok := verbs[code]
	if !ok {
		s.fail(fmt.Sprintf("Unknown message code: %d", code))
		return s.flush()
	}
	var m protoadapt.MessageV1
	if v.message != nil {
		m = v.message()
		if err := proto.Unmarshal(body, protoadapt.MessageV2Of(m)); err != nil {
			s.fail(errBadMessage.Error())
			s.flush()
			return false
		}
	}
	s.node.cluster.counts.request(v.op, body)
	return s.do(v, m)
}

func (s *session) do(v verb, m protoadapt.MessageV1) bool {
	hit := s.node.cluster.faults.hit(s.node, v.op, m)
	if hit.before(s) {
		v.serve(s, m)
	}
	goOn := s.gate() && hit.answer(s) && s.flush()
	if !goOn {
		s.conn.Close()
	}
	if after, lag := s.after, s.node.cluster.config.Lag; lag > 0 && len(after) > 0 {
		s.node.cluster.conns.Go(func() {
			s.pause(time.Duration(s.node.cluster.intn(int(lag))))
			s.finish(after)
		})
	} else {
		s.finish(after)
	}
	return goOn && s.alive()
}

// finish does what was put off, unless the node dies before.
func (s *session) finish(after []func()) {
	for _, do := range after {
		if !s.alive() {
			return
		}
		do()
	}
}

// later puts something off until the answer is sent.
func (s *session) later(do func()) { s.after = append(s.after, do) }

func (s *session) reply(code byte, m protoadapt.MessageV1) {
	body, err := proto.Marshal(protoadapt.MessageV2Of(m))
	if err != nil {
		s.fail("Internal service error: no encoding for response message")
		return
	}
	s.out = appendFrame(s.out, code, body)
}

// fail answers an error as Riak does: the code is always 0, only the text tells.
func (s *session) fail(text string) {
	var zero uint32
	body, err := proto.Marshal(protoadapt.MessageV2Of(&rpbriak.RpbErrorResp{Errmsg: []byte(text), Errcode: &zero}))
	if err != nil {
		panic(err) // both fields are set: nothing can be wrong with it
	}
	s.out = appendFrame(s.out, codeError, body)
}

func (s *session) flush() bool {
	_, err := s.conn.Write(s.out)
	return err == nil
}

// alive is false once the node is killed or the cluster ends: what was under way
// stops where it is.
func (s *session) alive() bool {
	return s.node.state.Load() != dead && !s.node.cluster.ended()
}

// gate waits while the node is stalled, and then for what makes it slow.
func (s *session) gate() bool {
	for s.node.state.Load() == stalled {
		changed := s.node.cluster.changes()
		if s.node.state.Load() != stalled || s.node.cluster.ended() {
			break
		}
		<-changed
	}
	return s.alive()
}

// pause waits, or less if the session ends.
func (s *session) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		changed := s.node.cluster.changes()
		if !s.alive() {
			return
		}
		select {
		case <-timer.C:
			return
		case <-changed:
		}
	}
}

// awaitAnswer waits until the node can answer: it is slow, or stalled.
func (s *session) awaitAnswer(n *node, patience time.Duration) error {
	if n != s.node {
		s.pause(time.Duration(n.slow.Load()))
	}
	if n.state.Load() == stalled && !s.awaitResumed(n, patience) {
		return errTimeout
	}
	if !s.alive() || !s.node.cluster.reaches(s.node.index, n.index) {
		return fmt.Errorf("riaktest: node %d is gone", n.index)
	}
	return nil
}

func (s *session) awaitResumed(n *node, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		changed := s.node.cluster.changes()
		if n.state.Load() != stalled || !s.alive() {
			return true
		}
		select {
		case <-timer.C:
			return false
		case <-changed:
		}
	}
}

func (s *session) timeout(asked time.Duration) time.Duration {
	return cmp.Or(asked, s.node.cluster.config.Timeout)
}
