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
    fn word(word: u64) -> Self {
        let mut words = [0; INLINE_RESULT_WORDS];
        words[0] = word;
        Self(words)
    }

    fn bytes(&self, len: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..len]
    }
}

/// The longest archive that is copied before it is checked and decoded.
const STABLE_BYTES_MAX: usize = 1024;

/// A copy of such an archive, aligned as a block is.
#[repr(C, align(64))]
struct Copied([u64; STABLE_BYTES_MAX / 8]);

/// Where a result's archive lies. Kept small: it goes through many hands on the way to the user.
pub(crate) enum Body {
    /// Up to eight bytes, which came with the slot.
    Word { word: u64, len: u8 },
    /// It came with the slot, too.
    Inline(Box<Inline>),
    /// In the worker's heap.
    Block(Box<Block>),
}

/// A block whose first `len` bytes are an archive.
pub(crate) struct Block {
    pub(crate) lease: Arc<Lease>,
    pub(crate) len: usize,
}

/// An archive that came with its slot, and the blocks that it refers to.
pub(crate) struct Inline {
    words: [u64; INLINE_RESULT_WORDS],
    len: usize,
    attached: Vec<Arc<Lease>>,
}

impl Body {
    /// An archive of so many bytes that came with the slot.
    #[inline]
    pub(crate) fn inline(
        words: &[u64; INLINE_RESULT_WORDS],
        len: usize,
        attached: Vec<Arc<Lease>>,
    ) -> Self {
        if len <= size_of::<u64>() && attached.is_empty() {
            Self::Word { word: words[0], len: len as u8 }
        } else {
            Self::Inline(Box::new(Inline { words: *words, len, attached }))
        }
    }

    /// An archive in a worker's heap, `len` bytes long.
    pub(crate) fn block(lease: Arc<Lease>, len: usize) -> Self {
        Self::Block(Box::new(Block { lease, len }))
    }

    /// Shows the archive, aligned.
    #[inline]
    pub(crate) fn read<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Word { word, len } => read(Aligned::word(*word).bytes(usize::from(*len))),
            Self::Inline(inline) => read(Aligned(inline.words).bytes(inline.len)),
            Self::Block(block) => read(block.bytes()),
        }
    }

    /// As [`Body::read`], for who looks at the bytes more than once: the worker that wrote a block
    /// can still write into it, and what was checked has to be what is read. A short archive is
    /// copied first, which costs less than fetching its memory from the worker's core.
    #[inline]
    pub(crate) fn read_stable<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Block(block) if block.len <= STABLE_BYTES_MAX => {
                let mut copy = Copied([0; STABLE_BYTES_MAX / 8]);
                let bytes = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut copy.0)[..block.len];
                bytes.copy_from_slice(block.bytes());
                read(bytes)
            }
            _ => self.read(read),
        }
    }

    /// The blocks that the archive refers to.
    pub(crate) fn attached(&self) -> &[Arc<Lease>] {
        match self {
            Self::Word { .. } => &[],
            Self::Inline(inline) => &inline.attached,
            Self::Block(block) => block.lease.attached(),
        }
    }
}

impl Block {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the lease checked that its place lies inside the mapping, `len` is at most its
        // length, and the worker has handed the block over.
        unsafe { std::slice::from_raw_parts(self.lease.address().as_ptr(), self.len) }
    }
}

/// An archive that stays where it is, aligned, as long as its output.
enum Held {
    Inline { bytes: Aligned, len: usize, _attached: Vec<Arc<Lease>> },
    Block(Box<Block>),
}

impl<R: Returnable> Output<R> {
    /// Checks the archive, once.
    pub(crate) fn new(body: Body) -> Result<Self, BadResult> {
        body.read(|bytes| decode::check::<R>(bytes, body.attached()))?;
        let held = match body {
            Body::Word { word, len } => Held::Inline {
                bytes: Aligned::word(word),
                len: usize::from(len),
                _attached: Vec::new(),
            },
            Body::Inline(inline) => {
                let Inline { words, len, attached } = *inline;
                Held::Inline { bytes: Aligned(words), len, _attached: attached }
            }
            Body::Block(block) => Held::Block(block),
        };
        Ok(Self { held, _result: PhantomData })
    }
}

impl<R: Archive> Deref for Output<R> {
    type Target = R::Archived;

    fn deref(&self) -> &R::Archived {
        let bytes = match &self.held {
            Held::Inline { bytes, len, .. } => bytes.bytes(*len),
            Held::Block(block) => block.bytes(),
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
