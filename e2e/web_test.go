package e2e

import (
	"path/filepath"
	"testing"
)

// TestWeb runs the web's clients, each over WebSocket and over BOSH: stanza in Node, strophe.js and
// Converse.js in Chromium, the latter once more in rooms. With CHATD_SCREENSHOTS it keeps pictures in that folder.
func TestWeb(t *testing.T) {
	for _, client := range []string{"stanza", "strophe", "converse", "converserooms"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			if client == "stanza" {
				need(t, "stanza", installed("node", "-e", "require('./node/node_modules/stanza')"))
			} else {
				needBrowser(t)
			}
			newServer(t, "alice", "bob").run("node", filepath.Join("node", client+".js"))
		})
	}
}

func needBrowser(t *testing.T) {
	t.Helper()
	need(t, "Chromium", installed("chromium", "--version"))
	need(t, "puppeteer-core", installed("node", "--input-type=module", "-e", "await import('./node/web.js')"))
}
