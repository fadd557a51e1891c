#!/usr/bin/env bash
# The model of the lease (docs/model): every configuration exhaustively, and
# that the model can fail. Without an argument all of it, 15 minutes or more; "short"
# is the part for `make test`; "large" is a search that is not exhaustive.
set -euo pipefail
cd "$(dirname "$0")/.."
model=$PWD/docs/model/lease.pml

missing=()
for cmd in spin gcc; do command -v $cmd >/dev/null || missing+=("$cmd"); done
if [ ${#missing[@]} -gt 0 ]; then
  echo "model: not installed: ${missing[*]}; as root 'make test-deps' installs it (Debian packages spin and gcc)" >&2
  if [ "${1-}" = short ] && [ -z "${HBAGENT_TEST_NO_SKIP-}" ]; then
    echo "model: skipped" >&2
    exit 0
  fi
  exit 1
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# search [-D...]: builds the verifier and runs it; what it says is in out.
# HASH is the logarithm of the hash table's slots, MEGABYTES the limit of memory.
search() {
  spin -a "$@" "$model" >spin.out 2>&1 || { cat spin.out >&2; return 1; }
  gcc ${OPTIMISE--O2} -w -DSAFETY -DNOREDUCE -DMEMLIM="${MEGABYTES:-6000}" ${PAN_FLAGS-} -o pan pan.c
  nice ./pan -E -m100000 -w"${HASH:-22}" ${PAN_ARGS-} >out 2>&1 || true
}

figure() { sed -nE "s/$1/\1/p" out | head -1; }

tell() {
  printf '%-12s %-60s %10s states %7s s %6.0f MB  %s\n' "$1" "$2" "$(figure '^ *([0-9.e+]+) states, stored.*')" \
    "$(figure '.*elapsed time ([0-9.e+]+) seconds.*')" "$(figure '^ *([0-9.]+)\ttotal actual memory usage.*')" "$3"
}

# holds NAME [-D...]: no assertion fails, in any state.
holds() {
  local name=$1
  shift
  search "$@"
  if ! grep -q 'errors: 0$' out || grep -qE 'max search depth too small|out of memory|Search not completed' out; then
    cat out >&2
    [ -e lease.pml.trail ] && spin -t -k lease.pml.trail "$@" "$model" >&2
    echo "model: $name does not hold: $*" >&2
    exit 1
  fi
  tell "$name" "$*" 'holds'
}

# finds NAME TEXT [-D...]: an assertion with TEXT in it fails.
finds() {
  local name=$1 text=$2
  shift 2
  rm -f lease.pml.trail
  # Most are found at once: building the verifier takes longer than running it.
  OPTIMISE=${OPTIMISE--O0} search "$@"
  if ! grep -F 'assertion violated' out | grep -qF "$text"; then
    cat out >&2
    echo "model: $name is not found: $*" >&2
    exit 1
  fi
  tell "$name" "$*" 'found'
}

# What each assertion looks like to spin.
two_gates='!(((gate[0]>0)&&(gate[1]>0)))'
outlives='quarantine[0]>='
shut_first='record['
epochs='>established'

short() {
  HASH=22 MEGABYTES=1000
  holds plain -DSLOTS=1 -DMAXEPOCH=2 -DDRIFT
  holds transfer -DSLOTS=1 -DMAXEPOCH=2 -DTRANSFERS=1
  finds margin "$outlives" -DSLOTS=1 -DDRIFT -DMARGIN=0
  finds quarantine "$outlives" -DSLOTS=1 -DBOOTS=1 -DBUG_NO_QUARANTINE
  finds shut "$shut_first" -DSLOTS=1 -DBUG_SHUT_LATE
}

bugs() {
  HASH=24
  echo "-- mistakes, each of which must be found"
  finds quorum "$two_gates" -DSLOTS=1 -DQUORUM=1 -DONLY_TWO_GATES
  finds margin "$outlives" -DSLOTS=1 -DDRIFT -DMARGIN=0
  finds margin "$two_gates" -DSLOTS=1 -DDRIFT -DMARGIN=0 -DONLY_TWO_GATES
  finds quarantine "$outlives" -DSLOTS=1 -DBOOTS=1 -DBUG_NO_QUARANTINE
  finds quarantine "$two_gates" -DSLOTS=1 -DBOOTS=1 -DBUG_NO_QUARANTINE -DONLY_TWO_GATES
  finds reply "$outlives" -DSLOTS=1 -DBUG_FROM_REPLY
  finds reply "$two_gates" -DSLOTS=1 -DBUG_FROM_REPLY -DONLY_TWO_GATES
  finds shut "$shut_first" -DSLOTS=1 -DBUG_SHUT_LATE
  finds shut "$two_gates" -DSLOTS=1 -DBUG_SHUT_LATE -DONLY_TWO_GATES
  finds ticket '' -DSLOTS=1 -DTRANSFERS=1 -DBUG_TICKET_TWICE
  finds ticket "$two_gates" -DSLOTS=1 -DTRANSFERS=1 -DBUG_TICKET_TWICE -DONLY_TWO_GATES
  finds higher "$outlives" -DSLOTS=1 -DBUG_HIGHER
  finds higher "$two_gates" -DSLOTS=1 -DBUG_HIGHER -DONLY_TWO_GATES
  holds sequenced -DSLOTS=2 -DMAXEPOCH=2 -DTRANSFERS=1 -DFORGET_AFTER # ... what the next two break
  finds sequence "$outlives" -DSLOTS=2 -DMAXEPOCH=2 -DTRANSFERS=1 -DFORGET_AFTER -DBUG_SEQUENCE
  finds counter "$outlives" -DSLOTS=2 -DMAXEPOCH=2 -DTRANSFERS=1 -DFORGET_AFTER -DBUG_COUNTER
  finds record "$outlives" -DSLOTS=1 -DRESTARTS=1 -DBUG_RECORD_LOST
  finds ranout "$outlives" -DSLOTS=1 -DRESTARTS=1 -DBUG_RAN_OUT
  finds gate "$two_gates" -DSLOTS=1 -DBUG_GATE_WAITS
  OPTIMISE=-O2 finds latevalid "$epochs" -DSLOTS=1 -DMAXEPOCH=2 -DPAUSES=1 -DBUG_LATE_VALID
}

reached() {
  HASH=22
  echo "-- what the model must be able to do, or it would be safe by doing nothing"
  finds takeover '(1==0)' -DSLOTS=1 -DREACH_TAKEOVER
  finds below 'renewal||' -DSLOTS=1 -DREACH_BELOW
  finds confirmed 'phase[' -DSLOTS=1 -DPAUSES=1 -DREACH_CONFIRM
  finds resumed 'phase[' -DSLOTS=1 -DRESTARTS=1 -DREACH_CONFIRM
  finds byticket 'ticket[' -DSLOTS=1 -DTRANSFERS=1 -DREACH_TICKET
}

exhaustive() {
  HASH=25
  echo "-- every state of each configuration"
  holds plain -DSLOTS=1 -DMAXEPOCH=3
  holds drift -DSLOTS=1 -DMAXEPOCH=3 -DDRIFT
  holds reorder -DSLOTS=2 -DMAXEPOCH=2
  holds paused -DSLOTS=1 -DMAXEPOCH=3 -DPAUSES=1
  holds restart -DSLOTS=1 -DMAXEPOCH=2 -DRESTARTS=1
  holds restarts -DSLOTS=1 -DMAXEPOCH=1 -DRESTARTS=2
  holds boot -DSLOTS=1 -DMAXEPOCH=2 -DBOOTS=1
  holds transfer -DSLOTS=1 -DMAXEPOCH=2 -DTRANSFERS=1 -DDRIFT
  holds handrestart -DSLOTS=1 -DMAXEPOCH=2 -DTRANSFERS=1 -DRESTARTS=1
  holds handboot -DSLOTS=1 -DMAXEPOCH=2 -DTRANSFERS=1 -DBOOTS=1
}

# What the protocol does not keep (README.md): each is expected until pkg/lease
# is changed, and then belongs to what holds.
known() {
  HASH=24
  echo "-- known: what pkg/lease does not keep"
  OPTIMISE=-O2 finds oldrelease "$outlives" -DSLOTS=2 -DMAXEPOCH=2 -DTRANSFERS=1 -DRESTARTS=1 -DFORGET_AFTER
  holds refused -DSLOTS=2 -DMAXEPOCH=2 -DTRANSFERS=1 -DRESTARTS=1 -DFORGET_AFTER -DFIX_ASKED
  OPTIMISE=-O2 finds resumed "$epochs" -DSLOTS=1 -DMAXEPOCH=2 -DRESTARTS=1 -DBOOTS=1 -DLOST_AFTER=2
}

# Not exhaustive: states are told apart by bits of a table, so some are missed,
# and the search ends after some minutes.
large() {
  echo "-- a larger configuration, NOT exhaustive (bitstate, ${MINUTES:-5} minutes)"
  PAN_FLAGS=-DBITSTATE PAN_ARGS=-Q${MINUTES:-5} HASH=33 search -DSLOTS=2 -DMAXEPOCH=4 -DTRANSFERS=2 -DRESTARTS=1 -DBOOTS=1 -DPAUSES=1 -DDRIFT -DEXCUSE_BOOTS
  grep -q 'errors: 0$' out || { cat out >&2; exit 1; }
  grep -E 'states, stored|errors:' out
}

case ${1-all} in
  short) short ;;
  all)
    bugs
    reached
    known
    exhaustive
    ;;
  bugs) bugs ;;
  reached) reached ;;
  known) known ;;
  exhaustive) exhaustive ;;
  large) large ;;
  *)
    echo "usage: scripts/model.sh [short|all|bugs|reached|known|exhaustive|large]" >&2
    exit 2
    ;;
esac
