package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestNode runs the conversations of node/ with @xmpp/client.
func TestNode(t *testing.T) {
	tests := []struct{ script, users string }{
		{"login", "alice"},
		{"chat", "alice bob"},
		{"resumption", "alice bob"},
		{"fast", "alice bob"},
	}
	need(t, "@xmpp/client", installed("node", "--input-type=module", "-e", "await import('./node/client.js')"))
	for _, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			t.Parallel()
			s := newServerBehind(t, strings.Fields(tt.users)...)
			s.run("node", filepath.Join("node", tt.script+".js"))
		})
	}
	t.Run("resumption over WebSocket", func(t *testing.T) {
		t.Parallel()
		newServerBehindWeb(t, "alice", "bob").run("node", filepath.Join("node", "resumption.js"))
	})
}
