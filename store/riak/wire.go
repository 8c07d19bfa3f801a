package riak

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	rpb "github.com/basho/riak-go-client/rpb/riak"
)

// Codes of the messages that are used.
const (
	codeError         = 0
	codeGetReq        = 9
	codeGetResp       = 10
	codePutReq        = 11
	codePutResp       = 12
	codeDelReq        = 13
	codeDelResp       = 14
	codeBucketResp    = 20
	codeBucketTypeReq = 31
)

// maxFrame bounds what is read at once: siblings of large values. Riak warns of values over 5 MB and refuses 50 MB.
const maxFrame = 64 << 20

// keptBuffer is the largest buffer that an idle connection holds.
const keptBuffer = 64 << 10

// A request is one question and the place of its answer, which is filled once only. It can be asked again.
type request struct {
	name         string
	code, answer byte
	ask          protoadapt.MessageV1
	reply        protoadapt.MessageV1 // nil: the answer has no body
}

// A serverError is what Riak answered instead.
type serverError struct {
	code uint32
	text string
}

func (e *serverError) Error() string { return fmt.Sprintf("riak answers %q (%d)", e.text, e.code) }

// permanent reports that asking again gives the same.
func (e *serverError) permanent() bool {
	for _, sign := range [...]string{"No bucket-type", "Invalid", "invalid", "Unknown", "precommit", "too large", "Security"} {
		if strings.Contains(e.text, sign) {
			return true
		}
	}
	return false
}

// fewPrimaries reports that too few of the replicas that are responsible are reachable from the node that was asked.
func (e *serverError) fewPrimaries() bool {
	return strings.Contains(e.text, "pr_val_unsatisfied") || strings.Contains(e.text, "pw_val_unsatisfied")
}

// A conn is a connection to one node of Riak, used by one goroutine at a time.
type conn struct {
	net.Conn
	in   *bufio.Reader
	buf  []byte
	used bool      // has answered before
	idle time.Time // since when nobody uses it
}

func dial(ctx context.Context, addr string) (*conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 4<<10)}, nil
}

// call asks and waits for the answer until ctx ends. After any error but a serverError the connection is of no more use.
func (c *conn) call(ctx context.Context, r request) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	body, err := proto.MarshalOptions{}.MarshalAppend(append(c.buf[:0], 0, 0, 0, 0, r.code), protoadapt.MessageV2Of(r.ask))
	if err != nil {
		return fmt.Errorf("encode %s: %w", r.name, err)
	}
	c.buf = body[:0]
	binary.BigEndian.PutUint32(body, uint32(len(body)-4))
	if _, err := c.Write(body); err != nil {
		return err
	}
	code, frame, err := c.read()
	if err != nil {
		return err
	}
	if !stop() {
		// The deadline is in the past now, or will be.
		return ctx.Err()
	}
	return r.answered(code, frame)
}

// read gets one message, which is valid until the next one.
func (c *conn) read() (code byte, frame []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:])) - 1
	if n < 0 || n > maxFrame {
		return 0, nil, fmt.Errorf("a message of %d bytes", n+1)
	}
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	frame = c.buf[:n]
	_, err = io.ReadFull(c.in, frame)
	return head[4], frame, err
}

func (r *request) answered(code byte, frame []byte) error {
	switch {
	case code == codeError:
		var e rpb.RpbErrorResp
		if err := proto.Unmarshal(frame, protoadapt.MessageV2Of(&e)); err != nil {
			return fmt.Errorf("decode error: %w", err)
		}
		return &serverError{e.GetErrcode(), string(e.GetErrmsg())}
	case code != r.answer:
		return fmt.Errorf("%s answered with message %d", r.name, code)
	case r.reply == nil:
		return nil
	}
	if err := proto.Unmarshal(frame, protoadapt.MessageV2Of(r.reply)); err != nil {
		return fmt.Errorf("decode answer to %s: %w", r.name, err)
	}
	return nil
}

// rest makes the connection wait for its next use.
func (c *conn) rest() {
	if cap(c.buf) > keptBuffer {
		c.buf = nil
	}
	c.used, c.idle = true, time.Now()
}

// healthy reports that err says nothing against the connection.
func healthy(err error) bool {
	_, ok := errors.AsType[*serverError](err)
	return err == nil || ok
}
