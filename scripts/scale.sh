#!/usr/bin/env bash
# What grows with nodes, voters and groups: cost of an agent, `hbagent status`, takeover. A quarter of an hour for all.
# SCALE_ONLY=3x3x1,100x5x1 takes some clusters (nodes x voters x groups) and only prints; without it, or with SCALE_OUT=FILE,
# the results go to docs/benchmarks/data/scale.json, and docs/scaling.md shows them. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/labscale" ./internal/lab/labscale
out=${SCALE_OUT-}
if [[ -z ${SCALE_ONLY-} && -z $out ]]; then out=docs/benchmarks/data/scale.json; fi
status=0
"$dir/labscale" -hbagent bin/hbagent -only "${SCALE_ONLY-}" -out "$out" "$@" || status=$?
if [[ $out == docs/benchmarks/data/scale.json ]]; then go run ./internal/lab/labrecord; fi
exit "$status"
