package router

import (
	"chatd/stanza"
)

func (r *Router) copySent(b *Batch, s Session, st *stanza.Stanza) {
	if !Storable(st) {
		return
	}
	rows := b.senders(r.Table, st)
	for i := range rows {
		if rows[i].Flags&Carbons != 0 && rows[i].Session != s {
			r.Copies.Sent(b, rows[i], st)
		}
	}
}

// copyReceived copies what row took to its user's other resources.
func (r *Router) copyReceived(b *Batch, rows []Row, took int, st *stanza.Stanza) {
	if !Storable(st) {
		return
	}
	for i := range rows {
		if i != took && rows[i].Flags&Carbons != 0 {
			r.Copies.Received(b, rows[i], st)
		}
	}
}

// copyPast copies a message that went to the resources of the highest priority to the others.
func (r *Router) copyPast(b *Batch, rows []Row, best int8, st *stanza.Stanza) {
	if !Storable(st) {
		return
	}
	for i := range rows {
		if rows[i].Flags&Carbons != 0 && !(rows[i].Reachable() && rows[i].Priority == best) {
			r.Copies.Received(b, rows[i], st)
		}
	}
}
