package guard

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chatd/store"
)

type metrics struct {
	verbs   *prometheus.CounterVec
	latency *prometheus.HistogramVec
	refused *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		verbs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_store_verbs_total", Help: "What was asked of the store, and how it ended."}, []string{"verb", "result"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "chatd_store_verb_seconds", Help: "How long the store took.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9)}, []string{"verb"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_store_refused_total", Help: "What was not asked of the store."}, []string{"reason"}),
	}
}

// Register registers what is to be seen of the store.
func (s *Store) Register(reg prometheus.Registerer) {
	reg.MustRegister(s.metrics.verbs, s.metrics.latency, s.metrics.refused)
	for _, c := range []*circuit{s.reads, s.writes} {
		labels := prometheus.Labels{"for": c.name}
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "chatd_store_up", Help: "Whether the store works.", ConstLabels: labels}, func() float64 {
			if c.open.Load() {
				return 0
			}
			return 1
		}), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "chatd_store_failing_seconds", Help: "For how long the store has not worked.", ConstLabels: labels}, func() float64 {
			if c.open.Load() {
				return time.Since(c.failingSince()).Seconds()
			}
			return 0
		}))
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "chatd_store_waiting", Help: "What the store is working on."}, func() float64 { return float64(s.waiting.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "chatd_store_owed", Help: "Writes that wait for the store to work again."}, func() float64 { return float64(s.owed.count()) }))
}

func (m *metrics) observe(verb string, err error, took time.Duration) {
	m.verbs.WithLabelValues(verb, result(err)).Inc()
	m.latency.WithLabelValues(verb).Observe(took.Seconds())
}

// result is how a verb ended, in one word. An error of the caller's own, which a read-modify-write gives back, is "other".
func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, store.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, store.ErrNotFound):
		return "not-found"
	case errors.Is(err, store.ErrExists):
		return "exists"
	case errors.Is(err, store.ErrFull):
		return "full"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "given-up"
	}
	return "other"
}
