//! Messages of the handshake, parsed as either side does.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wharf::fuzzing::message(bytes));
