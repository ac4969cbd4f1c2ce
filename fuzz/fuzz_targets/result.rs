//! A result archive with its place, read as the parent reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wharf::fuzzing::result(bytes));
