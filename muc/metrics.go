package muc

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Why something was refused, as the metric's label has it.
const (
	refusedMessageRate = "message-rate"
	refusedRoomRate    = "room-rate"
	refusedSize        = "size"
	refusedJoinRate    = "join-rate"
	refusedRoomJoins   = "room-join-rate"
	refusedNickRate    = "nick-rate"
	refusedPresence    = "presence-rate"
	refusedLetters     = "letter-rate"
	refusedCreation    = "creation-rate"
	refusedRooms       = "rooms"
	refusedOccupants   = "occupants"
)

// Metrics are what is to be seen of rooms.
type Metrics struct {
	rooms      prometheus.Gauge
	occupants  prometheus.Gauge
	created    prometheus.Counter
	messages   prometheus.Counter
	deliveries prometheus.Counter
	bounced    prometheus.Counter
	unstored   prometheus.Counter
	moved      prometheus.Counter
	fenced     prometheus.Counter
	refused    *prometheus.CounterVec
}

func newMetrics() *Metrics {
	m := &Metrics{
		rooms: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "chatd_muc_rooms", Help: "Rooms in memory."}),
		occupants: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "chatd_muc_occupants", Help: "Sessions in rooms, counted once for each room."}),
		created: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatd_muc_rooms_created_total", Help: "Rooms created."}),
		messages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatd_muc_messages_total", Help: "Messages to all occupants of a room."}),
		deliveries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatd_muc_deliveries_total", Help: "Messages to all occupants, counted for each session that got them."}),
		bounced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatd_muc_occupants_bounced_total", Help: "Occupants removed because they could not be reached."}),
		unstored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatd_muc_history_lost_total", Help: "Messages that were delivered and that the store did not take for a room's history."}),
		moved: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatd_muc_rooms_moved_total", Help: "Rooms that another node of the cluster has handed over, or that came back here after their node was lost."}),
		fenced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatd_muc_fenced_total", Help: "What a node said to occupants of a room that it was not the home of any more."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatd_muc_refused_total", Help: "What was refused because of a limit, by limit."}, []string{"limit"}),
	}
	for _, l := range []string{refusedMessageRate, refusedRoomRate, refusedSize, refusedJoinRate, refusedRoomJoins, refusedNickRate, refusedPresence, refusedLetters, refusedCreation, refusedRooms, refusedOccupants} {
		m.refused.WithLabelValues(l)
	}
	return m
}

// Register adds them to a registry.
func (m *Metrics) Register(reg prometheus.Registerer) {
	reg.MustRegister(m.rooms, m.occupants, m.created, m.messages, m.deliveries, m.bounced, m.unstored, m.moved, m.fenced, m.refused)
}

func (m *Metrics) refuse(limit string) { m.refused.WithLabelValues(limit).Inc() }
