#!/usr/bin/env bash
# Checks everything: what CI runs, and what you run before you send a change.
#
#     tools/ci.sh
#
# Needs a Rust toolchain with rustfmt and clippy, and a C linker. Works from any folder and in a
# fresh clone. One line a step, with its time in seconds; the first step that fails shows its output
# and ends the run.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# All features but `pointer_width_64`, which changes the format of archives in the whole build.
readonly FEATURES=postcard,ndarray,indicatif,tracing
# MiB for the examples: enough for several blocks, small enough for any machine.
readonly EXAMPLE_MIB=8
# The longest that dying processes may take to be gone.
readonly LEFT_SECONDS_MAX=30

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
logs=$target/ci
rm -rf "$logs"
mkdir -p "$logs"
# Every process that this run starts inherits the mark, however it is orphaned.
export WHARF_CI_RUN="$$-$(date +%s%N)"
export CARGO_TARGET_DIR=$target CARGO_TERM_COLOR=never
# Each program is built once, and looked at by nobody: less to write and to link.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_DEBUG=0

# step NAME COMMAND...: runs a command, prints its name and its time. Bash does not end a function
# that is called in a condition at its first error, so the functions below say `|| return`.
step() {
    local name=$1 log started=$SECONDS
    log=$logs/$(tr -c 'a-z0-9\n' - <<<"$name").log
    shift
    if "$@" >"$log" 2>&1 </dev/null; then
        printf 'ok   %4d s  %s\n' $((SECONDS - started)) "$name"
        return
    fi
    printf 'FAIL %4d s  %s\n\n' $((SECONDS - started)) "$name"
    cat "$log"
    printf '\nfailed: %s: %s\n' "$name" "$*"
    exit 1
}

# Installs a component of the toolchain where rustup can, and says how where it cannot.
component() {
    cargo "$2" --version && return
    rustup component add "$1" && cargo "$2" --version && return
    echo "cargo $2 is missing: run \`rustup component add $1\`, or install your system's package of it"
    return 1
}

toolchain() {
    command -v cargo || { echo 'cargo is missing: see https://rustup.rs'; return 1; }
    command -v cc || { echo 'a C linker is missing: install gcc or clang'; return 1; }
    rustc --version && component rustfmt fmt && component clippy clippy
}

# Cargo does not know of the programs in tests/misuse, which are no targets of this package.
format() {
    cargo fmt --check && rustfmt --edition 2024 --check tests/misuse/*.rs
}

docs() {
    RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --features "$FEATURES" "$@"
}

examples() {
    local source
    for source in examples/*.rs; do
        cargo run --release --example "$(basename "$source" .rs)" "$EXAMPLE_MIB" || return
    done
}

# Prints cargo's options for the library's tests and all test programs but those named. `kill_points`
# has a step of its own.
all_but() {
    local name source
    echo --lib
    for source in tests/*.rs; do
        name=$(basename "$source" .rs)
        [[ " kill_points $* " == *" $name "* ]] || echo "--test=$name"
    done
}

# tests OPTIONS... -- TARGETS...: runs the tests of these targets, and of the documentation.
tests() {
    local options=()
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    cargo test --no-fail-fast "${options[@]}" "${@:2}" &&
        cargo test --no-fail-fast "${options[@]}" --doc
}

# The hardest build for code that is found by its offset: one unit, nothing unwinds. Apart from the
# other builds, since every dependency is compiled anew. A panic costs a worker here, and no more:
# `failures` knows how it was built.
fat_lto() {
    local example
    for example in large_arguments failures; do
        cargo run --release --target-dir "$target/fat-lto" \
            --config 'profile.release.lto="fat"' --config 'profile.release.codegen-units=1' \
            --config 'profile.release.panic="abort"' \
            --example "$example" "$EXAMPLE_MIB" || return
    done
}

# Prints processes of this run that are still there, besides this script.
left_processes() {
    local environment pid
    for environment in /proc/[0-9]*/environ; do
        pid=${environment//[^0-9]/}
        if [[ $pid != "$$" && $pid != "$BASHPID" ]] &&
            grep -qzxF "WHARF_CI_RUN=$WHARF_CI_RUN" "$environment" 2>/dev/null; then
            echo "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
        fi
    done
}

# Prints segments that were not there before and whose owners are gone. A living owner is somebody
# else, who may be at work; were it of this run, it would be among the processes.
left_segments() {
    local segment owner
    for segment in /dev/shm/wharf-*; do
        owner=$(cut -d- -f3 <<<"${segment##*/}")
        if [[ -e $segment && ! -d /proc/$owner ]] && ! grep -qxF "$segment" "$logs/segments"; then
            echo "segment $segment"
        fi
    done
}

nothing_left() {
    local left deadline=$((SECONDS + LEFT_SECONDS_MAX))
    while left=$(left_processes; left_segments) && [[ -n $left ]]; do
        if ((SECONDS >= deadline)); then
            printf 'left behind:\n%s\n' "$left"
            return 1
        fi
        sleep 0.2
    done
}

printf '%s\n' /dev/shm/wharf-* >"$logs/segments"
step 'toolchain' toolchain
step 'dependencies' cargo fetch --locked
step 'format' format
step 'clippy' cargo clippy --all-targets -- -D warnings
step 'clippy, all features' \
    cargo clippy --all-targets --features "$FEATURES,kill-points" -- -D warnings
step 'docs' docs
step 'docs, private items too' docs --document-private-items
# Every test program runs with and without features where all is optimized, and without them where
# nothing is. What is left out would say the same again:
#   misuse, tidy  are about the sources; misuse has cargo build programs in its own way in every run
#   all but these, with features and not optimized: no feature changes what they call
mapfile -t each < <(all_but misuse tidy)
readonly changed_by_features=(--lib --test=features)
step 'tests' cargo test --no-fail-fast
step 'tests, all features' tests --features "$FEATURES" -- "${changed_by_features[@]}"
step 'tests, release' tests --release -- "${each[@]}"
step 'tests, release, all features' tests --release --features "$FEATURES" -- "${each[@]}"
step 'tests, kill points' tools/kill_points.sh
step 'benches, as tests' cargo test --no-fail-fast --release --benches
step 'examples' examples
step 'examples, fat LTO and panic=abort' fat_lto
step 'nothing is left behind' nothing_left
# A failed step has ended the run already. Test programs that a test starts are filtered, and not
# counted again.
passed=$(awk '/^test result: ok/ && / 0 filtered out/ { sum += $4 } END { print sum + 0 }' \
    "$logs"/*tests*.log)
echo "all is well after $SECONDS s, of all steps together:"
echo "$passed passed, 0 failed"
