package c2s

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"chatd/stanza"
	"chatd/xmlstream"
)

const boshOpen = "<body xmlns='" + nsBOSH + "'"

// respond answers the requests whose time has come, and sees to the time of the others. Whatever
// changes something calls it at the end.
func (b *bosh) respond() {
	now := time.Now()
	switch {
	case b.over:
		b.refuseAll()
		return
	case b.closed:
		b.farewell()
	default:
		for len(b.waiting) > 0 && b.mayAnswer(now) {
			b.answerOldest(now)
		}
	}
	b.schedule(now)
}

// mayAnswer reports whether the oldest request is to be answered: requests are answered
// in order (XEP-0124 §8).
func (b *bosh) mayAnswer(now time.Time) bool {
	q := b.waiting[0]
	switch {
	case !held(b.waiting): // what there is waits for the client to come back
		return false
	case !q.held:
		return true
	case b.left: // the answers are those of the end; clients that leave ignore what comes with it
		return now.Sub(q.arrived) >= max(b.wait, boshPolling)
	case len(b.out) > 0 && !b.aborted:
		return true
	case b.waiting[len(b.waiting)-1].pause > 0: // XEP-0124 §10
		return true
	case len(b.waiting) > b.hold && b.hungry: // once it is clear that nothing comes back at once
		return true
	case now.Sub(q.arrived) >= max(b.wait, boshPolling):
		return true
	}
	sent, unsettled := b.oldestUnsettled()
	return unsettled && (b.flushing > 0 || now.Sub(sent) >= boshConfirmTime)
}

// held reports whether somebody waits for the answer to one of the requests.
func held(requests []*boshRequest) bool {
	for _, q := range requests {
		if q.held {
			return true
		}
	}
	return false
}

// connected reports whether the client has a request here.
func (b *bosh) connected() bool {
	for _, q := range b.early {
		if q.held {
			return true
		}
	}
	return held(b.waiting)
}

// oldestUnsettled is when the oldest response with stanzas went out of which it is not known whether
// the client has it.
func (b *bosh) oldestUnsettled() (at time.Time, ok bool) {
	for i := range b.sent {
		if b.sent[i].reroutable {
			return b.sent[i].at, true
		}
	}
	return time.Time{}, false
}

func (b *bosh) answerOldest(now time.Time) {
	q := b.waiting[0]
	b.waiting = b.waiting[1:]
	r := boshResponse{rid: q.rid, key: q.key, at: now}
	var payload []byte
	if q.held && q.pause == 0 && !b.aborted && !b.left {
		payload, r.reroutable = b.out, b.reroutable
		b.out, b.reroutable = nil, false
	}
	r.body = b.appendAttrs([]byte(boshOpen), q)
	if bytes.Contains(payload, []byte("<stream:")) {
		r.body = append(r.body, " xmlns:stream='"+stanza.NSStream+"'"...)
	}
	if len(payload) == 0 {
		r.body = append(r.body, "/>"...)
	} else {
		r.body = append(append(r.body, '>'), payload...)
		r.payload = r.body[len(r.body)-len(payload):]
		r.body = append(r.body, "</body>"...)
	}
	if q.rid == b.next-1 {
		b.last.bare = len(payload) == 0
	}
	b.answered = q.rid
	b.sent = append(b.sent, r)
	if q.held {
		b.answer(q, r.body)
	}
	b.changed.Broadcast()
}

// appendAttrs appends what a response's <body/> says besides its payload.
func (b *bosh) appendAttrs(body []byte, q *boshRequest) []byte {
	if q.sid != "" {
		// XEP-0124 §9.1
		if highest := b.next - 1; b.create.acks && highest != q.rid {
			body = fmt.Appendf(body, " ack='%d'", highest)
		}
		return body
	}
	// XEP-0124 §7.2, XEP-0206 §4
	body = fmt.Appendf(body, " sid='%s' wait='%d' requests='%d' hold='%d' inactivity='%d' polling='%d' maxpause='%d' from='%s'",
		b.sid, int(b.wait.Seconds()), b.requests, b.hold, int(b.inactivity.Seconds()), int(boshPolling.Seconds()),
		int(boshMaxPause.Seconds()), stanza.Escape(b.books.domain))
	if c := &b.create; c.major > 0 {
		major, minor := c.major, c.minor
		if major > boshMajor || major == boshMajor && minor > boshMinor {
			major, minor = boshMajor, boshMinor
		}
		body = fmt.Appendf(body, " ver='%d.%d'", major, minor)
	}
	if b.create.acks {
		body = fmt.Appendf(body, " ack='%d'", q.rid)
	}
	return append(body, " xmlns:xmpp='"+nsXBOSH+"' xmpp:version='1.0' xmpp:restartlogic='true'"...)
}

