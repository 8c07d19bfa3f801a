package chatd_test

import (
	"strings"
	"testing"
)

// TestRemoveBesideServer: an account that another process removes loses its sessions within seconds, and nobody
// else theirs.
func TestRemoveBesideServer(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	romeo, juliet := srv.login(t, "romeo", "orchard"), srv.login(t, "juliet", "balcony")
	if out, err := srv.run("user", "remove", "-config", srv.config(), "romeo@"+testDomain); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n, err := romeo.next()
	if err != nil || !strings.Contains(n.String(), "not-authorized") {
		t.Errorf("romeo got %v %v", n, err)
	}
	if err := juliet.ping(); err != nil {
		t.Errorf("juliet: %v", err)
	}
}
