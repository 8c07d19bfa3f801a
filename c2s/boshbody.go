package c2s

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"strconv"
	"strings"
	"time"

	"chatd/stanza"
	"chatd/xmlstream"
)

const (
	nsBOSH  = "http://jabber.org/protocol/httpbind"
	nsXBOSH = "urn:xmpp:xbosh"

	// boshHeaderBytes bounds the start tag of a <body/>.
	boshHeaderBytes = 4 << 10
	// boshLoginBytes bounds a <body/> before login, boshExtraBytes is what one may have
	// besides a stanza of the largest size after it.
	boshLoginBytes = 16 << 10
	boshExtraBytes = 64 << 10
	// boshMaxRID is the largest request id (XEP-0124 §14.1).
	boshMaxRID = 1<<53 - 1
)

// A boshFault is a terminal binding condition (XEP-0124 §17.2).
type boshFault string

func (f boshFault) Error() string { return "c2s: BOSH: " + string(f) }

const (
	boshBadRequest         boshFault = "bad-request"
	boshHostUnknown        boshFault = "host-unknown"
	boshImproperAddressing boshFault = "improper-addressing"
	boshItemNotFound       boshFault = "item-not-found"
	boshPolicyViolation    boshFault = "policy-violation"
	boshOtherRequest       boshFault = "other-request"
	boshConnectionFailed   boshFault = "remote-connection-failed"
	boshRemoteStreamError  boshFault = "remote-stream-error"
	boshSystemShutdown     boshFault = "system-shutdown"
)

// A boshRequest is the <body/> of one HTTP request.
type boshRequest struct {
	sid       string // "" asks for a new session
	rid       int64
	ack       int64 // highest rid whose response the client has; 0: it does not say
	key       string
	newKey    string
	pause     time.Duration // 0: no pause is asked for
	terminate bool
	restart   bool   // XEP-0206 §5
	payload   []byte // the children as they read in a stream of jabber:client
	size      int    // bytes of the whole

	to, from, lang string          // for a stream header
	create         boshCreation    // of a request without sid
	arrived        time.Time       // when its turn came
	held           bool            // it is waited for: its HTTP request is still there
	repeats        int             // how often it was sent again
	answer         chan boshAnswer // has room for one
}

// A boshCreation is what only the first request of a session says (XEP-0124 §7.1).
type boshCreation struct {
	version      string // of the stream (XEP-0206 §3)
	content      string // Content-Type of the responses
	major, minor int    // of BOSH; 0: a legacy client (XEP-0124 §17.1)
	wait         time.Duration
	hold         int
	acks         bool // the client says what it has received
}

// A boshAnswer is what one HTTP request gets.
type boshAnswer struct {
	status  int
	content string
	body    []byte
	rid     int64 // of the response; 0: of none that is kept
}

// empty reports whether a request only polls (XEP-0124 §11).
func (q *boshRequest) empty() bool { return len(q.payload) == 0 && !q.terminate && !q.restart }

// readBody reads a <body/>. As soon as its start tag is there it asks admit how large elements
// and the whole may be. An error that is no boshFault is the connection's.
func readBody(r io.Reader, admit func(q *boshRequest) (element, whole int, err error)) (*boshRequest, error) {
	q := &boshRequest{answer: make(chan boshAnswer, 1), held: true}
	sc := xmlstream.NewScanner(xmlstream.Limits{Bytes: boshHeaderBytes})
	buf := make([]byte, 0, 1024)
	whole := boshHeaderBytes
	for {
		tok, used, err := sc.Scan(buf)
		if err != nil {
			return q, bodyFault(err)
		}
		switch tok.Kind {
		case xmlstream.None:
			buf = append(buf[:0], buf[used:]...)
			if buf, err = q.readMore(r, buf, whole); err != nil {
				return q, err
			}
			continue
		case xmlstream.Open:
			if err := q.header(tok); err != nil {
				return q, err
			}
			element := 0
			if element, whole, err = admit(q); err != nil {
				return q, err
			}
			if bytes.HasSuffix(tok.Raw, []byte("/>")) {
				return q, nil
			}
			// Children without a namespace are stanzas of jabber:client (XEP-0206 §2).
			scope := sc.Scope().WithDefault(stanza.NSClient)
			sc.SetLimits(xmlstream.Limits{Bytes: element})
			sc.Resume(scope)
		case xmlstream.Element:
			q.child(sc, tok)
			if len(q.payload) > whole { // each child may have got declarations of the <body/>
				return q, boshPolicyViolation
			}
		case xmlstream.Close:
			return q, nil
		}
		buf = buf[used:]
	}
}

