package riak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	basho "github.com/basho/riak-go-client"
)

// maxValue bounds what is written. Riak warns of values over 5 MB and refuses 50 MB.
const maxValue = 32 << 20

// keptAnswer is the largest answer after which a client is kept: its connection never lets go of the largest buffer that it had.
const keptAnswer = 1 << 20

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

// A client is riak-go-client's cluster of one node with one connection. It has one command at a time, on
// a goroutine of the pool's.
type client struct {
	*basho.Client
	used bool      // has answered before
	idle time.Time // since when nobody uses it
}

// healthCheckNever keeps the client from looking after its node: it would dial eight times a second and write to stderr each time
// that it fails. A client whose connection has failed is stopped, and the pool does the looking.
const healthCheckNever = math.MaxInt64

// newClient connects to a node that answers a ping. The client itself would connect to whatever listens, believe the length of
// whatever that says, and write to stderr if nothing does.
func newClient(ctx context.Context, addr string) (*client, error) {
	resolved, err := probe(ctx, addr)
	if err != nil {
		return nil, err
	}
	node, err := basho.NewNode(&basho.NodeOptions{
		RemoteAddress: resolved, MinConnections: 1, MaxConnections: 1,
		ConnectTimeout: dialTimeout, RequestTimeout: attemptTimeout, HealthCheckInterval: healthCheckNever,
	})
	if err != nil {
		return nil, err
	}
	cluster, err := basho.NewCluster(&basho.ClusterOptions{Nodes: []*basho.Node{node}, ExecutionAttempts: 1})
	if err != nil {
		return nil, err
	}
	c, err := basho.NewClient(&basho.NewClientOptions{Cluster: cluster})
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(node.String(), "|1|1") {
		_ = c.Stop()
		return nil, errNotConnected
	}
	return &client{Client: c}, nil
}

// errNotConnected is for a node that answered a ping and then took no connection. Start does not tell; Node.String does, which ends in
// the numbers of connections and of those that are free. The first command of a client without a connection would spin without
// end (node_manager.go: a round that starts at index 0 never comes back to it).
var errNotConnected = errors.New("the connection was refused after a ping was answered")

// probe dials a node, pings it, and returns the address that has answered.
func probe(ctx context.Context, addr string) (resolved string, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	ping, pong := []byte{0, 0, 0, 1, 1}, []byte{0, 0, 0, 1, 2}
	if _, err := c.Write(ping); err != nil {
		return "", err
	}
	answer := make([]byte, len(pong))
	if _, err := io.ReadFull(c, answer); err != nil {
		return "", err
	}
	if !bytes.Equal(answer, pong) {
		return "", fmt.Errorf("answers a ping with %x, so it is no Riak, or one that wants to be asked otherwise", answer)
	}
	return c.RemoteAddr().String(), nil
}

// errGarbled is for answers that the client does not survive: it looks into empty ones.
var errGarbled = errors.New("an answer that is no message")

// run executes a command until it is answered, or the client's time limits have ended it: 3 s each for the request, the beginning and
// the end of the answer.
func (c *client) run(cmd basho.Command) (err error) {
	defer func() {
		if recover() != nil {
			err = errGarbled
		}
	}()
	return causeOf(c.Execute(cmd))
}

// causeOf is what is inside the client's errors, which do not unwrap.
func causeOf(err error) error {
	for {
		switch e := err.(type) {
		case basho.ClientError:
			if e.InnerError == nil {
				return err
			}
			err = e.InnerError
		case basho.RiakError:
			return &serverError{e.Errcode, e.Errmsg}
		default:
			return err
		}
	}
}

// healthy reports that err says nothing against the connection.
func healthy(err error) bool {
	_, ok := errors.AsType[*serverError](err)
	return err == nil || ok
}

// settleTimeOfClient is how long a client that has failed is left alone before it is stopped: its node starts a goroutine
// then which looks at its state without a lock if it is stopped at once.
const settleTimeOfClient = 100 * time.Millisecond

// stop ends a client that has no command. Stop panics under one that has: the connection comes back to a pool that is closed.
func (c *client) stop(group *sync.WaitGroup, failed bool) {
	group.Go(func() {
		if failed {
			time.Sleep(settleTimeOfClient)
		}
		_ = c.Stop()
	})
}

// answerSize is how many bytes of values an answer has.
func answerSize(cmd basho.Command) (n int) {
	if get, ok := cmd.(*basho.FetchValueCommand); ok && get.Response != nil {
		for _, o := range get.Response.Values {
			n += len(o.Value)
		}
	}
	return n
}
