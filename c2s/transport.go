package c2s

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"chatd/stanza"
)

// A transport carries one connection's stream: bytes in, bytes out. A wire is the one over
// a socket of its own.
//
// It has two lives. While the stream is negotiated its goroutine alone has it, and read
// and write block until the deadline. After park it is a session's: the reading goroutine
// waits in await, which holds no memory, and reads what is there; whoever holds writing
// (see outbox) writes without blocking and, where the other side does not take everything,
// drains. What anybody may call at any time is wake, writeDeadline, unwritten and abort.
//
// What write gets begins with a whole element, and so does what read gives, since that is
// how streams are written: a transport that frames elements may rely on the former.
type transport interface {
	// peer is the same for good.
	peer() *peer

	// startTLS begins TLS on it during negotiation, if peer says that it can.
	startTLS(cfg *tls.Config) (*tls.ConnectionState, error)

	// deadline bounds reads and writes during negotiation. Past ones make those that are
	// under way fail with os.ErrDeadlineExceeded. The zero time is none.
	deadline(t time.Time)

	// park begins the second life, and ends the deadline.
	park() error

	// await blocks until there may be input and then calls ready, which takes memory, calls
	// read once and reports whether it got anything; if not, await goes on waiting. taken is
	// how many bytes of input were taken from the network, for the session's limits, whatever
	// they contain. It fails with os.ErrDeadlineExceeded after wake; the end of the input is for
	// read to tell.
	await(ready func() bool) (taken int, err error)

	// wake makes await fail, now or when it is next called, until rest.
	wake()
	rest()

	// read puts input into p. Called by await's ready it may take input from the network, and n is
	// negative if there was none at all. Called otherwise it gives what was taken and not read yet,
	// such as what pipelining left. err says with the n bytes, of which there may be none, what comes
	// after them: nil: perhaps more, call again; errAgain: nothing for now; errUnit: the end of a message,
	// which must have held exactly one element, header or end of the stream; io.EOF: nothing any more.
	read(p []byte) (n int, err error)

	// write takes the first n bytes of p, at least one, and does not block after park. pending is
	// how many bytes, from now or from before, it has yet to get rid of, in its own measure:
	// unless that is 0, drain is called before write is called again.
	write(p []byte) (n, pending int, err error)

	// drain blocks until nothing is pending, or the write deadline passes: then it fails with
	// os.ErrDeadlineExceeded and may be called again.
	drain() error
	writeDeadline(t time.Time)

	// unwritten is what write calls pending: when it falls the other side is taking something.
	unwritten() int

	// owed is what the transport has to write of its own accord, such as answers below the
	// stream, in bytes. The reading goroutine asks after each read and has it drained.
	owed() int

	// uncertain is how many of the bytes that write took last may not have left. What came
	// before those is taken for delivered, and is not routed anew when the session ends without
	// stream management: a transport that learns only later whether its output has arrived counts
	// all for which it does not know. The holder of writing calls it, also after abort.
	uncertain() int

	// finish tells the other side, behind what was written, that nothing follows.
	finish()

	// abort makes every write and drain fail, also those that are under way.
	abort()

	// linger ends the transport and frees what it has, when the other side has had a moment to
	// read our last words. It is called once, and nothing after it.
	linger()
}

// A sleeper is a transport that can wait for input without a goroutine.
type sleeper interface {
	// sleep is called in await's stead, and run, once and on a goroutine of its own, when there
	// may be input and after wake. With false it does not sleep: somebody has called wake
	// since rest, or it cannot.
	sleep(run func()) bool
}

// A peer is the other end of a transport, set before its negotiation begins.
type peer struct {
	id       uint64   // the connection's number, for logs; enter gives it
	addr     net.Addr // where it comes from
	startTLS bool     // TLS can be started on the stream (RFC 6120 §5)
}

// errAgain says that there is no more to read for now. It is a temporary
// net.Error, after which crypto/tls goes on where it stopped.
var errAgain net.Error = againError{}

type againError struct{}

func (againError) Error() string   { return "c2s: no input for now" }
func (againError) Timeout() bool   { return true }
func (againError) Temporary() bool { return true }

// errUnit ends what has to be one whole element (RFC 7395 §3.3.3).
var errUnit = errors.New("c2s: end of a message")

// errNotOne is what its sender gets if it is not.
var errNotOne = stanza.StreamBadFormat.WithText("a message must be one whole element")

// past is a deadline for what is to fail at once.
var past = time.Unix(1, 0)
