package cluster

// Kinds of frames on a link. 1 to 19 are replication's.
const (
	kindSnapshot byte = 1 + iota // begins a snapshot of the sender's rows
	kindSegment                  // a part of one segment, of a snapshot or of a repair
	kindComplete                 // ends a snapshot
	kindDeltas                   // changes of the sender's rows, numbered
	kindDigest                   // of the sender's rows, segment by segment
	kindGot                      // how much of what the other side sent has been applied
	kindAsk                      // for a snapshot, or for segments
)
