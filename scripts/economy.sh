#!/usr/bin/env bash
# What of an agent's cost at rest Go's runtime takes by itself: `make cost` with two processors and timers as the kernel
# has them, and then as the unit and the agent have it. COST_FOR=60s is how long each is measured. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "Two processors, timers up to 50 µs late:"
GOMAXPROCS=2 scripts/cost.sh -timer-slack 50us
echo
echo "One processor, timers up to 1 ms late:"
scripts/cost.sh