// farewell tells the client that the stream has ended, as soon as it has a request here
// (XEP-0124 §13, §17.2). Stanzas that it was not sent are routed anew and are not in it.
func (b *bosh) farewell() {
	if !b.connected() {
		return
	}
	body := []byte(boshOpen + " type='terminate'")
	var payload []byte
	if b.login {
		payload = b.out // such as why the login failed
	}
	if b.failed { // XEP-0206 §6
		body = append(body, " condition='"+string(boshRemoteStreamError)+"' xmlns:stream='"+stanza.NSStream+"'"...)
	}
	body = append(append(append(append(body, '>'), payload...), b.words...), "</body>"...)
	for _, q := range b.waiting {
		if q.held {
			b.answer(q, body)
			body = []byte(boshOpen + "/>")
		}
	}
	b.waiting = nil
	b.forgetLocked()
	b.refuseAll()
}

// refuseAll answers what is still here when the session is over: another request has broken
// the rules, or the stream has broken off.
func (b *bosh) refuseAll() {
	why, fault := boshConnectionFailed, boshFault("")
	if errors.As(b.inErr, &fault) {
		why = boshOtherRequest
	}
	for _, q := range b.early {
		b.refuse(q, why)
	}
	for _, q := range b.waiting {
		b.refuse(q, why)
	}
	b.early, b.waiting = nil, nil
}

// schedule sets the timer to when something is to be done although nothing happens.
func (b *bosh) schedule(now time.Time) {
	if b.over {
		return
	}
	if !b.connected() {
		if b.since.IsZero() {
			b.since = now
		}
		b.timer.Reset(b.since.Add(b.idle).Sub(now))
		return
	}
	b.since = time.Time{}
	next := max(b.wait, boshPolling)
	if held(b.waiting) {
		next -= now.Sub(b.waiting[0].arrived)
		if sent, ok := b.oldestUnsettled(); ok && !b.left {
			next = min(next, sent.Add(boshConfirmTime).Sub(now))
		}
	}
	b.timer.Reset(max(next, time.Millisecond))
}

func (b *bosh) onTime() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over && !b.since.IsZero() && time.Since(b.since) >= b.idle {
		b.failLocked(errInactive) // XEP-0124 §10
	}
	b.respond()
}

// put takes the first element of p, which begins with a whole one, into the output, and
// returns its size.
func (b *bosh) put(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("<?xml")) {
		b.elements.Reset()
	}
	b.elements.SetLimits(stanza.RescanLimits(len(p)))
	tok, n, err := b.elements.Scan(p)
	switch {
	case err != nil:
		return 0, fmt.Errorf("c2s: BOSH: what is written is unreadable: %w", err)
	case tok.Kind == xmlstream.None:
		return 0, fmt.Errorf("c2s: BOSH: what is written is no whole element")
	case tok.Kind == xmlstream.Close:
		b.closed = true
	case tok.Kind == xmlstream.Element:
		b.failed = b.failed || isStreamError(tok)
		b.out = appendAlone(b.out, tok)
		b.reroutable = b.reroutable || reroutable(tok)
	}
	return n, nil
}

// reroutable reports whether an element is worth anything to others if the client does not get it:
// a message, or a request, whose sender is to be told.
func reroutable(tok *xmlstream.Token) bool {
	if string(tok.Local) == "iq" {
		t := attr(tok, "type")
		return t == "get" || t == "set"
	}
	return string(tok.Local) == "message"
}
