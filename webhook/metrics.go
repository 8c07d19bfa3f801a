package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Why an event is not delivered at all. Each name is the metric's label and the log's word.
const (
	lostQueueFull  = "queue-full"       // too many wait for the webhook
	lostBufferFull = "buffer-full"      // too many wait for the store
	lostDeadLetter = "dead-letter-full" // the oldest dead letter made room for a newer one
)

// Metrics are the service's counters and gauges, and the text filter's.
type Metrics struct {
	deliveries *prometheus.CounterVec // by webhook and outcome
	lost       *prometheus.CounterVec // by webhook and reason
	queue      *prometheus.GaugeVec   // by webhook
	oldest     *prometheus.GaugeVec
	dead       *prometheus.GaugeVec

	filtered *prometheus.CounterVec // by outcome
	latency  prometheus.Histogram
}

func newMetrics() *Metrics {
	m := &Metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_webhook_deliveries_total", Help: "Attempts to deliver an event, by webhook and outcome."}, []string{"webhook", "outcome"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_webhook_lost_total", Help: "Events dropped because something was full, by webhook and reason."}, []string{"webhook", "reason"}),
		queue: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "chatd_webhook_queue", Help: "Events that wait for delivery, by webhook, on the node that delivers them."}, []string{"webhook"}),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "chatd_webhook_oldest_seconds", Help: "Age of the oldest event that waits, by webhook, on the node that delivers them."}, []string{"webhook"}),
		dead: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "chatd_webhook_dead_letters", Help: "Events that were given up and are kept, by webhook."}, []string{"webhook"}),
		filtered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_filter_messages_total", Help: "Messages that the text filter was to judge, by outcome."}, []string{"outcome"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "chatd_filter_seconds", Help: "What senders waited for the text filter.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
	}
	for _, o := range []string{filterAccepted, filterReplaced, filterRejected, filterTimeout, filterFailed, filterSkipped} {
		m.filtered.WithLabelValues(o)
	}
	return m
}

// Register adds the metrics to a registry.
func (m *Metrics) Register(reg prometheus.Registerer) {
	reg.MustRegister(m.deliveries, m.lost, m.queue, m.oldest, m.dead, m.filtered, m.latency)
}

// expect shows a webhook with zeros.
func (m *Metrics) expect(hook string) {
	for _, o := range []string{delivered, refused, timedOut, unreachable} {
		m.deliveries.WithLabelValues(hook, o)
	}
	for _, reason := range []string{lostQueueFull, lostBufferFull, lostDeadLetter} {
		m.lost.WithLabelValues(hook, reason)
	}
	m.set(hook, 0, 0, 0)
}

func (m *Metrics) set(hook string, waiting, dead int, oldest time.Duration) {
	m.queue.WithLabelValues(hook).Set(float64(waiting))
	m.dead.WithLabelValues(hook).Set(float64(dead))
	m.oldest.WithLabelValues(hook).Set(oldest.Seconds())
}

// forget takes a webhook that is gone out of the metrics.
func (m *Metrics) forget(hook string) {
	of := prometheus.Labels{"webhook": hook}
	m.deliveries.DeletePartialMatch(of)
	m.lost.DeletePartialMatch(of)
	m.queue.DeletePartialMatch(of)
	m.oldest.DeletePartialMatch(of)
	m.dead.DeletePartialMatch(of)
}

// lost counts an event that is dropped. It logs the first of a while only: when something is full there are many.
func (s *Service) lost(hook, reason string) {
	s.Metrics.lost.WithLabelValues(hook, reason).Inc()
	now := time.Now().Unix()
	last := s.lossLogged.Load()
	if now-last >= lossLogSeconds && s.lossLogged.CompareAndSwap(last, now) {
		s.log.Warn("event dropped, and perhaps others", "webhook", hook, "why", reason)
	}
}

// lossLogSeconds is how often at most it is logged that events were dropped.
const lossLogSeconds = 10
