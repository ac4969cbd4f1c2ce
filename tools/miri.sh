#!/usr/bin/env bash
# Runs the tests that need no system call but futexes under Miri, which finds undefined behaviour.
set -euo pipefail
cd "$(dirname "$0")/.."

toolchain="${MIRI_TOOLCHAIN:-nightly}"
if ! cargo "+$toolchain" miri --version >/dev/null 2>&1; then
    echo "tools/miri.sh needs Miri: rustup component add --toolchain $toolchain miri rust-src" >&2
    exit 1
fi

echo "Covers: control (ring, slots, gate, waking, releases, a small pool of threads), memory::warm,"
echo "memory::offsets, memory::crew::board. Does not cover: mappings, descriptors, processes, rkyv."

# Several schedules, and weak memory, which is on unless it is switched off.
export MIRIFLAGS="${MIRIFLAGS:--Zmiri-strict-provenance -Zmiri-many-seeds=0..4}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/miri"
exec cargo "+$toolchain" miri test --lib -- \
    control:: memory::warm:: memory::offsets:: memory::crew::board::
