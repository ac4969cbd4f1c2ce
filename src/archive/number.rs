//! Numbers, whose archives are their bytes: written and read without the machinery for the rest.
//!
//! A task that a worker or a caller slept for finds caches cold: all that the usual way would touch
//! in order to do nothing costs as much as the rest. Which type it is, is known when this is
//! compiled.

use std::any::{Any, TypeId};

/// Does something for the type among the numbers that `T` is.
macro_rules! for_number {
    ($T:ty, $N:ident => $body:expr) => {
        for_number!($T, $N => $body; f64, f32, u64, i64, u32, i32, u16, i16, u8, i8, u128, i128);
    };
    ($T:ty, $N:ident => $body:expr; $($number:ty),*) => {$(
        if TypeId::of::<$T>() == TypeId::of::<$number>() {
            type $N = $number;
            return $body;
        }
    )*};
}

/// The bytes of a number's archive, if they fit into a word, and how many there are.
#[inline]
pub(crate) fn word_of<T: 'static>(value: &T) -> Option<(u64, u8)> {
    for_number!(T, N => {
        let mut word = [0; 8];
        let bytes = (value as &dyn Any).downcast_ref::<N>()?.to_le_bytes();
        word.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        Some((u64::from_ne_bytes(word), bytes.len() as u8))
    });
    None
}

/// Tells whether a `T` is a number or nothing, whose archives fit into a slot and hold no memory.
#[inline]
pub(crate) fn is_number<T: 'static>() -> bool {
    for_number!(T, N => size_of::<N>() > 0);
    TypeId::of::<T>() == TypeId::of::<()>()
}

/// The value of a number, or of nothing, which any bytes of its length are. `None`: a `T` is
/// neither, or the length is another.
#[inline]
pub(super) fn number<T: 'static>(bytes: &[u8]) -> Option<T> {
    if TypeId::of::<T>() == TypeId::of::<()>() && bytes.is_empty() {
        return retyped(());
    }
    for_number!(T, N => retyped(N::from_le_bytes(bytes.try_into().ok()?)));
    None
}

/// The same value, if `T` is its type.
#[inline]
fn retyped<T: 'static, N: 'static>(value: N) -> Option<T> {
    let mut value = Some(value);
    (&mut value as &mut dyn Any).downcast_mut::<Option<T>>()?.take()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::fmt;

    use super::super::decode::{Returnable, decode};
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
        let word = word_of(&value).map(|(word, len)| word.to_ne_bytes()[..len.into()].to_vec());
        let fits = (1..=8).contains(&bytes.len());
        assert_eq!(word, fits.then(|| bytes.to_vec()), "the same bytes");
        assert_eq!(decode::<T>(&bytes, &[]).expect("it decodes"), value);
        assert!(is_number::<T>());
        // What a worker gone wild says of its length: the usual way decides.
        let [more, less] = [bytes.len() + 1, bytes.len().saturating_sub(1)];
        let mut longer = rkyv::util::AlignedVec::<16>::new();
        longer.resize(more, 0);
        assert_eq!(number::<T>(&longer), None);
        assert_eq!(decode::<T>(&bytes[..less], &[]).is_ok(), bytes.is_empty());
    }

    #[test]
    fn a_number_is_written_and_read_as_rkyv_does_it_and_of_no_other_length() {
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
        assert!(!is_number::<bool>() && !is_number::<String>() && !is_number::<Option<u8>>());
        assert_eq!(word_of(&true), None);
        assert_eq!(word_of(&'a'), None);
        assert_eq!(word_of(&7usize), None);
        assert_eq!(word_of(&Some(7u8)), None);
        assert!(decode::<bool>(&[2], &[]).is_err());
    }
}
