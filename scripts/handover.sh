#!/usr/bin/env bash
# What planned moves cost a site under load: the load alone, then with
# HANDOVER_MOVES=20 moves in HANDOVER_FOR=60s by hbagent, and by keepalived
# where that is installed. Needs Apache with PHP, and no root.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/labhandover" ./internal/lab/labhandover
run() { "$dir/labhandover" -hbagent bin/hbagent -for "${HANDOVER_FOR:-60s}" "$@"; }
run -moves 0
run -moves "${HANDOVER_MOVES:-20}"
if ! command -v keepalived >/dev/null; then
  echo "handover: keepalived is not installed (package keepalived): not compared" >&2
  exit 0
fi
# It breaks connections; that is what is to be seen.
run -with keepalived-fault -moves "${HANDOVER_MOVES:-20}" || true
run -with keepalived-priority -moves "${HANDOVER_MOVES:-20}" || true
run -with keepalived-stop -moves "${HANDOVER_MOVES:-20}" || true
