package main

import (
	"strings"
	"testing"
	"time"
)

// good checks what holds of every load that went well.
func (r *report) good(t *testing.T, sessions int) {
	t.Helper()
	if !r.OK || r.Login.OK != sessions || r.Login.Failed != 0 || r.Login.Latency.Count != uint64(sessions) || r.Disconnected != 0 {
		t.Errorf("%+v", r)
	}
	if r.Server == nil || r.Server.MemoryBefore < 1<<20 || r.Server.MemoryStart < 1<<20 || r.Server.MemoryEnd < 1<<20 {
		t.Errorf("server: %+v", r.Server)
	}
	if m := r.Messages; m != nil {
		if m.Lost+m.Duplicated+m.Reordered+m.Bounced+m.Unsent+m.Unexpected != 0 || m.Measured == 0 || m.PerSecond <= 0 {
			t.Errorf("messages: %+v", m)
		}
		l := m.Latency
		if l.Count == 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max || l.Max <= 0 {
			t.Errorf("latency: %+v", l)
		}
	}
}

func TestIdle(t *testing.T) {
	s := startServer(t, true)
	for _, tls := range []string{tlsStart, tlsDirect} {
		r := s.load(t, exitOK, "idle", tls, "-sessions", "10", "-register", "-duration", "200ms")
		r.good(t, 10)
		if r.Messages != nil || r.TLS != tls || r.Login.PerSecond <= 0 {
			t.Errorf("%+v", r)
		}
	}
}

func TestChat(t *testing.T) {
	plain, secure := startServer(t, false), startServer(t, true)
	common := []string{"-pairs", "6", "-register", "-warmup", "100ms", "-duration", "500ms"}
	for name, test := range map[string]struct {
		s    *server
		tls  string
		more []string
	}{
		"closed":    {plain, tlsOff, []string{"-inflight", "4"}},
		"open":      {plain, tlsOff, []string{"-rate", "600", "-mech", "SCRAM-SHA-256"}},
		"processes": {plain, tlsOff, []string{"-processes", "2", "-rate", "500"}},
		"direct":    {secure, tlsDirect, []string{"-size", "5000", "-mech", "PLAIN"}},
		"starttls":  {secure, tlsStart, []string{"-rate", "500"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := test.s.load(t, exitOK, "chat", test.tls, append(test.more, common...)...)
			r.good(t, 12)
			if r.Messages.Sent != r.Messages.Delivered {
				t.Errorf("%+v", r.Messages)
			}
			if open := r.Messages.SendLag != nil; open != (strings.Contains(strings.Join(test.more, " "), "-rate")) {
				t.Errorf("send lag: %v", r.Messages.SendLag)
			}
			if r.Messages.SendLag != nil && (r.Messages.Latency.Count < 250*9/10 || r.Messages.Latency.Count > 300+1) {
				t.Errorf("%d messages in half a second at 500 or 600 a second", r.Messages.Latency.Count)
			}
		})
	}
}

func TestChatLimit(t *testing.T) {
	r := startServer(t, false).load(t, exitOK, "chat", tlsOff, "-pairs", "3", "-register", "-warmup", "0s",
		"-messages", "100", "-rate", "1000", "-duration", "30s")
	r.good(t, 6)
	if m := r.Messages; m.Sent != 100 || m.Seconds > 20 {
		t.Errorf("%+v", m)
	}
}

func TestChatAndRelay(t *testing.T) {
	r := startServer(t, false).load(t, exitOK, "chat", tlsOff, "-pairs", "4", "-register", "-warmup", "100ms", "-duration", "1s", "-relay")
	r.good(t, 8)
	if r.Relay == nil || r.Ratio == nil || r.Ratio.CPU == nil || r.Ratio.Throughput == nil {
		t.Fatalf("%+v", r)
	}
	r.Relay.good(t, 8)
	if *r.Ratio.CPU <= 0 || *r.Ratio.Throughput <= 0 {
		t.Errorf("ratios %v %v", *r.Ratio.CPU, *r.Ratio.Throughput)
	}
}

