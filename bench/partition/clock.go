package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// clockVariable is the environment's variable by which a chatd of buildSkewed has its clock wrong: so many seconds.
const clockVariable = "LAB_CLOCK_SECONDS"

// buildSkewed builds a chatd whose time.Now is wrong. Nothing in chatd is changed for it: the compiler is given another file of the standard
// library's. Only the time of day is wrong, as on a machine without NTP; intervals and timers are right.
func buildSkewed(ctx context.Context, dir string) (binary string, err error) {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	original := filepath.Join(string(bytes.TrimSpace(goroot)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	for _, change := range [][2]string{
		{"import (\n", "import (\n\t\"syscall\"\n"},
		{"func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n", skewedNow},
	} {
		if !bytes.Contains(text, []byte(change[0])) {
			return "", fmt.Errorf("%s of %s is not as expected", original, runtime.Version())
		}
		text = bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
	}
	changed, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(changed, text, 0o600); err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "chatd-skewed")
	if out, err := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", binary, "chatd/cmd/chatd").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
}

const skewedNow = `var skew = func() (seconds int64) {
	text, _ := syscall.Getenv("` + clockVariable + `")
	d, _ := ParseDuration(text + "s")
	return int64(d / Second)
}()

func Now() Time {
	sec, nsec, mono := runtimeNow()
	sec += skew
`
