#!/usr/bin/env bash
# How long the command `hbagent status` takes, from its start to its end: on each
# node of three, with all well, with a peer's agent frozen, and with a peer dead.
# LATENCY_RUNS=100 is how often each. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/lablatency" ./internal/lab/lablatency
"$dir/lablatency" -hbagent bin/hbagent -runs "${LATENCY_RUNS:-100}" "$@"
