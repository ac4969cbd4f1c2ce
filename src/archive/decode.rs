//! Reading archives: checking what a worker wrote, and turning it back into values.

use std::fmt;

use rkyv::api::high::{HighValidator, access};
use rkyv::api::{access_unchecked, deserialize_using};
use rkyv::bytecheck::CheckBytes;
use rkyv::de::pooling::{ErasedPtr, Pool, Pooling, PoolingState};
use rkyv::rancor::{BoxedError, Strategy};
use rkyv::{Archive, Deserialize};

use super::array::expecting;
use super::encode::Storable;
use crate::memory::{Lease, Place};
use crate::sync::Arc;

/// What `#[derive(rkyv::Deserialize)]` code reads through: wharf's [`Decoder`] with boxed errors.
pub type DecodeStrategy = Strategy<Decoder, BoxedError>;

/// A value that a task can return: it can be archived, checked and deserialized. Implemented for
/// every type that derives rkyv's three traits.
#[diagnostic::on_unimplemented(
    message = "a task cannot return `{Self}`",
    note = "derive it: #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]",
    note = "or, for somebody else's type that serde knows, return wharf::Serialized<{Self}>",
    note = "or, for a flat array of numbers, fill wharf::array() and return it frozen"
)]
pub trait Returnable:
    Storable + Archive<Archived: Checked + Deserialize<Self, DecodeStrategy>> + Sized + 'static
{
}

#[diagnostic::do_not_recommend]
impl<T> Returnable for T
where
    T: Storable + 'static,
    T::Archived: Checked + Deserialize<T, DecodeStrategy>,
{
}

/// An archived type whose bytes can be checked. Implemented by rkyv's derive.
pub trait Checked: for<'a> CheckBytes<HighValidator<'a, BoxedError>> {}

impl<T> Checked for T where T: ?Sized + for<'a> CheckBytes<HighValidator<'a, BoxedError>> {}

/// Reads one archive. Opaque: it is named in bounds of generic code, and made by wharf alone.
#[derive(Default)]
pub struct Decoder {
    /// Made when it is needed: most archives share nothing.
    pool: Option<Pool>,
    attached: Vec<Arc<Lease>>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    /// The block that came with the archive and starts where `place` does.
    pub(crate) fn lease_of(&self, place: &Place) -> Option<Arc<Lease>> {
        let same = |lease: &&Arc<Lease>| lease.place() == *place;
        self.attached.iter().find(same).cloned()
    }
}

impl Pooling<BoxedError> for Decoder {
    fn start_pooling(&mut self, address: usize) -> PoolingState {
        Pooling::<BoxedError>::start_pooling(self.pool.get_or_insert_with(Pool::new), address)
    }

    unsafe fn finish_pooling(
        &mut self,
        address: usize,
        pointer: ErasedPtr,
        drop: unsafe fn(ErasedPtr),
    ) -> Result<(), BoxedError> {
        // SAFETY: the caller promises what the pool asks for.
        unsafe { self.pool.get_or_insert_with(Pool::new).finish_pooling(address, pointer, drop) }
    }
}

/// Why a result cannot be read.
#[derive(Debug)]
pub(crate) struct BadResult(pub(crate) String);

impl From<BoxedError> for BadResult {
    fn from(error: BoxedError) -> Self {
        Self(error.to_string())
    }
}

/// Checks that `bytes` are an archive of `T`. Costs next to nothing for numbers and their vectors,
/// and a pass over the rest.
pub(crate) fn check<T: Returnable>(bytes: &[u8], attached: &[Arc<Lease>]) -> Result<(), BadResult> {
    expecting(attached, || access::<T::Archived, BoxedError>(bytes))?;
    Ok(())
}

/// Reads an archive that was checked.
///
/// # Safety
///
/// `check::<T>` accepted these bytes, or this executor's parent encoded them; they have not moved
/// in their alignment since.
pub(crate) unsafe fn view<T: Archive>(bytes: &[u8]) -> &T::Archived {
    // SAFETY: the caller promises a valid archive.
    unsafe { access_unchecked::<T::Archived>(bytes) }
}

/// Checks an archive and turns it into a value.
pub(crate) fn decode<T: Returnable>(bytes: &[u8], attached: &[Arc<Lease>]) -> Result<T, BadResult> {
    let archived = expecting(attached, || access::<T::Archived, BoxedError>(bytes))?;
    let mut decoder = Decoder { pool: None, attached: attached.to_vec() };
    Ok(deserialize_using::<T, Decoder, BoxedError>(archived, &mut decoder)?)
}
