// Package riak keeps everything in Riak KV, for shards that must keep writing through a partition of the database itself.
//
// # Values
//
// Riak has no transactions and no compare-and-set: what two nodes write at the same time becomes siblings. So every value here is a
// state (state.go), which merges with any other state of the same value, in any order, to the same result. It is a map of entries, each with the stamp of
// its last change (stamp.go), and with a tombstone for 30 days where one was removed. What two chatd do to different entries
// both stays, of what they do to the same entry the later one, and nothing that was removed comes back. Every write carries the
// causal context of the reading that it follows from, so siblings are only what really was concurrent. Who writes and finds siblings
// makes one value of them, readers do it now and then.
//
// Riak's own CRDT maps merge likewise, and are not used: a map as large as a roster is slower by far to read and write than one
// opaque value; an update of a map whose answer was lost can be applied twice; a map cannot say that two
// changed the same item, which UpdateItem has to know in order to ask again; a message that was removed with a context that is a little old
// would come back; and nothing in them takes back at once what was written under a name before it was deleted.
//
// A state can be written twice, or late, without harm. That is what makes every request safe to repeat, on any node.
//
// What is kept of a user is six values: account, roster, profile, vCard, private XML and the head of the queue of messages (queue.go), whose
// messages are in segments. Rooms and the queues of the outbox are made of the same parts. Names are listed from an index
// of our own (index.go).
//
// # What is promised
//
// Within one process limits are exact, and changes of one value follow one another. Between processes limits may be exceeded by what is
// written at the same time, order is that of the clocks for calls that overlap, and UpdateItem asks again when it sees that another process has
// changed the same item, which it does unless the database is parted. What only one may get, an account's name or a
// queue's lease, is written and read at most of the replicas that are responsible (stake, LeaseQueue), and nobody gets it on the smaller side of a
// partition. All other verbs go on with whatever is reachable, and what was answered is there once the sides see each other again.
//
// # The client
//
// Everything that is asked of Riak is a command of riak-go-client and goes over one of its connections. What that module does badly
// is mended around it (client.go, node.go, pool.go):
//
//   - Its pool holds a lock while it dials, takes a node whose connections are all used up for one that is ill, and cannot be stopped
//     while a command is under way without a panic. So a client here is a cluster of one node with one connection, which has one command at
//     a time, and the pool is ours.
//   - It has no contexts. A command runs on a goroutine of its own, at most 128 at a time. A caller whose context ends leaves; Riak
//     was told to give up then (the command's timeout), and if it says nothing the client gives up after 3 seconds. So what a caller has left
//     may be written later. Nothing here relies on the contrary: a connection that is cut leaves that open too (see queueadd.go).
//   - Its first command spins without end if no node is up. A client is made only of a node that answers a ping, and gets
//     no command if it has no connection then.
//   - It repeats a command on any error, up to three times: not here (ExecutionAttempts is 1). The pool repeats, on another node.
//   - It looks after a node that failed by dialing it eight times a second, and writes to stderr each time. Here it never comes to that: a client
//     whose connection failed is stopped, and the node is left alone for a while. Its log cannot be turned
//     off; what is left are two lines when a node dies between the ping and the connection.
//   - Its errors do not unwrap: causeOf. An answer of no bytes makes it panic: the command fails instead. It makes room for as many bytes as
//     an answer says that it has, up to 4 GB, and keeps the room: it never talks to what does not answer a ping as Riak does, and
//     is given up after an answer of more than a megabyte.
package riak
