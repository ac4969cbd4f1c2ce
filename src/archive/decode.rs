//! Reading archives: checking what a worker wrote, and turning it back into values.

use std::fmt;
use std::num::NonZeroUsize;

use rkyv::api::high::HighValidator;
use rkyv::api::{access_unchecked, access_with_context, deserialize_using};
use rkyv::bytecheck::CheckBytes;
use rkyv::de::pooling::{ErasedPtr, Pool, Pooling, PoolingState};
use rkyv::rancor::{BoxedError, Strategy};
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;
use rkyv::validation::shared::SharedValidator;
use rkyv::{Archive, Deserialize};

use super::array::expecting;
use super::encode::Storable;
use super::number::number;
use crate::memory::{Lease, Place};
use crate::sync::Arc;

/// What `#[derive(rkyv::Deserialize)]` code reads through: wharf's [`Decoder`] with boxed errors.
pub type DecodeStrategy = Strategy<Decoder, BoxedError>;

/// How deep pointers of a result may be nested, such as the boxes of a list. Checking and decoding
/// call themselves for each level, and some bytes must not be enough to overflow a thread's stack.
const NESTING_MAX: usize = 256;

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
    expecting(attached, || access::<T>(bytes))?;
    Ok(())
}

fn access<T: Returnable>(bytes: &[u8]) -> Result<&T::Archived, BoxedError> {
    let archive = ArchiveValidator::with_max_depth(bytes, NonZeroUsize::new(NESTING_MAX));
    let mut validator = Validator::new(archive, SharedValidator::new());
    access_with_context::<T::Archived, _, BoxedError>(bytes, &mut validator)
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
#[inline]
pub(crate) fn decode<T: Returnable>(bytes: &[u8], attached: &[Arc<Lease>]) -> Result<T, BadResult> {
    number(bytes).map_or_else(|| decode_other(bytes, attached), Ok)
}

/// As [`decode`], of a value that is no number.
#[inline(never)]
fn decode_other<T: Returnable>(bytes: &[u8], attached: &[Arc<Lease>]) -> Result<T, BadResult> {
    let archived = expecting(attached, || access::<T>(bytes))?;
    let mut decoder = Decoder { pool: None, attached: attached.to_vec() };
    Ok(deserialize_using::<T, Decoder, BoxedError>(archived, &mut decoder)?)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// As derived code of a recursive type is written.
    #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
    #[rkyv(serialize_bounds(__S: rkyv::ser::Writer + rkyv::ser::Allocator))]
    #[rkyv(deserialize_bounds(__D: rkyv::rancor::Fallible<Error: rkyv::rancor::Source>))]
    #[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext)))]
    enum List {
        End,
        Next(#[rkyv(omit_bounds)] Box<List>, [u64; 16]),
    }

    fn list(len: usize) -> rkyv::util::AlignedVec {
        let link = |list, _| List::Next(Box::new(list), [7; 16]);
        let list = (0..len).fold(List::End, link);
        rkyv::to_bytes::<rkyv::rancor::Error>(&list).expect("it is encoded")
    }

    #[test]
    fn a_result_nested_too_deep_is_refused_before_the_stack_ends() {
        let decoded = |len| decode::<List>(&list(len), &[]).map(|list| matches!(list, List::End));
        // The stack of a test is that of any thread: 2 MiB.
        assert!(!decoded(NESTING_MAX - 2).expect("not too deep"));
        assert!(decoded(0).expect("flat"));
        for len in [NESTING_MAX + 1, 2 * NESTING_MAX] {
            assert!(decoded(len).is_err(), "{len}");
        }
    }
}
