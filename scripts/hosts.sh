#!/usr/bin/env bash
# Three machines that boot a real systemd, with a shell beside them. The
# arguments are files to have at hand there: dist/*.deb.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" -eq 0 ] || { echo "hosts: needs root" >&2; exit 1; }
scripts/test-deps.sh systemd
HBAGENT_HOSTS_BASE=$(scripts/hosts-base.sh)
export HBAGENT_HOSTS_BASE
mkdir -p bin
"${GO:-go}" build -o bin/labhosts ./internal/lab/labhosts
exec bin/labhosts "$@"
