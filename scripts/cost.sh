#!/usr/bin/env bash
# What three agents cost at rest, with 1 and with 100 groups: memory, CPU, packets and bytes per second, as bench.sh
# measures it. COST_FOR=60s is how long it measures. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/labbench" ./internal/lab/labbench
"$dir/labbench" -hbagent bin/hbagent -tools hbagent -settings "ttl 1s" -only cost -cost "${COST_FOR:-60s}" "$@"
