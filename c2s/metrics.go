package c2s

import (
	"github.com/prometheus/client_golang/prometheus"

	"chatd/stanza"
)

// Metrics are the connections' counters.
type Metrics struct {
	Connections   *prometheus.CounterVec // by outcome of accept
	StreamErrors  *prometheus.CounterVec // by condition
	Logins        *prometheus.CounterVec // by mechanism and outcome
	Registrations *prometheus.CounterVec // by outcome
	BadStanzas    prometheus.Counter
	SlowClients   prometheus.Counter
	Throttled     prometheus.Counter
	Rerouted      prometheus.Counter
	Silent        prometheus.Counter
	Resumptions   *prometheus.CounterVec // by outcome

	gauges []prometheus.Collector
}

func newMetrics(s *Server) *Metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &Metrics{
		Connections:   vec("chatd_connections_total", "Connections, by whether they were admitted.", "outcome"),
		StreamErrors:  vec("chatd_stream_errors_total", "Stream errors sent, by condition.", "condition"),
		Logins:        vec("chatd_logins_total", "SASL exchanges, by mechanism and outcome.", "mechanism", "outcome"),
		Registrations: vec("chatd_registrations_total", "In-band registrations, by outcome.", "outcome"),
		BadStanzas:    counter("chatd_bad_stanzas_total", "Stanzas answered with an error before routing."),
		SlowClients:   counter("chatd_slow_clients_total", "Sessions closed because their client did not read."),
		Throttled:     counter("chatd_throttled_total", "Times a session was slowed by its rate limits."),
		Silent:        counter("chatd_silent_clients_total", "Connections given up because their client answered nothing."),
		Resumptions:   vec("chatd_resumptions_total", "Attempts to resume a session, by outcome.", "outcome"),
		Rerouted:      counter("chatd_rerouted_total", "Stanzas routed anew because their session ended before they were sent."),
	}
	m.gauges = []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chatd_sessions", Help: "Bound sessions on this node."},
			func() float64 { return float64(s.router.Table.Len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chatd_handshakes_waiting", Help: "Logins that wait for their turn."},
			func() float64 { return float64(s.gate.queued()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chatd_connections", Help: "Open connections, with and without a session."},
			func() float64 {
				s.mu.Lock()
				defer s.mu.Unlock()
				return float64(len(s.conns))
			}),
	}
	m.gauges = append(m.gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "chatd_outbox_bytes", Help: "What waits to be sent to clients that do not read as fast as they are sent to."},
		func() float64 { return float64(s.queuedBytes()) }))
	return m
}

// queuedBytes adds up the outboxes of all sessions, those that wait for resumption among them.
func (s *Server) queuedBytes() (n int) {
	for row := range s.router.Table.All() {
		if session, ok := row.Session.(*Session); ok {
			session.out.mu.Lock()
			n += len(session.out.queueLocked())
			session.out.mu.Unlock()
		}
	}
	return n
}

func (m *Metrics) streamError(e *stanza.StreamError) {
	m.StreamErrors.WithLabelValues(e.Condition).Inc()
}

// Register adds the counters to a registry.
func (m *Metrics) Register(reg prometheus.Registerer) {
	reg.MustRegister(m.Connections, m.StreamErrors, m.Logins, m.Registrations,
		m.BadStanzas, m.SlowClients, m.Throttled, m.Rerouted, m.Silent, m.Resumptions)
	reg.MustRegister(m.gauges...)
}
