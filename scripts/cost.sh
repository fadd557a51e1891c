#!/usr/bin/env bash
# What three agents cost at rest: memory, CPU, packets and bytes per second.
# COST_FOR=60s is how long it measures. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/labcost" ./internal/lab/labcost
"$dir/labcost" -hbagent bin/hbagent -for "${COST_FOR:-60s}" "$@"
