#!/usr/bin/env bash
# How long a client is without the floating address, fault by fault: hbagent alone, as bench.sh measures it.
# OUTAGE_RUNS=10 is how often a fault is made: a power cut three times as often, a service that fails and a planned
# move twice, one-way less than half. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/labbench" ./internal/lab/labbench
"$dir/labbench" -hbagent bin/hbagent -tools hbagent -settings "ttl 1s" -runs "${OUTAGE_RUNS:-10}" \
  -only power-off,kill,freeze,partition,one-way,service,switchover,restart "$@"
