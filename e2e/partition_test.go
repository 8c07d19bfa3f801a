package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPartition runs some of bench/partition: chatd in network namespaces, cut off from each other, killed and restarted,
// under load.
func TestPartition(t *testing.T) {
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	need(t, "root, for network namespaces,", func() error {
		if os.Geteuid() != 0 {
			return errors.New("this is another user")
		}
		return nil
	})
	need(t, "iproute2", installed("ip", "netns", "list"))
	need(t, "nftables", installed("nft", "--version"))
	need(t, "MariaDB", installed("env", "PATH="+os.Getenv("PATH")+":/usr/sbin", "mariadbd", "--version"))
	t.Parallel()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	lab := filepath.Join(t.TempDir(), "partition")
	if out, err := exec.Command("go", "build", "-o", lab, "chatd/bench/partition").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	logs := t.TempDir()
	out, err := exec.Command(lab, "-binary", path, "-groups", "2", "-rooms", "0", "-keep", logs, "-run", "^(story|kill|rolling)$").CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
		showLogs(t, logs)
	}
}

func showLogs(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s:\n%s", filepath.Base(name), text[max(0, len(text)-8000):])
	}
}
