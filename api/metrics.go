package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec   // by operation and status
	seconds  *prometheus.HistogramVec // by operation
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_api_requests_total", Help: "Requests to the private API, by operation and status."}, []string{"operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "chatd_api_request_seconds", Help: "How long requests to the private API took, by operation.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 4, 10)}, []string{"operation"}),
	}
	reg.MustRegister(m.requests, m.seconds)
	return m
}

// operationMetrics are those of one operation.
type operationMetrics struct {
	ok       prometheus.Counter // 200, which is most
	requests *prometheus.CounterVec
	seconds  prometheus.Observer
}

func (m *metrics) operation(id string) *operationMetrics {
	requests := m.requests.MustCurryWith(prometheus.Labels{"operation": id})
	return &operationMetrics{ok: requests.WithLabelValues("200"), requests: requests, seconds: m.seconds.WithLabelValues(id)}
}

func (o *operationMetrics) done(status int, took time.Duration) {
	if status == 200 {
		o.ok.Inc()
	} else {
		o.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	}
	o.seconds.Observe(took.Seconds())
}
