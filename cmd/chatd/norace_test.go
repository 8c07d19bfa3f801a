//go:build !race

package main

const usualSchedules = 40
