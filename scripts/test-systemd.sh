#!/usr/bin/env bash
# The packages on three machines that boot a real systemd (internal/systemdtest),
# and the driver of such machines (internal/lab/booted). RUN names the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
go=${GO:-go}

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "test-systemd: NOT RUN: it needs root, and a Debian or Ubuntu to boot from" >&2
  exit 0
fi
scripts/test-deps.sh systemd
HBAGENT_HOSTS_BASE=$(scripts/hosts-base.sh)

out=$PWD/bin/systemd
rm -rf "$out"
for version in 1.0.0 1.1.0; do make -s packages VERSION=v$version DIST="$out/$version" >/dev/null; done

export HBAGENT_HOSTS_BASE HBAGENT_TEST_NO_SKIP=1
HBAGENT_TEST_DEB=$(echo "$out"/1.0.0/*.deb) HBAGENT_TEST_NEWER=$(echo "$out"/1.1.0/*.deb)
export HBAGENT_TEST_DEB HBAGENT_TEST_NEWER
# Programs of their own, and not `go test`: a signal then reaches them, and they
# leave nothing behind.
"$go" test -c -o "$out/booted.test" ./internal/lab/booted
"$go" test -c -o "$out/systemd.test" ./internal/systemdtest
(cd internal/lab/booted && "$out/booted.test" -test.timeout 3m ${RUN:+-test.run "$RUN"})
cd internal/systemdtest
exec "$out/systemd.test" -test.v -test.timeout 10m ${RUN:+-test.run "$RUN"}
