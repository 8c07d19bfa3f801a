// Package cluster makes several nodes one server: who is there, the links between
// them, and what travels over these.
//
// memberlist finds the members and tells their addresses. All data goes over links: one
// ordered, encrypted, resumable TCP connection for each pair of nodes. A peer is alive as
// long as its link carries bytes in both directions; what memberlist believes only
// starts and hurries things.
package cluster
