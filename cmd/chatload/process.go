package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what processes have used of the machine.
type usage struct {
	cpu time.Duration // user and system, of all threads, since they began
	rss int64         // resident memory, bytes
}

// clockTick is the unit of /proc/PID/stat; Linux has had no other for user space since 2.6.
const clockTick = 10 * time.Millisecond

// usageOf adds up the processes.
func usageOf(pids []int) (sum usage, err error) {
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid)
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			return sum, fmt.Errorf("-pid: %w", err)
		}
		status, err := os.ReadFile(dir + "/status")
		if err != nil {
			return sum, fmt.Errorf("-pid: %w", err)
		}
		u, err := parseUsage(stat, status)
		if err != nil {
			return sum, fmt.Errorf("%s: %w", dir, err)
		}
		sum.cpu += u.cpu
		sum.rss += u.rss
	}
	return sum, nil
}

// parseUsage reads stat and status as proc(5) describes them.
func parseUsage(stat, status []byte) (u usage, err error) {
	// The command, in parentheses, may have parentheses and spaces in it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("stat has %d fields", len(fields))
	}
	for _, f := range fields[11:13] { // utime, stime
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	_, rest, _ := strings.Cut(string(status), "\nVmRSS:")
	fields = strings.Fields(rest)
	if len(fields) < 2 || fields[1] != "kB" {
		return u, fmt.Errorf("status has no VmRSS")
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	u.rss = kb << 10
	return u, err
}
