// Package stanza holds the nouns of XMPP: addresses, stanzas with their bytes,
// stanza errors and stream errors. It does no I/O.
package stanza
