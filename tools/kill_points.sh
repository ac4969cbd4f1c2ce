#!/usr/bin/env bash
# Kills, aborts and stops a process at every named step of every protocol, and prints the table.
#
#     tools/kill_points.sh [WORD...]
#
# Without words all rows; else those that have all of them in their step, side or action, as in
# `tools/kill_points.sh ring worker stop`. A minute or two on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null; then
    echo "tools/kill_points.sh needs cargo, which is not in PATH." >&2
    exit 1
fi

exec cargo test --release --features kill-points --test kill_points -- "$@"
