package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"chatd/api"
)

const schemathesis = "python/schemathesis/bin/schemathesis"

// TestSchemathesis has requests made up from the document, right and wrong ones, and every answer compared with it.
func TestSchemathesis(t *testing.T) {
	need(t, "schemathesis", installed(schemathesis, "--version"))
	t.Parallel()
	s := newServerWithAPI(t, api.Scopes(), "sum13131", "sum112233", "sum1")
	out, err := exec.Command(schemathesis, "--config-file", "python/schemathesis.toml", "run", "http://"+s.api+"/openapi.json",
		"--header", "Authorization: Bearer "+apiToken, "--exclude-path-regex", "^/(drain|debug)",
		"--checks", "all", "--exclude-checks", "positive_data_acceptance", // names and texts have rules that a schema does not say
		"--max-examples", "5", "--max-time", "60", "--request-timeout", "20", "--seed", "1",
		"--suppress-health-check", "all", "--no-color").CombinedOutput()
	if err != nil {
		text := string(out)
		if len(text) > 20_000 {
			text = text[:10_000] + "\n...\n" + text[len(text)-10_000:]
		}
		t.Errorf("%v\n%s", err, text)
	}
	if log := s.log.String(); strings.Contains(log, "panicked") || strings.Contains(log, "api operation failed") {
		t.Error("an operation has failed")
	}
}
