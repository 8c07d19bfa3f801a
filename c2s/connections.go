package c2s

import (
	"errors"
	"net"
	"time"
)

// Serve accepts connections until the listener is closed, which Shutdown does.
// With directTLS they begin with a TLS handshake (XEP-0368).
func (s *Server) Serve(l net.Listener, directTLS bool) error {
	return s.accept(l, false, func(tcp *net.TCPConn) { s.welcome(tcp, directTLS) })
}

// accept hands over a listener's connections to welcome, which does not block.
func (s *Server) accept(l net.Listener, http bool, welcome func(*net.TCPConn)) error {
	s.mu.Lock()
	s.listeners[l] = http
	closing := s.closing
	s.mu.Unlock()
	if closing {
		_ = l.Close()
	}
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		tcp, ok := conn.(*net.TCPConn)
		switch {
		case ok:
			pause = 0
			welcome(tcp)
		case err == nil:
			_ = conn.Close()
		case errors.Is(err, net.ErrClosed):
			return nil
		default: // most likely out of descriptors: some will come free
			pause = min(2*pause+5*time.Millisecond, time.Second)
			s.log.Warn("accept failed", "err", err, "pause", pause)
			time.Sleep(pause)
		}
	}
}

func (s *Server) newWire(tcp *net.TCPConn) (*wire, error) {
	w, err := newWire(tcp, s.gate)
	if err != nil {
		return nil, err
	}
	w.watch = s.watch
	return w, nil
}

// welcome starts a connection's negotiation, first learning from a proxy whose it is.
func (s *Server) welcome(tcp *net.TCPConn, directTLS bool) {
	w, err := s.newWire(tcp)
	if err != nil {
		_ = tcp.Close()
		return
	}
	from := s.cfg.Load().ProxyFrom
	if !proxied(w.from.addr, from) {
		s.begin(w, directTLS)
		return
	}
	go func() {
		w.deadline(time.Now().Add(loginTimeout))
		if !s.unwrap(w, from) {
			_ = tcp.Close()
			return
		}
		s.begin(w, directTLS)
	}()
}

func (s *Server) begin(w *wire, directTLS bool) {
	if !s.allow(w) {
		_ = w.tcp.Close()
		return
	}
	if !s.adopt(w) {
		s.release(w)
		_ = w.tcp.Close()
		return
	}
	s.take(arrival{transport: w, directTLS: directTLS})
}

// allow counts a connection of its address, or refuses it. It ends with release, or for one
// that was adopted with forget.
func (s *Server) allow(t transport) bool {
	host := keyOf(t.peer().addr)
	limit := s.cfg.Load().ConnectionsPerAddress
	s.mu.Lock()
	refused := limit > 0 && s.byAddress[host] >= limit
	if !refused {
		s.byAddress[host]++
	}
	s.mu.Unlock()
	if refused {
		s.Metrics.Connections.WithLabelValues("refused").Inc()
		return false
	}
	s.Metrics.Connections.WithLabelValues("accepted").Inc()
	return true
}

func (s *Server) release(t transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked(t)
}

func (s *Server) releaseLocked(t transport) {
	host := keyOf(t.peer().addr)
	if s.byAddress[host]--; s.byAddress[host] == 0 {
		delete(s.byAddress, host)
	}
}

// adopt puts a connection whose stream begins on the books and gives it its number; false
// when the server is closing.
func (s *Server) adopt(t transport) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.lastID++
	t.peer().id = s.lastID
	s.conns[t] = nil
	return true
}

// forget takes a connection off the books.
func (s *Server) forget(t transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conns[t]; !ok {
		return
	}
	delete(s.conns, t)
	s.releaseLocked(t)
	if s.closing && len(s.conns) == 0 {
		close(s.idle)
	}
}

// bound notes which session a connection has, nil for none; false when the
// server is closing.
func (s *Server) bound(t transport, session *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.conns[t] = session
	return true
}
