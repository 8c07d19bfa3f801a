package cluster

// Kinds of frames. Each range belongs to one part; a kind that a node does not know is
// counted and skipped, so that a later version may add some.
//
//	1..19    replication of the session table
//	20..59   stanzas and sessions
//	60..99   rooms
//	200..239 the link's own, numbered and resent like all above
//	240..255 the link's own, of one connection: neither numbered nor resent
const (
	kindRequest byte = 200 // id, time left, kind, payload
	kindAnswer  byte = 201 // id, outcome, payload

	kindControl byte = 240 // from here on not numbered

	kindHello     byte = 240 // the first frame in each direction
	kindRefused   byte = 241 // instead of a hello: why not, and the connection ends
	kindBegin     byte = 242 // the second frame: the number of the first numbered one
	kindHeartbeat byte = 243
	kindAck       byte = 244 // everything up to this number has been dealt with
	kindGoodbye   byte = 245 // the node leaves; an ack is in it
	kindWant      byte = 246 // somebody waits until the frame of this number is acknowledged
)
