#!/usr/bin/env bash
# Fuzzes what the parent reads of workers: result archives, the control segment, messages, codecs.
#
# Each target runs for the seconds given (60 by default), from the corpus in fuzz/corpus, which stays
# as it is: what is found on the way lies in fuzz/target. A finding ends the run, with exit code 1.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds="${1:-60}"
toolchain="${FUZZ_TOOLCHAIN:-nightly}"
if ! cargo "+$toolchain" --version >/dev/null 2>&1; then
    echo "tools/fuzz.sh needs a nightly toolchain: rustup toolchain install $toolchain" >&2
    exit 1
fi
if ! cargo "+$toolchain" fuzz --version >/dev/null 2>&1; then
    echo "tools/fuzz.sh needs cargo-fuzz: cargo install cargo-fuzz" >&2
    exit 1
fi

status=0
for target in result table message codec; do
    found="fuzz/target/found/$target"
    mkdir -p "$found"
    echo "== $target, $seconds s"
    cargo "+$toolchain" fuzz run --release "$target" "$found" "fuzz/corpus/$target" -- \
        "-max_total_time=$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=8192 -print_final_stats=1 ||
        status=1
done
exit "$status"
