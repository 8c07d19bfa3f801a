#!/bin/bash
# Runs every fuzz target of the module, one after the other, for the given time
# each: scripts/fuzz.sh 30s
set -eu
cd "$(dirname "$0")/.."
time=${1:-30s}
grep -rno --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | while IFS=: read -r file _ func; do
    target=${func#func }
    echo "fuzz: $target in $(dirname "$file")"
    go test "$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time" </dev/null
done
