// Package e2e holds no code, only tests: real chatd processes, driven by
// clients that we did not write. slixmpp (the scripts of python/), @xmpp/client and stanza
// (the scripts of node/) and mellium.im/xmpp say what the protocol owes them, strophe.js does so
// in Chromium; profanity, in a terminal, and Converse.js, in Chromium, show what a person sees.
// The private API is asked by a client that is generated from its document, and by schemathesis.
//
// Each test has a chatd of its own. A script that needs something to happen to
// the server (a restart, a kill, another certificate) asks the Go side for it.
// scripts/setup.sh installs the clients; a test whose client is missing is
// skipped, and fails where CI=true.
package e2e
