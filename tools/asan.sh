#!/usr/bin/env bash
# Runs the tests under AddressSanitizer and LeakSanitizer: reads and writes outside of memory that is
# ours, in both halves of the program, and memory that nobody frees. Some minutes.
#
# A name as argument runs the tests that match.
set -euo pipefail
cd "$(dirname "$0")/.."

toolchain="${ASAN_TOOLCHAIN:-nightly}"
host=$(rustc -vV | sed -n 's/^host: //p')
libraries=$(rustc "+$toolchain" --print target-libdir --target "$host" 2>/dev/null || true)
if ! compgen -G "$libraries/librustc*_rt.asan.a" >/dev/null; then
    echo "tools/asan.sh needs a nightly toolchain with its sanitizers, installed as $toolchain." >&2
    exit 1
fi

echo "Covers: the library's unit tests, and tests in which tasks run, fail and are cut short: both the"
echo "parent and its workers are instrumented. Does not cover: the standard library, races (see tsan.sh)."

# A stack overflow has to be the signal that it is without a sanitizer.
export ASAN_OPTIONS="${ASAN_OPTIONS:-handle_segv=0}"
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan"
# Of the tests that are left out, one leaks on purpose, and the sanitizer says so; the other counts
# page faults, and the sanitizer's own memory has some.
exec cargo "+$toolchain" test --target "$host" --no-fail-fast --lib --test executor --test memory \
    --test crash --test limits --test regressions --test orphans --test hostile \
    --test loops --test map --test conformance -- \
    --skip a_worker_that_has_grown_too_large_is_replaced \
    --skip the_pages_of_new_memory_are_found_at_once "$@"