func TestPresence(t *testing.T) {
	s := startServer(t, false)
	for _, more := range [][]string{{"-rate", "100"}, {"-inflight", "2", "-processes", "2"}} { // friends to be made, and friends from before
		r := s.load(t, exitOK, "presence", tlsOff, append(more, "-users", "8", "-friends", "3", "-register", "-warmup", "100ms", "-duration", "500ms")...)
		r.good(t, 8)
		if m := r.Messages; m.Delivered != 3*m.Sent || r.ForeignContacts != 0 {
			t.Errorf("%+v", r)
		}
	}
	r := s.load(t, exitOK, "presence", tlsOff, "-users", "8", "-friends", "1", "-rate", "50", "-warmup", "0s", "-duration", "300ms")
	if r.ForeignContacts != 16 {
		t.Errorf("%d other contacts, want 16", r.ForeignContacts)
	}
}

func TestOffline(t *testing.T) {
	s := startServer(t, false)
	for _, processes := range []string{"1", "2"} {
		r := s.load(t, exitOK, "offline", tlsOff, "-users", "5", "-messages", "20", "-inflight", "7", "-register", "-processes", processes)
		r.good(t, 10)
		if m, o := r.Messages, r.Offline; m.Sent != 100 || m.Delivered != 100 || m.Latency.Count != 5 || o.StoredPerSecond <= 0 || o.FetchedPerSecond <= 0 {
			t.Errorf("%+v %+v", m, o)
		}
	}
	// More than the server keeps for one user is refused, which must not be overlooked.
	r := s.load(t, exitFailed, "offline", tlsOff, "-users", "1", "-messages", "1010", "-inflight", "200")
	if m := r.Messages; m.Bounced != 10 || m.Delivered != 1000 || m.Lost != 10 || len(r.Failures) == 0 {
		t.Errorf("%+v %v", m, r.Failures)
	}
}

func TestStorm(t *testing.T) {
	s := startServer(t, true)
	r := s.load(t, exitOK, "storm", tlsDirect, "-sessions", "20", "-register", "-processes", "2")
	r.good(t, 20)
	if r.Login.Back == nil || r.Login.Back.Count != 20 || r.Server.CPUPerLogin == nil {
		t.Errorf("%+v", r.Login)
	}
	for _, tls := range []string{tlsDirect, tlsStart} {
		for _, login := range []string{loginToken, loginResume} {
			r := s.load(t, exitOK, "storm", tls, "-sessions", "20", "-login", login)
			r.good(t, 20)
		}
	}
	r = s.load(t, exitOK, "storm", tlsStart, "-sessions", "5", "-prepare=false", "-concurrency", "2", "-user-format", "other%d", "-register")
	r.good(t, 5)
}

