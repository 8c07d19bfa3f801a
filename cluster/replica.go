package cluster

// A Sender is a link to one incarnation of a node: a *Peer.
type Sender interface {
	// Send queues a frame, made of all parts, and copies it. It never blocks; false: the link is gone, or its
	// queue is full.
	Send(kind byte, parts ...[]byte) (seq uint64, ok bool)
}
