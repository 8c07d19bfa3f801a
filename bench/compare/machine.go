package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// A machine is where the figures come from, who are worth nothing without it.
type machine struct {
	Processor   string `json:"processor"`
	Processors  int    `json:"processors"`
	MemoryGB    int    `json:"memory_gb"`
	System      string `json:"system"`
	Kernel      string `json:"kernel"`
	Go          string `json:"go"`
	Commit      string `json:"commit"`
	LoadAtStart string `json:"load_at_start"`
	LoadAtEnd   string `json:"load_at_end"`
}

func thisMachine() (machine, error) {
	m := machine{Processors: runtime.NumCPU(), Go: runtime.Version(), LoadAtStart: loadAverage(), Commit: commit()}
	var kb int
	for _, f := range []struct {
		path, begin string
		take        func(string) error
	}{
		{"/proc/cpuinfo", "model name", func(s string) error { m.Processor = strings.Trim(s, ": \t"); return nil }},
		{"/proc/meminfo", "MemTotal:", func(s string) error { _, err := fmt.Sscan(s, &kb); return err }},
		{"/etc/os-release", "PRETTY_NAME=", func(s string) error { m.System = strings.Trim(s, `"`); return nil }},
		{"/proc/sys/kernel/osrelease", "", func(s string) error { m.Kernel = s; return nil }},
	} {
		text, err := os.ReadFile(f.path)
		if err != nil {
			return m, err
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), f.begin); ok {
				if err := f.take(rest); err != nil {
					return m, fmt.Errorf("%s: %w", f.path, err)
				}
				break
			}
		}
	}
	m.MemoryGB = (kb + 1<<19) >> 20
	return m, nil
}

// loadAverage is of the last minute, five and fifteen: a quiet machine begins near 0.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// Busy reports whether somebody else was using the machine when it began.
func (m machine) Busy() bool {
	var last float64
	_, err := fmt.Sscan(m.LoadAtStart, &last)
	return err != nil || last >= 1
}

// commit is chatd's; empty outside of its repository.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