func TestLoginFailure(t *testing.T) {
	s := startServer(t, false)
	r := s.load(t, exitFailed, "idle", tlsOff, "-sessions", "3", "-duration", "10ms", "-user-format", "nobody%d")
	if r.OK || r.Login.Failed != 3 || r.Failures["login: authentication: not-authorized"] != 3 {
		t.Errorf("%+v", r)
	}
	r = s.load(t, exitFailed, "storm", tlsOff, "-sessions", "2", "-prepare=false", "-duration", "1200ms", "-user-format", "nobody%d")
	if r.Login.Failed != 2 || r.Login.Retries == 0 {
		t.Errorf("%+v", r.Login)
	}
	for args, want := range map[string]string{
		"chat -pairs 1 -user-format nobody%d":                     "2 of 2 users could not log in; 2 of them: login: authentication: not-authorized",
		"chat -pairs 2 -user-format nobody%d -processes 2 -relay": "2 of 2 users could not log in",
		"offline -users 1 -user-format nobody%d":                  "the login before the test: authentication: not-authorized",
		"presence -users 2 -friends 1 -user-format nobody%d":      "could not log in",
		"idle -sessions 1 -pid 999999999":                         "-pid: open",
	} {
		words := strings.Fields(args)
		code, stdout, stderr := call(t, append(append(words[:1:1], s.flags(tlsOff)...), words[1:]...)...)
		if code != exitFailed || !strings.Contains(stderr, want) || stdout != "" {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
}

// A screen lets a test see progress as it comes.
type screen chan string

func (s screen) Write(b []byte) (int, error) {
	s <- string(b)
	return len(b), nil
}

// TestServerDies counts sessions that the server has ended.
func TestServerDies(t *testing.T) {
	s := startServer(t, false)
	o, err := parseOptions("idle", append(s.flags(tlsOff), "-sessions", "3", "-register", "-duration", "1h", "-progress", "-pid="))
	if err != nil {
		t.Fatal(err)
	}
	lines, done := make(screen), make(chan *report)
	go func() {
		r, err := measure(t.Context(), o, "idle", lines)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	for {
		select {
		case line := <-lines:
			if !s.killed && strings.Contains(line, "online 3") {
				s.killed = true
				s.cmd.Process.Kill() //nolint:errcheck // then the test fails
			}
		case r := <-done:
			if !s.killed || r == nil || r.OK || r.Disconnected != 3 || r.Login.OK != 3 || len(r.Failures) == 0 {
				t.Errorf("killed %v, %+v", s.killed, r)
			}
			return
		}
	}
}

// TestInterrupted ends all workers, whether they are processes or not.
func TestInterrupted(t *testing.T) {
	s := startServer(t, false)
	for _, processes := range []string{"1", "2"} {
		o, err := parseOptions("idle", append(s.flags(tlsOff), "-sessions", "4", "-register", "-duration", "1h", "-processes", processes, "-limit", "2s"))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = measure(t.Context(), o, "idle", &strings.Builder{})
		if err == nil || !strings.Contains(err.Error(), "-limit") || time.Since(start) > 15*time.Second {
			t.Errorf("%s processes: %v after %v", processes, err, time.Since(start))
		}
	}
}

func TestRooms(t *testing.T) {
	r := startServer(t, false).load(t, exitOK, "rooms", tlsOff, "-rooms", "2", "-occupants", "3", "-register", "-rate", "40", "-warmup", "100ms", "-duration", "500ms")
	r.good(t, 6)
	if r.Rooms != nil || r.Messages.Delivered != 3*r.Messages.Sent {
		t.Errorf("%+v", r.Messages)
	}
}

func TestRoomCreation(t *testing.T) {
	s := startServer(t, false)
	r := s.load(t, exitOK, "rooms", tlsOff, "-create", "-rooms", "4", "-occupants", "3", "-processes", "2", "-register", "-warmup", "100ms", "-duration", "500ms")
	r.good(t, 12)
	m := r.Rooms
	if m == nil || r.Messages != nil || m.Lost != 0 || m.Measured == 0 || m.Made < m.Measured || m.Filled.P50 <= 0 || r.Server.CPUPerMessage != nil {
		t.Fatalf("%+v", m)
	}
	if r := s.load(t, exitOK, "rooms", tlsOff, "-create", "-rooms", "2", "-occupants", "1", "-warmup", "0s", "-duration", "200ms"); r.Rooms.Made < 2 {
		t.Errorf("%+v", r.Rooms)
	}
}

// TestNoRooms has a server that offers none: what it is asked about is not a conference.
func TestNoRooms(t *testing.T) {
	s := startServer(t, false)
	for _, service := range []string{"chat.test", "nowhere.chat.test"} {
		args := append(append([]string{"rooms"}, s.flags(tlsOff)...), "-rooms", "1", "-occupants", "2", "-register", "-service", service)
		code, stdout, stderr := call(t, args...)
		if code != exitFailed || !strings.Contains(stderr, "the server offers no rooms") || stdout != "" {
			t.Errorf("%s: code %d, %s", service, code, stderr)
		}
	}
}
