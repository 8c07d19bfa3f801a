package cluster

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
)

// fewer is a quarter of n under the race detector, which makes all slower.
func fewer(n int) int {
	if raceDetector {
		return n / 4
	}
	return n
}

var (
	schedules = flag.Int("schedules", fewer(200), "random schedules that TestSchedules runs")
	firstSeed = flag.Uint64("seed", 1, "the first schedule's seed; each has the next")
)

// TestSchedules runs random schedules of sessions, partitions, crashes and damage, each by its seed: see schedule.
// More of them: go test ./cluster -run TestSchedules -schedules 10000 -timeout 2h
func TestSchedules(t *testing.T) {
	happened := map[string]uint64{}
	for seed := *firstSeed; seed < *firstSeed+uint64(*schedules); seed++ {
		ok := t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSchedule(t, seed)
				s.run()
				for what, n := range s.happened {
					happened[what] += n
				}
			})
		})
		if !ok {
			return
		}
	}
	t.Log(happened)
	for _, what := range []string{"deltas", "snapshots", "gaps", "drift", "repaired", "duplicates", "kills", "fenced"} {
		if *schedules >= 50 && happened[what] == 0 {
			t.Errorf("no %s in %d schedules", what, *schedules)
		}
	}
	if happened["malformed"] > 0 && happened["gaps"] == 0 {
		t.Error("frames that cannot be used, without a loss")
	}
}
