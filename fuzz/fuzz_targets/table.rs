//! Operations of the parent on a control segment that is overwritten meanwhile.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wharf::fuzzing::table(bytes));
