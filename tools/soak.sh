#!/usr/bin/env bash
# Kills workers and parents at random while tasks of all kinds run, and counts what goes wrong.
#
#     tools/soak.sh [KILLS] [TASKS] [PARENTS] [SEED]
#
# Without arguments: 10,000 workers killed among 10,000,000 tasks, then 1,000 parents; some minutes
# on two cores. A run that fails, or in which nothing happens for a minute, prints its seed.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null; then
    echo "tools/soak.sh needs cargo, which is not in PATH." >&2
    exit 1
fi

exec cargo test --release --test soak -- \
    "${1:-10000}" "${2:-10000000}" "${3:-1000}" "${4:-$(od -An -N6 -tu8 /dev/urandom | tr -d ' ')}"
