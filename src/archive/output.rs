//! Results read in place.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use rkyv::Archive;

use super::decode::{self, BadResult, Returnable};
use crate::control::INLINE_RESULT_WORDS;
use crate::memory::Lease;
use crate::sync::Arc;

/// A task's result, read where the worker wrote it.
///
/// Dereferences to the archived form, `R::Archived`. Releases its memory when it is dropped, and
/// stays valid after its worker has died and after the executor was dropped.
pub struct Output<R: Archive> {
    held: Held,
    _result: PhantomData<R::Archived>,
}

/// The bytes of a small result, aligned as a block is.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Aligned([u64; INLINE_RESULT_WORDS]);

impl Aligned {
    fn bytes(&self, len: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..len]
    }
}

/// The longest archive that is copied before it is checked and decoded.
const STABLE_BYTES_MAX: usize = 1024;

/// A copy of such an archive, aligned as a block is.
#[repr(C, align(64))]
struct Copied([u64; STABLE_BYTES_MAX / 8]);

/// Where a result's archive lies. Kept small: outcomes that nobody has asked for yet hold one each.
pub(crate) enum Body {
    /// It was small and came with the slot.
    Inline { words: [u64; INLINE_RESULT_WORDS], len: usize, attached: Vec<Arc<Lease>> },
    /// In the worker's heap; `len` bytes of the block are the archive.
    Block { lease: Arc<Lease>, len: usize },
}

impl Body {
    /// Shows the archive, aligned.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Inline { words, len, .. } => read(Aligned(*words).bytes(*len)),
            Self::Block { lease, len } => read(block_bytes(lease, *len)),
        }
    }

    /// As [`Body::read`], for who looks at the bytes more than once: the worker that wrote a block
    /// can still write into it, and what was checked has to be what is read. A short archive is
    /// copied first, which costs less than fetching its memory from the worker's core.
    pub(crate) fn read_stable<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Block { lease, len } if *len <= STABLE_BYTES_MAX => {
                let mut copy = Copied([0; STABLE_BYTES_MAX / 8]);
                let bytes = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut copy.0)[..*len];
                bytes.copy_from_slice(block_bytes(lease, *len));
                read(bytes)
            }
            _ => self.read(read),
        }
    }

    /// The blocks that the archive refers to.
    pub(crate) fn attached(&self) -> &[Arc<Lease>] {
        match self {
            Self::Inline { attached, .. } => attached,
            Self::Block { lease, .. } => lease.attached(),
        }
    }
}

/// The first `len` bytes of a block that a worker has handed over.
fn block_bytes(lease: &Lease, len: usize) -> &[u8] {
    // SAFETY: the lease checked that its place lies inside the mapping, `len` is at most its
    // length, and the worker has handed the block over.
    unsafe { std::slice::from_raw_parts(lease.address().as_ptr(), len) }
}

/// An archive that stays where it is, aligned, as long as its output.
enum Held {
    Inline { bytes: Aligned, len: usize, _attached: Vec<Arc<Lease>> },
    Block { lease: Arc<Lease>, len: usize },
}

impl<R: Returnable> Output<R> {
    /// Checks the archive, once.
    pub(crate) fn new(body: Body) -> Result<Self, BadResult> {
        body.read(|bytes| decode::check::<R>(bytes, body.attached()))?;
        let held = match body {
            Body::Inline { words, len, attached } => {
                Held::Inline { bytes: Aligned(words), len, _attached: attached }
            }
            Body::Block { lease, len } => Held::Block { lease, len },
        };
        Ok(Self { held, _result: PhantomData })
    }
}

impl<R: Archive> Deref for Output<R> {
    type Target = R::Archived;

    fn deref(&self) -> &R::Archived {
        let bytes = match &self.held {
            Held::Inline { bytes, len, .. } => bytes.bytes(*len),
            Held::Block { lease, len } => block_bytes(lease, *len),
        };
        // SAFETY: `new` checked the bytes; inline ones move with `self`, which is aligned to 64.
        unsafe { decode::view::<R>(bytes) }
    }
}

impl<R: Archive<Archived: fmt::Debug>> fmt::Debug for Output<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Output").field(&**self).finish()
    }
}
