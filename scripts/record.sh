#!/usr/bin/env bash
# Runs what docs/measurements.md shows, one after the other, and keeps what each printed in docs/benchmarks/data, with
# date, commit, machine and load; then the docs are brought up to date. NAMES says which, and in which order. Run it on
# a quiet machine; all of them take some forty minutes, chaos ten of these. systemd needs root on a Debian or Ubuntu.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$go" build -o "$dir/labrecord" ./internal/lab/labrecord
export MAKEFLAGS=s # make shows what it runs otherwise

# record NAME COMMAND...: the command stands in the docs as it is given here.
record() { "$dir/labrecord" -name "$1" -- "${@:2}"; }
tests() { "$dir/labrecord" -go-test -name "$1" -- "${@:2}"; }

all="latency economy gate throughput forwarding handover stage3 database from-keepalived simulator systemd chaos"
for name in ${NAMES:-}; do # before any of them has taken its minutes
  case " $all gobench " in *" $name "*) ;; *) echo "record: there is no $name; NAMES takes of: $all gobench" >&2 && exit 2 ;; esac
done
for name in ${NAMES:-$all}; do
  echo "record: $name" >&2
  case $name in
    economy | latency | handover) record "$name" make "$name" ;;
    gate) tests gate go test -run XXX -bench Gate -skip Throughput ./pkg/vip ;;
    gobench) record gobench make gobench-run ;;
    throughput) tests throughput go test -run XXX -bench GateThroughput -benchtime 20x ./pkg/vip ;;
    forwarding) tests forwarding go test -run XXX -bench Forwarded -count 3 ./pkg/vip ;;
    database | stage3) tests "$name" make "$name" ;;
    from-keepalived) tests from-keepalived go test -count 5 -v -run TestFromKeepalived ./internal/e2e ;;
    simulator) tests simulator make sim SECONDS=1000000 ;;
    systemd) tests systemd make test-systemd RUN="TestLife|TestTemplates" ;;
    chaos) record chaos make chaos DURATION=10m SEED=3000 ;;
  esac
done
