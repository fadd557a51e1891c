#!/usr/bin/env bash
# The status page in a browser (tools/page): with Chromium, and with axe-core as npm's lock file names it.
set -euo pipefail
cd "$(dirname "$0")/../tools/page"
if ! cmp -s package-lock.json node_modules/.installed; then
  if command -v npm >/dev/null; then
    npm ci --no-progress
    cp package-lock.json node_modules/.installed
  else
    echo "test-page: no npm: axe-core is not installed" >&2
  fi
fi
go test -count=1 "$@" .
