//! Reading archives: checking what a worker wrote, and turning it back into values.

use std::any::{Any, TypeId};
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

/// The value of a number, or of nothing, which any bytes of its length are. `None`: a `T` is
/// neither, or the length is another.
///
/// A result that a caller slept for finds caches cold: all that the usual way would touch in order
/// to check nothing costs as much as the rest of a join. Which type it is, is known when this is
/// compiled.
#[inline]
fn number<T: 'static>(bytes: &[u8]) -> Option<T> {
    macro_rules! try_each {
        ($($number:ty),*) => {$(
            if TypeId::of::<T>() == TypeId::of::<$number>() {
                return retyped(<$number>::from_le_bytes(bytes.try_into().ok()?));
            }
        )*};
    }
    if TypeId::of::<T>() == TypeId::of::<()>() && bytes.is_empty() {
        return retyped(());
    }
    try_each!(f64, f32, u64, i64, u32, i32, u16, i16, u8, i8, u128, i128);
    None
}

/// The same value, if `T` is its type.
#[inline]
fn retyped<T: 'static, N: 'static>(value: N) -> Option<T> {
    let mut value = Some(value);
    (&mut value as &mut dyn Any).downcast_mut::<Option<T>>()?.take()
}

/// Checks an archive and turns it into a value.
pub(crate) fn decode<T: Returnable>(bytes: &[u8], attached: &[Arc<Lease>]) -> Result<T, BadResult> {
    if let Some(number) = number(bytes) {
        return Ok(number);
    }
    let archived = expecting(attached, || access::<T>(bytes))?;
    let mut decoder = Decoder { pool: None, attached: attached.to_vec() };
    Ok(deserialize_using::<T, Decoder, BoxedError>(archived, &mut decoder)?)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn check_number<T>(value: T)
    where
        T: Returnable + PartialEq + fmt::Debug + Clone,
        T: for<'a> rkyv::Serialize<
                rkyv::api::high::HighSerializer<
                    rkyv::util::AlignedVec,
                    rkyv::ser::allocator::ArenaHandle<'a>,
                    rkyv::rancor::Error,
                >,
            >,
    {
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&value).expect("it is encoded");
        assert_eq!(number::<T>(&bytes), Some(value.clone()), "as it lies there");
        assert_eq!(decode::<T>(&bytes, &[]).expect("it decodes"), value);
        // What a worker gone wild says of its length: the usual way decides.
        let [more, less] = [bytes.len() + 1, bytes.len().saturating_sub(1)];
        let mut longer = rkyv::util::AlignedVec::<16>::new();
        longer.resize(more, 0);
        assert_eq!(number::<T>(&longer), None);
        assert_eq!(decode::<T>(&bytes[..less], &[]).is_ok(), bytes.is_empty());
    }

    #[test]
    fn a_number_is_read_as_rkyv_writes_it_and_of_no_other_length() {
        check_number(());
        check_number(0x81u8);
        check_number(-3i8);
        check_number(0x1234u16);
        check_number(i16::MIN);
        check_number(0x1234_5678u32);
        check_number(i32::MIN + 1);
        check_number(0x1234_5678_9abc_def0u64);
        check_number(i64::MIN + 1);
        check_number(-1.5f32);
        check_number(1e300f64);
        check_number(u128::MAX - 1);
        check_number(i128::MIN + 1);
    }

    #[test]
    fn what_is_no_number_goes_the_usual_way() {
        assert_eq!(number::<bool>(&[1]), None);
        assert_eq!(number::<char>(&[65, 0, 0, 0]), None);
        assert_eq!(number::<usize>(&7u64.to_le_bytes()), None);
        assert_eq!(number::<Option<u8>>(&[7]), None);
        assert!(decode::<bool>(&[2], &[]).is_err());
    }

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
