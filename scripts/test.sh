#!/usr/bin/env bash
# Every test. As root nothing may be skipped: a skip is a failure there.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
race=
if [ "$(go env CGO_ENABLED)" = 1 ] && command -v gcc >/dev/null; then race=-race; fi
if [ "$(id -u)" -eq 0 ]; then
  export HBAGENT_TEST_NO_SKIP=1
else
  echo "test: not root: tests that need root, or services that are not installed, are skipped and say so" >&2
fi
# The end-to-end tests measure what a client sees: alone on the machine.
# What talks to the kernel waits for real time, and has the machine to itself, too.
mapfile -t fast < <(go list ./... | grep -v -e /internal/e2e -e /internal/sim -e /internal/lab -e /internal/systemdtest -e /pkg/vip)
# What boots whole machines is test-systemd.sh.
mapfile -t labs < <(go list ./internal/lab/... | grep -v /internal/lab/booted)
go test $race "${fast[@]}"
go test $race -p 1 ./pkg/vip "${labs[@]}"
# The simulator runs on one goroutine: the race detector would find nothing there, and cost it ten times as long. The
# other core does what needs no quiet machine.
go test ./internal/sim &
sim=$!
trap 'kill $sim 2>/dev/null || true' EXIT
scripts/test-page.sh
scripts/model.sh short
scripts/test-install.sh
if [ "$(id -u)" -eq 0 ] && command -v dpkg-deb >/dev/null; then
  scripts/test-packages.sh
else
  echo "test: the packages are not tested: that needs root and dpkg" >&2
fi
wait $sim
trap - EXIT
# Two sites at a time: they wait more than they work, and share nothing.
go test -count=1 -timeout 20m -p 2 ./internal/e2e/...