// readMore appends input to buf; all of it together is at most whole bytes.
func (q *boshRequest) readMore(r io.Reader, buf []byte, whole int) ([]byte, error) {
	if q.size >= whole {
		return buf, boshPolicyViolation
	}
	if len(buf) == cap(buf) {
		buf = append(buf, make([]byte, max(512, len(buf)))...)[:len(buf)]
	}
	n, err := r.Read(buf[len(buf):cap(buf)])
	q.size += n
	switch {
	case n > 0 || err == nil:
		return buf[:len(buf)+n], nil
	case errors.Is(err, io.EOF):
		return buf, boshBadRequest
	}
	return buf, fmt.Errorf("c2s: BOSH request: %w", err)
}

// bodyFault names a scanner's error.
func bodyFault(err error) error {
	if errors.Is(err, xmlstream.ErrTooBig) || errors.Is(err, xmlstream.ErrTooDeep) {
		return boshPolicyViolation
	}
	return boshBadRequest
}

// child adds a child of the <body/> to what the stream gets.
func (q *boshRequest) child(sc *xmlstream.Scanner, tok *xmlstream.Token) {
	if tok.Prefixed || tok.OuterPrefix {
		q.payload = sc.Rewrite(q.payload, tok)
		return
	}
	q.payload = append(q.payload, tok.Raw...)
}

// header reads the start tag.
func (q *boshRequest) header(tok *xmlstream.Token) error {
	if string(tok.Local) != "body" || string(tok.Space) != nsBOSH {
		return boshBadRequest
	}
	xmpp := prefixOf(tok, nsXBOSH)
	c := &q.create
	for _, a := range tok.Attrs {
		value := string(xmlstream.Unescape(nil, a.Value))
		var err error
		switch name := string(a.Name); name {
		case "sid":
			q.sid = value
		case "rid":
			q.rid, err = number(value, boshMaxRID)
		case "ack":
			q.ack, err = number(value, boshMaxRID)
			c.acks = value == "1"
		case "key":
			q.key = strings.ToLower(value)
		case "newkey":
			q.newKey = strings.ToLower(value)
		case "pause":
			q.pause, err = seconds(value)
		case "type":
			q.terminate = value == "terminate"
		case "to":
			q.to = value
		case "from":
			q.from = value
		case "xml:lang":
			q.lang = value
		case "content":
			c.content = value
		case "wait":
			c.wait, err = seconds(value)
		case "hold":
			var n int64
			n, err = number(value, 255)
			c.hold = int(n)
		case "ver":
			c.major, c.minor, err = boshVersion(value)
		case xmpp + ":restart":
			q.restart = value == "true" || value == "1"
		case xmpp + ":version":
			c.version = value
		}
		if err != nil {
			return boshBadRequest
		}
	}
	if q.rid == 0 {
		return boshBadRequest
	}
	return nil
}

// prefixOf is the prefix that a start tag declares for a namespace, or one that no attribute has.
func prefixOf(tok *xmlstream.Token, space string) string {
	for _, d := range tok.Decls {
		if prefix, ok := bytes.CutPrefix(d.Name, []byte("xmlns:")); ok && string(d.Value) == space {
			return string(prefix)
		}
	}
	return " "
}

func number(s string, most int64) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || int64(n) > most {
		return 0, strconv.ErrRange
	}
	return int64(n), nil
}

func seconds(s string) (time.Duration, error) {
	n, err := number(s, 65535)
	return time.Duration(n) * time.Second, err
}

func boshVersion(s string) (major, minor int, err error) {
	a, b, _ := strings.Cut(s, ".")
	if major, err = strconv.Atoi(a); err != nil {
		return 0, 0, err
	}
	minor, err = strconv.Atoi(b)
	return major, minor, err
}

// contentType is the Content-Type of a session's responses (XEP-0124 §7.1).
func (c *boshCreation) contentType() string {
	const usual = "text/xml; charset=utf-8"
	if c.content == "" || len(c.content) > 100 {
		return usual
	}
	kind, params, err := mime.ParseMediaType(c.content)
	if err != nil {
		return usual
	}
	return mime.FormatMediaType(kind, params)
}

// appendHeader appends the stream header that a request stands for (XEP-0206 §3, §5).
func (q *boshRequest) appendHeader(b []byte, version string) []byte {
	b = append(b, "<?xml version='1.0'?><stream:stream xmlns='"+stanza.NSClient+"' xmlns:stream='"+stanza.NSStream+"' version='"...)
	b = stanza.AppendEscaped(b, version)
	for _, a := range [...]struct{ name, value string }{{"to", q.to}, {"from", q.from}, {"xml:lang", q.lang}} {
		if a.value != "" {
			b = append(b, "' "+a.name+"='"...)
			b = stanza.AppendEscaped(b, a.value)
		}
	}
	return append(b, "'>"...)
}
