package c2s

import (
	"errors"
	"net"
	"time"

	"chatd/auth"
)

// Serve accepts connections until the listener is closed, which Shutdown does.
// With directTLS they begin with a TLS handshake (XEP-0368), unless they are no sockets: those are
// within the process and have no TLS.
func (s *Server) Serve(l net.Listener, directTLS bool) error {
	return s.accept(l, false, func(conn net.Conn) {
		if tcp, ok := conn.(*net.TCPConn); ok {
			s.welcome(tcp, directTLS)
		} else {
			s.begin(conn, arrival{transport: newPipe(conn), channel: auth.Channel{Private: true}})
		}
	})
}

// accept hands over a listener's connections to welcome, which does not block.
func (s *Server) accept(l net.Listener, http bool, welcome func(net.Conn)) error {
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
		switch {
		case err == nil:
			pause = 0
			welcome(conn)
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
	w.watch = s.watched()
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
		s.begin(tcp, arrival{transport: w, directTLS: directTLS})
		return
	}
	go func() {
		w.deadline(time.Now().Add(loginTimeout))
		if !s.unwrap(w, from) {
			_ = tcp.Close()
			return
		}
		s.begin(tcp, arrival{transport: w, directTLS: directTLS})
	}()
}

// begin has a stream begin, or closes its connection.
func (s *Server) begin(conn net.Conn, a arrival) {
	if !s.allow(a.transport) {
		_ = conn.Close()
		return
	}
	if !s.adopt(a.transport) {
		s.release(a.transport)
		_ = conn.Close()
		return
	}
	s.take(a)
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
