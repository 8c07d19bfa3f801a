package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"chatd/api"
)

// TestDocumentedREST runs the examples of docs/rest.md, in their order, each of which has to succeed.
func TestDocumentedREST(t *testing.T) {
	t.Parallel()
	need(t, "curl", installed("curl", "--version"))
	s := newServerWithAPI(t, api.Scopes())
	text, err := os.ReadFile("../docs/rest.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	var friends string
	for line := range strings.Lines(string(text)) {
		example, ok := strings.CutPrefix(line, "    curl ")
		if !ok {
			continue
		}
		ran++
		cmd := exec.Command("sh", "-c", "curl --silent --show-error --fail-with-body "+strings.ReplaceAll(example, "alice@localhost", "alice@"+s.domain))
		cmd.Env = append(os.Environ(), "CHATD=http://"+s.api, "AUTH=Authorization: Bearer "+apiToken, "JSON=Content-Type: application/json")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s%v: %s", line, err, out)
		}
		if strings.Contains(example, "/friends/summoner/") {
			friends = string(out)
		}
	}
	if ran < 27 {
		t.Errorf("%d examples", ran)
	}
	// What the document shows as the answer is the answer, but for the time.
	_, shown, _ := strings.Cut(string(text), "    [{")
	shown, _, _ = strings.Cut(shown, "\n")
	before, after, _ := strings.Cut(shown, "2015-06-30 10:52:26")
	if !strings.HasPrefix(friends, "[{"+before) || !strings.HasSuffix(friends, after+"\n") {
		t.Errorf("answered %s, documented [{%s", friends, shown)
	}
}
