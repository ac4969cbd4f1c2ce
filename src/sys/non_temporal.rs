//! Copying past the caches.

/// Copies `source` into `target`, which is as long, and leaves none of it in the caches, where the
/// processor can do so. Code that is not optimised would be some 40 times slower at it than the C
/// library at a plain copy, so there it is one.
///
/// A plain store fetches the line that it writes from memory first, and pushes others out of the
/// caches: for more bytes than those hold, both are in vain.
pub(crate) fn copy_non_temporal(source: &[u8], target: &mut [u8]) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, debug_assertions))))]
    stream(source, target);
    #[cfg(not(all(target_arch = "x86_64", not(any(miri, debug_assertions)))))]
    target.copy_from_slice(source);
}

#[cfg(all(target_arch = "x86_64", not(any(miri, debug_assertions))))]
fn stream(source: &[u8], target: &mut [u8]) {
    use std::arch::x86_64::{__m128i, _mm_sfence, _mm_stream_si128};

    const LINE_BYTES: usize = 64;
    type Line = [__m128i; LINE_BYTES / size_of::<__m128i>()];

    assert_eq!(source.len(), target.len());
    // Whole lines: a part of one is written through a read of the rest.
    let before = target.as_ptr().align_offset(LINE_BYTES).min(target.len());
    let (head, target) = target.split_at_mut(before);
    let (head_source, source) = source.split_at(before);
    head.copy_from_slice(head_source);
    let (lines, lines_source) =
        (target.chunks_exact_mut(LINE_BYTES), source.chunks_exact(LINE_BYTES));
    let rest_source = lines_source.remainder();
    let mut rest = 0;
    for (line, from) in lines.zip(lines_source) {
        rest += LINE_BYTES;
        let words: &mut Line = bytemuck::from_bytes_mut(line);
        let values: Line = bytemuck::pod_read_unaligned(from);
        for (word, value) in words.iter_mut().zip(values) {
            // SAFETY: the place is borrowed for writing and aligned, as every reference is, and no
            // other thread learns of it before the fence below. Every processor of this
            // architecture has SSE2.
            unsafe { _mm_stream_si128(word, value) };
        }
    }
    // Such stores come in any order, after those of other kinds, too.
    // SAFETY: every processor of this architecture has SSE.
    unsafe { _mm_sfence() };
    target[rest..].copy_from_slice(rest_source);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_copied_wherever_it_lies_and_none_beside_it() {
        let source: Vec<u8> = (0..1000).map(|at| (at % 251) as u8 + 1).collect();
        for to in 0..70 {
            for (from, len) in [(0, 0), (0, 1), (3, 63), (1, 64), (0, 127), (5, 128), (64, 900)] {
                let mut target = vec![0; 1000];
                copy_non_temporal(&source[from..from + len], &mut target[to..to + len]);
                assert_eq!(target[to..to + len], source[from..from + len], "{to} {from} {len}");
                let beside = target[..to].iter().chain(&target[to + len..]);
                assert!(beside.into_iter().all(|byte| *byte == 0), "{to} {from} {len}");
            }
        }
    }
}
