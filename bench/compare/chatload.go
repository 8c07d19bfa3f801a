package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A report is what is used here of what chatload prints with -json.
type report struct {
	OK       bool          `json:"ok"`
	Messages messageReport `json:"messages"`
	Login    struct {
		OK        int     `json:"ok"`
		PerSecond float64 `json:"per_second"`
	} `json:"login"`
	Offline struct {
		StoredPerSecond  float64 `json:"stored_per_second"`
		FetchedPerSecond float64 `json:"fetched_per_second"`
	} `json:"offline"`
	Server struct {
		CPUPerMessage    float64 `json:"cpu_us_per_message"`
		CPUPerStored     float64 `json:"cpu_us_per_stored"`
		CPUPerFetched    float64 `json:"cpu_us_per_fetched"`
		CPUPerLogin      float64 `json:"cpu_us_per_login"`
		MemoryPerSession float64 `json:"memory_bytes_per_session"`
	} `json:"server"`
	Disconnected uint64         `json:"disconnected"`
	Failures     map[string]int `json:"failures"`
	Relay        *report        `json:"relay"`
}

type messageReport struct {
	Sent       uint64  `json:"sent"`
	Delivered  uint64  `json:"delivered"`
	Lost       uint64  `json:"lost"`
	Duplicated uint64  `json:"duplicated"`
	Reordered  uint64  `json:"reordered"`
	Bounced    uint64  `json:"bounced"`
	Unsent     uint64  `json:"unsent"`
	Measured   uint64  `json:"measured"`
	PerSecond  float64 `json:"per_second"`
	Latency    struct {
		P50  float64 `json:"p50"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p99_9"`
	} `json:"latency_ms"`
}

// load runs chatload against an instance. A report that is not good comes without an error; an error means
// that there is none.
func (b *bench) load(ctx context.Context, i *instance, args ...string) (*report, error) {
	addr, tls := i.addr(i.Plain), "off"
	if slices.Contains(args, overTLS) {
		addr, tls = i.addr(i.TLS), "direct"
		args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == overTLS })
	}
	args = append(args, "-addr", addr, "-tls", tls, "-insecure", "-domain", domain, "-mech", "SCRAM-SHA-256",
		"-pid", strconv.Itoa(i.cmd.Process.Pid), "-json")
	cmd := exec.CommandContext(ctx, b.chatload, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if err != nil && stdout.Len() == 0 {
		return nil, errors.New(strings.TrimPrefix(strings.TrimSpace(stderr.String()), "chatload: "))
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("what chatload printed: %w", err)
	}
	return &r, nil
}

// summary is a run in a few words.
func (r *report) summary(err error) string {
	switch {
	case err != nil:
		return err.Error()
	case !r.OK:
		return fmt.Sprintf("NOT GOOD: %+v, %d disconnected, %v", r.Messages, r.Disconnected, r.Failures)
	case r.Messages.Sent == 0:
		return fmt.Sprintf("%d logins, %.0f/s", r.Login.OK, r.Login.PerSecond)
	}
	return fmt.Sprintf("%.0f/s, %.2f us each, p99 %.2f ms", r.Messages.PerSecond, r.Server.CPUPerMessage, r.Messages.Latency.P99)
}
