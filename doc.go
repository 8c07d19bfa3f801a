// Package chatd holds no code: the server is cmd/chatd and the packages beside
// it. Here are the tests of the whole server, a real chatd process talked to
// over real sockets: the conversations of testdata, what a third-party client
// sees, and what hostile input meets. go test . runs them; -update rewrites the
// expected side of the conversations.
package chatd
