#!/usr/bin/env bash
# Every test. As root nothing may be skipped: a skip is a failure there.
#
# Most tests wait more than they compute. What computes (the simulator, the model, the packages, the builds of what
# comes later) so runs beside them, and gives way (nice). What fails by noise gets a second chance, alone, at the end
# (internal/retest).
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

dir=$(mktemp -d)
beside=()
cleanup() {
  for pid in "${beside[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# apart NAME COMMAND...: runs it beside all else, in a process group of its own. What it says is kept for joined.
apart() {
  local name=$1
  shift
  set -m
  "$@" >"$dir/$name.log" 2>&1 </dev/null &
  set +m
  beside+=($!)
  declare -g "pid_$name=$!"
}

# joined NAME: waits for it, and shows what it said.
joined() {
  local pid=pid_$1 status=0
  wait "${!pid}" || status=$?
  cat "$dir/$1.log"
  [ "$status" -eq 0 ] || { echo "test: $1 failed" >&2; exit 1; }
}

retest() {
  local code=0
  "$dir/retest" run "$dir" -vet=off "$@" || code=$? # make check does it
  echo "test: $SECONDS s"
  return $code
}

computes() {
  set -e
  if [ "$(id -u)" -eq 0 ] && command -v dpkg-deb >/dev/null; then
    scripts/test-packages.sh
  else
    echo "test: the packages are not tested: that needs root and dpkg" >&2
  fi
  # The simulator runs on one goroutine: the race detector would find nothing there, and cost it ten times as long.
  go test -vet=off -timeout 20m ./internal/sim
  scripts/model.sh short
  # Built for what comes later.
  go test -vet=off -run '^$' ./internal/e2e/... >/dev/null
  go test -C tools/page -run '^$' . >/dev/null
}

go build -o "$dir/retest" ./internal/retest
export -f computes
apart computing nice "$BASH" -c computes

# What talks to the kernel, or to a real database, waits for real time: not beside all the others. What boots whole
# machines is test-systemd.sh.
mapfile -t fast < <(go list ./... | grep -v -e /internal/e2e -e /internal/sim -e /internal/lab -e /internal/systemdtest -e /internal/role/mysql -e /pkg/vip)
mapfile -t labs < <(go list ./internal/lab/... | grep -v /internal/lab/booted)
retest $race -- "${fast[@]}"
retest $race -p 2 -- ./pkg/vip ./internal/role/mysql "${labs[@]}"
joined computing
apart page scripts/test-page.sh
scripts/test-install.sh
joined page
# The end-to-end tests measure what a client sees. Three sites at a time: they wait more than they work, and share
# nothing.
retest -count=1 -timeout 20m -p 3 -- ./internal/e2e/...
"$dir/retest" again "$dir"
