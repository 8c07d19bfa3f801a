// Package riaktest is a double of a Riak KV cluster for tests: servers on
// loopback that speak Riak's protocol buffers and behave as Riak KV 3.2 does
// where it matters to a client: siblings by dotted version vectors, quorums and
// sloppy quorums over replicas, hinted handoff, read repair, tombstones and
// their reaping, listings from one replica of each partition, and conditional
// puts that are no compare-and-set. Nodes can be killed, stalled, partitioned
// and brought back; faults of single requests are made on demand, by seed.
//
// It keeps everything in memory. It has no data types, no map-reduce, no
// search, no security, and no active anti-entropy: replicas converge by read
// repair and by handoff only, so that a test sees what a client must live with.
package riaktest
