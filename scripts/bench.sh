#!/usr/bin/env bash
# Measures hbagent beside keepalived, ucarp and pacemaker, and writes docs/benchmarks. As root it installs them from
# the distribution first; what is missing is left out, and the report says so. Some 50 minutes on two cores that have
# nothing else to do.
#
#   BENCH_RUNS=4         how often a scenario is played (a power cut three times as often, planned moves and
#                        services that fail twice; all at slow settings half as often)
#   BENCH_TOOLS=a,b      these tools alone        } what is narrowed is printed, and
#   BENCH_SETTINGS=a,b   these settings alone     } written only where BENCH_OUT
#   BENCH_ONLY=a,b       these scenarios alone    } says so
#                        (power-off, kill, ..., and batch, cost, rest, busy)
#   BENCH_OUT=DIR        for run.json and its report, instead of docs/benchmarks
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
# What cannot be installed is left out.
scripts/test-deps.sh bench || echo "bench: not all could be installed: what is missing is left out" >&2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/labbench" ./internal/lab/labbench
to=(-docs .)
if [ -n "${BENCH_OUT-}" ]; then
  to=(-out "$BENCH_OUT")
elif [ -n "${BENCH_TOOLS-}${BENCH_SETTINGS-}${BENCH_ONLY-}" ]; then
  to=()
fi
"$dir/labbench" -hbagent bin/hbagent -runs "${BENCH_RUNS:-4}" -tools "${BENCH_TOOLS-}" -settings "${BENCH_SETTINGS-}" \
  -only "${BENCH_ONLY-}" "${to[@]}" "$@"
