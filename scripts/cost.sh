#!/usr/bin/env bash
# What three agents cost at rest: memory, CPU, packets and bytes per second.
# COST_FOR=60s is how long it measures. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$(mktemp -d)/labcost
trap 'rm -rf "$(dirname "$tool")"' EXIT
go build -o "$tool" ./internal/lab/labcost
"$tool" -hbagent bin/hbagent -for "${COST_FOR:-60s}" "$@"
