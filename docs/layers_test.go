package docs

import (
	"os/exec"
	"strings"
	"testing"
)

// floors is the house of docs/architecture.md: a package imports only what is
// below its own floor. A new package is put on a floor here, or the test fails.
var floors = map[string]int{
	"chatd/xmlstream":       1,
	"chatd/stanza":          2,
	"chatd/store":           2,
	"chatd/auth":            3,
	"chatd/router":          4,
	"chatd/store/guard":     4,
	"chatd/store/memory":    4,
	"chatd/store/resident":  4,
	"chatd/store/riak":      4,
	"chatd/store/sqlstore":  4,
	"chatd/store/storecopy": 4,
	"chatd/account":         5,
	"chatd/c2s":             5,
	"chatd/cluster":         5,
	"chatd/muc":             5,
	"chatd/portable":        5,
	"chatd/roster":          5,
	"chatd/webhook":         5,
	"chatd/xep":             5,
	"chatd/api":             6,
	"chatd/bench/compare":   7,
	"chatd/cmd/chatd":       7,
	"chatd/cmd/chatload":    7,
}

// besides are packages of tests and documents, which no other package imports.
var besides = map[string]bool{"chatd": true, "chatd/bench/partition": true, "chatd/bench/mesh": true, "chatd/cluster/simnet": true, "chatd/docs": true, "chatd/e2e": true, "chatd/api/apiclient": true, "chatd/store/storetest": true,
	"chatd/store/storetest/faultproxy": true, "chatd/store/storetest/mariadb": true, "chatd/store/riak/riaktest": true}

func TestLayers(t *testing.T) {
	cmd := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		from := words[0]
		if besides[from] {
			continue
		}
		seen++
		if floors[from] == 0 {
			t.Errorf("%s has no floor", from)
			continue
		}
		for _, to := range words[1:] {
			if !strings.HasPrefix(to, "chatd/") {
				continue
			}
			if floors[to] == 0 || floors[to] >= floors[from] {
				t.Errorf("%s, floor %d, imports %s, floor %d", from, floors[from], to, floors[to])
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d packages: the list is broken", seen)
	}
}
