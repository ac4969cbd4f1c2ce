#!/usr/bin/env bash
# Model-checks the protocols of src/control with loom. Some minutes on one core.
#
# LOOM_MAX_PREEMPTIONS overrides the bounds in the models; a name as argument runs the models that match.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null; then
    echo "tools/loom.sh needs cargo, which is not in PATH." >&2
    exit 1
fi

echo "Covers: the ring, the slot's states, waiting for a task, the gate, the bell, releases, sleeping"
echo "and waking of workers, batches, and a worker that dies before each of its accesses."
echo "Does not cover: system calls, the desk's locks, the heaps."

export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
exec cargo test --release --lib "loom_tests::${1:-}" -- --nocapture --test-threads=1
