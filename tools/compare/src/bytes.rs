//! Numbers as bytes and back, for systems whose arrays are bytes.

/// The bytes of these numbers.
pub fn as_bytes(numbers: &[f64]) -> &[u8] {
    let len = size_of_val(numbers);
    // SAFETY: a number has no padding, and any byte is a `u8`.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), len) }
}

/// The numbers that lie in these bytes, which start where a number may.
pub fn as_floats(bytes: &[u8]) -> &[f64] {
    // SAFETY: eight bytes of any value are a number; `align_to` keeps to alignment and length.
    let (before, numbers, after) = unsafe { bytes.align_to::<f64>() };
    assert!(before.is_empty() && after.is_empty(), "whole numbers, aligned");
    numbers
}

/// The same, to be written.
pub fn as_floats_mut(bytes: &mut [u8]) -> &mut [f64] {
    // SAFETY: as in `as_floats`, and any number may be stored as bytes.
    let (before, numbers, after) = unsafe { bytes.align_to_mut::<f64>() };
    assert!(before.is_empty() && after.is_empty(), "whole numbers, aligned");
    numbers
}
