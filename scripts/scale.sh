#!/usr/bin/env bash
# What grows with nodes, voters and groups: cost of an agent, `hbagent status`, takeover. Up to half an hour for all.
# The results go to docs/benchmarks/data/scale.json, and docs/scaling.md shows them. SCALE_ONLY=3x3x1,100x5x1 takes some
# clusters (nodes x voters x groups) and only prints. SCALE_OUT=FILE writes the results to FILE instead, of all or of some.
# A run that is interrupted leaves what it has in scale.json.partial (FILE.partial). Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/labscale" ./internal/lab/labscale
out=${SCALE_OUT-}
if [[ -z ${SCALE_ONLY-} && -z $out ]]; then out=docs/benchmarks/data/scale.json; fi
dirty=false # what the docs say of earlier runs makes no other program
if [[ -n $(git status --porcelain --untracked-files=no -- . ':!docs' ':!*.md') ]]; then dirty=true; fi
status=0
"$dir/labscale" -hbagent bin/hbagent -only "${SCALE_ONLY-}" -out "$out" -dirty="$dirty" "$@" || status=$?
if [[ $out == docs/benchmarks/data/scale.json ]]; then go run ./internal/lab/labrecord; fi
exit "$status"
