#!/usr/bin/env bash
# Random faults in a site of three machines, watched from outside. Needs no root.
#   DURATION=10m  how long new faults begin (with -steady: how long the fault lasts)
#   SEED=7        which faults; default: by the clock
# Further flags are those of labchaos: scripts/chaos.sh -nodes 5 -ttl 300ms
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/labchaos" ./internal/lab/labchaos
"$dir/labchaos" -hbagent bin/hbagent -for "${DURATION:-10m}" -seed "${SEED:-0}" "$@"
