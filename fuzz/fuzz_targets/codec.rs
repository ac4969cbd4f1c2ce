//! The codecs of serialized values.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wharf::fuzzing::codec(bytes));
