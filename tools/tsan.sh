#!/usr/bin/env bash
# Runs the unit tests under ThreadSanitizer: races between threads on what is no atomic. A minute.
#
# The standard library is built anew for it, from its sources: the one that comes with the toolchain
# is not instrumented, and what its locks and joins put in order would be reported as races.
set -euo pipefail
cd "$(dirname "$0")/.."

toolchain="${TSAN_TOOLCHAIN:-nightly}"
host=$(rustc -vV | sed -n 's/^host: //p')
libraries=$(rustc "+$toolchain" --print target-libdir --target "$host" 2>/dev/null || true)
sources=$(rustc "+$toolchain" --print sysroot 2>/dev/null || true)/lib/rustlib/src/rust/library
if ! compgen -G "$libraries/librustc*_rt.tsan.a" >/dev/null; then
    echo "tools/tsan.sh needs a nightly toolchain with its sanitizers, installed as $toolchain." >&2
    exit 1
fi
if [[ ! -d $sources ]]; then
    echo "tools/tsan.sh needs std's sources: rustup component add --toolchain $toolchain rust-src" >&2
    exit 1
fi

echo "Covers: control (ring, slots, gate, waking, releases, a small pool of threads), the heaps' lists."
echo "Does not cover: what two processes do to shared memory (see loom.sh), the order of fences."

export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=thread"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/tsan"
exec cargo "+$toolchain" test -Zbuild-std --target "$host" --lib "$@"
