package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// python is Debian's own, which has Debian's slixmpp; another python3 may come
// first in the path.
const python = "/usr/bin/python3"

// TestSlixmpp runs the conversations of python/.
func TestSlixmpp(t *testing.T) {
	tests := []struct{ script, users string }{
		{"transport", "alice bob"},
		{"login", "alice"},
		{"register", "alice"},
		{"roster", "alice bob carol"},
		{"subscription", "alice bob carol dave"},
		{"presence", "alice bob carol"},
		{"message", "alice bob carol"},
		{"carbons", "alice bob"},
		{"blocking", "alice bob"},
		{"profile", "alice bob"},
		{"queries", "alice bob carol"},
		{"rooms", "alice bob"},
		{"resource_conflict", "alice"},
		{"bad_input", "alice bob"},
		{"shutdown", "alice bob carol"},
		{"crash", "alice bob"},
		{"reload", "alice bob"},
		{"accounts", "alice"},
	}
	need(t, "slixmpp", installed(python, "-c", "import slixmpp"))
	for _, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			t.Parallel()
			newServer(t, strings.Fields(tt.users)...).slixmpp(tt.script)
		})
	}
}

// TestSlixmppOverBadNetwork runs those for which connections break.
func TestSlixmppOverBadNetwork(t *testing.T) {
	need(t, "slixmpp", installed(python, "-c", "import slixmpp"))
	for _, script := range []string{"resumption", "client_state"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			newServerBehind(t, "alice", "bob").slixmpp(script)
		})
	}
}

// TestIPv6 is the same over IPv6.
func TestIPv6(t *testing.T) {
	need(t, "slixmpp", installed(python, "-c", "import slixmpp"))
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	} else {
		l.Close()
	}
	t.Parallel()
	newServerOn(t, "[::1]", "alice", "bob").slixmpp("transport")
}

func (s *server) slixmpp(script string) {
	s.t.Helper()
	s.run(python, filepath.Join("python", script+".py"))
}
