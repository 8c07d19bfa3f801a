package main

import "time"

// A receipt says where a message came: to which login of a client's, on which node, and as which stanza of that session.
type receipt struct {
	name   string
	where  int
	login  int
	number uint32
}

// A login is one session of a client's, however often it was resumed.
type login struct {
	name  string
	count int
}

// sure notes that the server knows how much of what it sent in a session has come.
func (l *ledger) sure(name string, count int, handled uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.surely[login{name, count}] = handled
}

// reportTime is for how long a node may not have heard what another one has done with a message: as long as a link that is cut is not missed.
const reportTime = 3 * time.Second

// excusedLocked reports whether a message had to come again: the session in which it came first was lost, and either its client had not told the
// server that it had come, or that node could not tell the sender's any more.
func (l *ledger) excusedLocked(m *message, again receipt) bool {
	if again.login == m.first.login {
		return false
	}
	return m.first.number > l.surely[login{m.first.name, m.first.login}] || l.parted(m.on, m.first.where, m.at, reportTime)
}
