package cluster

import "github.com/prometheus/client_golang/prometheus"

// metrics are the counters; what can be read off the state is collected from Status.
type metrics struct {
	suspicions, downs, deaths prometheus.Counter
	breaks, resumes           prometheus.Counter
	bytesIn, bytesOut         prometheus.Counter
	framesIn, framesOut       prometheus.Counter
	refusedSends, unknown     prometheus.Counter
	refused                   *prometheus.CounterVec // by reason
	rtt                       prometheus.Histogram
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "chatd_cluster_" + name, Help: help})
}

func newMetrics() *metrics {
	m := &metrics{
		suspicions:   counter("suspicions_total", "Times that a peer was not heard of for 0.6 s."),
		deaths:       counter("gossip_deaths_total", "Times that gossip had a member for dead or gone."),
		downs:        counter("peers_down_total", "Peers declared down without having left."),
		breaks:       counter("link_breaks_total", "Connections of links that broke."),
		resumes:      counter("link_resumes_total", "Links that went on over a new connection, nothing lost."),
		bytesIn:      counter("link_received_bytes_total", "Bytes received over links."),
		bytesOut:     counter("link_sent_bytes_total", "Bytes sent over links."),
		framesIn:     counter("link_received_frames_total", "Frames received over links."),
		framesOut:    counter("link_sent_frames_total", "Frames sent over links, those sent again too."),
		refusedSends: counter("link_refused_frames_total", "Frames not taken because a queue was full or its peer gone."),
		unknown:      counter("link_unknown_frames_total", "Frames skipped because this version does not know them."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_cluster_refused_total", Help: "Connections refused on the link port, by reason."}, []string{"reason"}),
		rtt: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "chatd_cluster_heartbeat_seconds", Help: "Round trips of heartbeats.", Buckets: prometheus.ExponentialBuckets(1e-5, 4, 10)}),
	}
	for _, reason := range []string{refusedSecret, refusedVersion, refusedDomain, refusedName, refusedTarget, refusedLeaving, refusedGarbled, refusedCrowd, refusedTime, refusedTLS} {
		m.refused.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.suspicions, m.deaths, m.downs, m.breaks, m.resumes, m.bytesIn, m.bytesOut, m.framesIn, m.framesOut,
		m.refusedSends, m.unknown, m.refused, m.rtt}
}

// What is read off Status.
var (
	descMembers = prometheus.NewDesc("chatd_cluster_members", "Other nodes, by state as this one sees them.", []string{"state"}, nil)
	descIsland  = prometheus.NewDesc("chatd_cluster_island", "1 if a member is missing that has not left, or none of cluster.join answers.", nil, nil)
	descUp      = prometheus.NewDesc("chatd_cluster_link_up", "1 if the link to a node has a connection.", []string{"peer"}, nil)
	descQueue   = prometheus.NewDesc("chatd_cluster_link_queue_bytes", "What a node has not acknowledged.", []string{"peer"}, nil)
	descLag     = prometheus.NewDesc("chatd_cluster_link_lag_seconds", "Age of the oldest frame that a node has not acknowledged.", []string{"peer"}, nil)
)

// Describe and Collect make a Node a prometheus.Collector.
func (n *Node) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descMembers, descIsland, descUp, descQueue, descLag} {
		ch <- d
	}
	for _, c := range n.metrics.all() {
		c.Describe(ch)
	}
}

// Collect is called by a registry.
func (n *Node) Collect(ch chan<- prometheus.Metric) {
	s := n.Status()
	count := make(map[string]int)
	for _, m := range s.Members {
		count[m.State]++
		if m.State == StateLeft {
			continue
		}
		ch <- prometheus.MustNewConstMetric(descUp, prometheus.GaugeValue, gauge(m.Connected), m.Name)
		ch <- prometheus.MustNewConstMetric(descQueue, prometheus.GaugeValue, float64(m.QueuedBytes), m.Name)
		ch <- prometheus.MustNewConstMetric(descLag, prometheus.GaugeValue, m.Lag.Seconds(), m.Name)
	}
	for _, state := range states {
		ch <- prometheus.MustNewConstMetric(descMembers, prometheus.GaugeValue, float64(count[state]), state)
	}
	ch <- prometheus.MustNewConstMetric(descIsland, prometheus.GaugeValue, gauge(s.Island))
	for _, c := range n.metrics.all() {
		c.Collect(ch)
	}
}

func gauge(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
