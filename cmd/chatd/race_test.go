//go:build race

package main

// usualSchedules is how many random schedules the suite runs: fewer under the race detector, which makes all slower.
const usualSchedules = 10
