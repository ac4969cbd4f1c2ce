//! Many values one after the other in one buffer, each an archive of its own.

use std::marker::PhantomData;

use rkyv::rancor::BoxedError;

use super::Encoder;
use crate::error::ShareError;
use crate::memory::Lease;
use crate::sync::Arc;

/// Values that are encoded into a buffer, once. One that fails, or panics, leaves no trace.
#[derive(Debug)]
pub(crate) struct Series<'m> {
    encoder: Encoder,
    _memory: PhantomData<&'m mut [u64]>,
    /// What the values so far have used, and how many blocks they keep.
    used: usize,
    kept: usize,
}

impl<'m> Series<'m> {
    pub(crate) fn over(memory: &'m mut [u64], family: u64) -> Self {
        let encoder = Encoder::over(memory.as_mut_ptr().cast(), size_of_val(memory), family);
        Self { encoder, _memory: PhantomData, used: 0, kept: 0 }
    }

    /// Encodes one more value; returns what `body` does. `None`: there is no room for it.
    ///
    /// Nothing is shared between two values: one may be gone, and another lie at its address, when
    /// the next is encoded.
    pub(crate) fn add<T>(
        &mut self,
        body: impl FnOnce(&mut Encoder) -> Result<T, BoxedError>,
    ) -> Result<Option<T>, ShareError> {
        let encoder = &mut self.encoder;
        encoder.position = self.used;
        if let Some(extras) = &mut encoder.extras {
            extras.attached.truncate(self.kept);
            extras.fresh = self.kept;
            extras.sharing.clear();
            extras.encoded.clear();
            extras.failure = None;
        }
        let added = body(encoder);
        let added = added.map_err(|error| encoder.failure_of(error))?;
        if encoder.position > encoder.capacity {
            return Ok(None);
        }
        self.kept = encoder.extras.as_ref().map_or(0, |extras| extras.attached.len());
        self.used = encoder.position;
        Ok(Some(added))
    }

    /// The bytes of all values, and the blocks that they refer to.
    pub(crate) fn finish(self) -> (usize, Vec<Arc<Lease>>) {
        let mut attached = self.encoder.into_attached();
        attached.truncate(self.kept);
        (self.used, attached)
    }
}
