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
pub struct Output<R> {
    body: Body,
    _result: PhantomData<R>,
}

/// The bytes of a small result, aligned as a block is.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct InlineBytes(pub(crate) [u64; INLINE_RESULT_WORDS]);

/// Where a result's archive lies.
pub(crate) enum Body {
    /// It was small and came with the slot.
    Inline { bytes: InlineBytes, len: usize, attached: Vec<Arc<Lease>> },
    /// In the worker's heap; `len` bytes of the block are the archive.
    Block { lease: Arc<Lease>, len: usize },
}

impl Body {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { bytes, len, .. } => &bytemuck::cast_slice(&bytes.0)[..*len],
            Self::Block { lease, len } => {
                let start = lease.address().as_ptr();
                // SAFETY: the lease checked that its place lies inside the mapping, `len` is at
                // most its length, and the worker has handed the block over.
                unsafe { std::slice::from_raw_parts(start, *len) }
            }
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

impl<R: Returnable> Output<R> {
    /// Checks the archive, once.
    pub(crate) fn new(body: Body) -> Result<Self, BadResult> {
        decode::check::<R>(body.bytes())?;
        Ok(Self { body, _result: PhantomData })
    }

    pub(crate) fn into_body(self) -> Body {
        self.body
    }
}

impl<R: Archive> Deref for Output<R> {
    type Target = R::Archived;

    fn deref(&self) -> &R::Archived {
        // SAFETY: `new` checked the bytes; inline ones move with `self`, which is aligned to 64.
        unsafe { decode::view::<R>(self.body.bytes()) }
    }
}

impl<R: Archive<Archived: fmt::Debug>> fmt::Debug for Output<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Output").field(&**self).finish()
    }
}
