#!/usr/bin/env bash
# How long a client is without the floating address, fault by fault.
# OUTAGE_RUNS=10 is how often each fault is made. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/laboutage" ./internal/lab/laboutage
"$dir/laboutage" -hbagent bin/hbagent -runs "${OUTAGE_RUNS:-10}" "$@"
