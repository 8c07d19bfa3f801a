package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"
)

const (
	busyTime  = 30 * time.Second
	downWords = "peer is down"
)

// busy runs loops that never wait beside the cluster, counts the nodes that are taken for dead, of which there should be none, and
// then kills one, which all others should notice.
func busy(ctx context.Context, o options, nodes []*node) (string, error) {
	loops := o.busy * runtime.NumCPU()
	for range loops {
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return "", err
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // killed
		}()
	}
	select {
	case <-time.After(busyTime):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	falseAlarms, breaks := 0, 0
	for _, n := range nodes {
		falseAlarms += len(n.logged(downWords))
		breaks += len(n.logged("link broke"))
	}
	victim, others := nodes[len(nodes)-1], nodes[:len(nodes)-1]
	killed := time.Now()
	victim.kill()
	var noticed []time.Duration
	for _, n := range others {
		line, err := n.await(ctx, downWords, "peer="+victim.name+" ")
		if err != nil {
			return "", err
		}
		at, err := logTime(line)
		if err != nil {
			return "", err
		}
		noticed = append(noticed, at.Sub(killed))
	}
	text := fmt.Sprintf("%d nodes beside %d busy loops on %d cores for %v: %d taken for dead, %d connections made anew; a killed one noticed by all others after %.2f to %.2f s\n",
		len(nodes), loops, runtime.NumCPU(), busyTime, falseAlarms, breaks, slices.Min(noticed).Seconds(), slices.Max(noticed).Seconds())
	if falseAlarms > 0 {
		return "", fmt.Errorf("false alarm: %s", text)
	}
	return text, nil
}

// logTime is when a line was logged.
func logTime(line string) (time.Time, error) {
	var text string
	if _, err := fmt.Sscanf(line, "time=%s", &text); err != nil {
		return time.Time{}, fmt.Errorf("%q: %w", line, err)
	}
	return time.Parse(time.RFC3339Nano, text)
}
