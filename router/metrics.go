package router

import "github.com/prometheus/client_golang/prometheus"

// Why a stanza was not delivered as asked. Each name is the metric's label and
// the log's word.
const (
	dropErrorUndeliverable = "error-undeliverable" // an error or a result that nobody waits for
	dropNoResource         = "no-resource"         // full JID without a session, and the type does not wait
	dropNoSuchUser         = "no-such-user"
	dropBlockedBySender    = "blocked-by-sender"
	dropBlockedByRecipient = "blocked-by-recipient"
	dropRemote             = "remote-domain" // another domain: chatd does not federate
	dropUnhandled          = "unhandled"     // nobody answers this payload
	dropStore              = "store-failed"
	dropOverflow           = "overflow" // arrived from another node, more than can be dealt with
	dropRefused            = "refused"  // the spool or a handler said no
)

// ruled is the sides at which each rule is checked.
var ruled = map[string][]string{
	RuleRate: {AtSender}, RuleSpoofedFrom: {AtSender}, RuleSize: {AtSender}, RuleBlockList: {AtSender, AtReceiver},
	RuleFriendship: {AtSender, AtReceiver}, RulePrivacy: {AtReceiver}, RuleRequestRate: {AtReceiver}, RuleStranger: {AtReceiver},
	RuleTextFilter: {AtSender},
}

// Metrics are the router's counters.
type Metrics struct {
	Routed  *prometheus.CounterVec // by kind
	Held    prometheus.Counter
	Dropped *prometheus.CounterVec // by reason

	rejected *prometheus.CounterVec // by rule and side
	latency  prometheus.Histogram   // of one stanza in latencySample
	routed   [stanzaKinds]prometheus.Counter
}

const stanzaKinds = 4

// latencySample is how many stanzas there are to one that is timed: two readings of the clock each
// would be felt. A power of two.
const latencySample = 16

func newMetrics() *Metrics {
	m := &Metrics{
		Routed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_stanzas_routed_total", Help: "Stanzas taken for routing, by kind."}, []string{"kind"}),
		Held: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatd_messages_held_total", Help: "Messages stored for recipients who were not reachable."}),
		Dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_stanzas_dropped_total", Help: "Stanzas not delivered as asked, by reason."}, []string{"reason"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_rules_rejected_total", Help: "Stanzas that a rule refused or slowed down, by rule and side."}, []string{"rule", "side"}),
	}
	m.latency = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "chatd_routing_seconds", Help: "From a client's stanza to where it is queued, stored or answered; of one in 16.",
		Buckets: prometheus.ExponentialBuckets(1e-6, 4, 11)})
	for rule, sides := range ruled {
		for _, side := range sides {
			m.rejected.WithLabelValues(rule, side)
		}
	}
	for _, r := range []string{dropErrorUndeliverable, dropNoResource, dropNoSuchUser, dropBlockedBySender,
		dropBlockedByRecipient, dropRemote, dropUnhandled, dropStore, dropOverflow, dropRefused,
		RuleFriendship, RulePrivacy, RuleStranger, RuleTextFilter} {
		m.Dropped.WithLabelValues(r)
	}
	for i, name := range []string{"", "message", "presence", "iq"} {
		if name != "" {
			m.routed[i] = m.Routed.WithLabelValues(name)
		}
	}
	return m
}

// Register adds the counters to a registry.
func (m *Metrics) Register(reg prometheus.Registerer) {
	reg.MustRegister(m.Routed, m.Held, m.Dropped, m.rejected, m.latency)
}

// Reject counts that a rule has refused a stanza, or slowed its session down.
func (m *Metrics) Reject(rule, side string) { m.rejected.WithLabelValues(rule, side).Inc() }
