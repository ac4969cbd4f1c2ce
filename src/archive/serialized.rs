//! The wrapper that forces full serialization, for values that cannot be archived.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use rkyv::bytecheck::CheckBytes;
use rkyv::munge::munge;
use rkyv::rancor::{BoxedError, Fallible, Source};
use rkyv::traits::NoUndef;
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::with::{ArchiveWith, DeserializeWith, SerializeWith};
use rkyv::{Archive, Deserialize, Place, Portable, Serialize};
use serde::de::DeserializeOwned;

use super::codec::{Codec, CodecError, MessagePack};
use super::encode::{EncodeStrategy, Encoder};
use crate::error::ShareError;

/// Sends a value by full serialization with serde, for types that rkyv cannot archive.
///
/// Wrap the argument, and let the task take the wrapper:
///
/// ```
/// use wharf::{Executor, Serialized};
///
/// fn keys(Serialized(value): Serialized<serde_json::Value>) -> u64 {
///     value.as_object().map_or(0, |object| object.len() as u64)
/// }
///
/// let executor = Executor::builder().workers(1).build()?;
/// let value = serde_json::json!({ "a": 1, "b": [2, 3] });
/// assert_eq!(executor.submit(keys, (Serialized(value),))?.join()?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The codec is part of the type: [`MessagePack`] unless another is named, as in `Serialized::<_,
/// MyCodec>::new(value)`. Outside of a call of `submit` the compiler wants to be told: `let value:
/// Serialized<_> = Serialized(value);`. Costs an encoding in the parent, a copy of the bytes into
/// shared memory, and a decoding for each task that takes it. A value that does not decode in the
/// worker fails its task with [`TaskError::Decode`](crate::TaskError::Decode) before the function
/// is called.
pub struct Serialized<T, C: Codec = MessagePack>(pub <C as Carries<T>>::Value);

/// Ties a codec to the values it carries. A detail of [`Serialized`]: `Value` is always `T`.
pub trait Carries<T> {
    /// Always `T`.
    type Value;
}

impl<T, C: Codec> Carries<T> for C {
    type Value = T;
}

impl<T, C: Codec> Serialized<T, C> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T, C: Codec> Deref for Serialized<T, C> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T, C: Codec> DerefMut for Serialized<T, C> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T, C: Codec> From<T> for Serialized<T, C> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Clone, C: Codec> Clone for Serialized<T, C> {
    fn clone(&self) -> Self {
        Self(T::clone(self))
    }
}

impl<T: Default, C: Codec> Default for Serialized<T, C> {
    fn default() -> Self {
        Self(T::default())
    }
}

impl<T: PartialEq, C: Codec> PartialEq for Serialized<T, C> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, C: Codec> Eq for Serialized<T, C> {}

impl<T: fmt::Debug, C: Codec> fmt::Debug for Serialized<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Serialized").field(&**self).finish()
    }
}

/// Archives one field of a struct by full serialization: `#[rkyv(with = AsSerialized)]`.
///
/// In the task the field is an [`ArchivedSerialized`], which decodes on demand.
///
/// ```
/// use wharf::{AsSerialized, Executor};
///
/// #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
/// struct Job {
///     weights: Vec<f64>,
///     #[rkyv(with = AsSerialized)]
///     options: serde_json::Value,
/// }
///
/// fn run(job: &ArchivedJob) -> Result<f64, String> {
///     let options = job.options.decode().map_err(|e| e.to_string())?;
///     let scale = options["scale"].as_f64().ok_or("no scale")?;
///     Ok(job.weights.iter().map(|w| w.to_native() * scale).sum())
/// }
///
/// let executor = Executor::builder().workers(1).build()?;
/// let job = Job { weights: vec![1.0, 2.0], options: serde_json::json!({ "scale": 10.0 }) };
/// assert_eq!(executor.submit(run, (job,))?.join()?, Ok(30.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AsSerialized<C = MessagePack>(PhantomData<C>);

impl<C> fmt::Debug for AsSerialized<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsSerialized")
    }
}

/// A value in its codec's bytes, inside an archive.
#[derive(Portable)]
#[rkyv(crate = rkyv)]
#[repr(C)]
pub struct ArchivedSerialized<T, C = MessagePack> {
    bytes: ArchivedVec<u8>,
    _value: PhantomData<(T, C)>,
}

// SAFETY: `bytes` checks itself, and a `PhantomData` has no bytes.
unsafe impl<T, C, X> CheckBytes<X> for ArchivedSerialized<T, C>
where
    X: Fallible + ?Sized,
    ArchivedVec<u8>: CheckBytes<X>,
{
    unsafe fn check_bytes(value: *const Self, context: &mut X) -> Result<(), X::Error> {
        // SAFETY: the field lies at the start of the struct that the caller points to.
        let bytes = unsafe { &raw const (*value).bytes };
        // SAFETY: the caller promises memory of this type's size and alignment.
        unsafe { ArchivedVec::check_bytes(bytes, context) }
    }
}

impl<T, C> ArchivedSerialized<T, C> {
    /// The codec's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

impl<T: DeserializeOwned, C: Codec> ArchivedSerialized<T, C> {
    /// Decodes the value. Costs a full deserialization each time.
    ///
    /// # Errors
    ///
    /// What the codec says of bytes that are not a `T`.
    pub fn decode(&self) -> Result<T, CodecError> {
        C::decode(self.as_bytes())
    }
}

impl<T, C> fmt::Debug for ArchivedSerialized<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivedSerialized").field("bytes", &self.bytes.len()).finish()
    }
}

/// How long the encoded value is, and where its bytes went.
pub struct SerializedResolver {
    bytes: VecResolver,
    len: usize,
}

impl fmt::Debug for SerializedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerializedResolver").field("len", &self.len).finish_non_exhaustive()
    }
}

// SAFETY: `Portable`, without padding: `ArchivedVec` has none, and the rest has no bytes.
unsafe impl<T, C> NoUndef for ArchivedSerialized<T, C> {}

fn resolve_bytes<T, C>(resolver: SerializedResolver, out: Place<ArchivedSerialized<T, C>>) {
    munge!(let ArchivedSerialized { bytes, .. } = out);
    ArchivedVec::resolve_from_len(resolver.len, resolver.bytes, bytes);
}

fn serialize_bytes<T: serde::Serialize, C: Codec>(
    value: &T,
    serializer: &mut EncodeStrategy,
) -> Result<SerializedResolver, BoxedError> {
    let encoder: &mut Encoder = serializer;
    let encode = || C::encode(value).map_err(|e| ShareError::Encode { cause: e.to_string() });
    let encoded = encoder.once(encode)?;
    let bytes = ArchivedVec::<u8>::serialize_from_slice(&encoded[..], serializer)?;
    let len = encoded.len();
    let encoder: &mut Encoder = serializer;
    encoder.remember(encoded);
    Ok(SerializedResolver { bytes, len })
}

fn decode_bytes<T: DeserializeOwned, C: Codec, E: Source>(
    archived: &ArchivedSerialized<T, C>,
) -> Result<T, E> {
    archived.decode().map_err(|error| E::new(CodecFailure(error)))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct CodecFailure(CodecError);

impl<T, C: Codec> Archive for Serialized<T, C> {
    type Archived = ArchivedSerialized<T, C>;
    type Resolver = SerializedResolver;

    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        resolve_bytes(resolver, out);
    }
}

impl<T: serde::Serialize, C: Codec> Serialize<EncodeStrategy> for Serialized<T, C> {
    fn serialize(&self, serializer: &mut EncodeStrategy) -> Result<Self::Resolver, BoxedError> {
        serialize_bytes::<T, C>(self, serializer)
    }
}

impl<T, C, D> Deserialize<Serialized<T, C>, D> for ArchivedSerialized<T, C>
where
    T: DeserializeOwned,
    C: Codec,
    D: Fallible<Error: Source> + ?Sized,
{
    fn deserialize(&self, _: &mut D) -> Result<Serialized<T, C>, D::Error> {
        decode_bytes(self).map(Serialized::new)
    }
}

impl<T, C: Codec> ArchiveWith<T> for AsSerialized<C> {
    type Archived = ArchivedSerialized<T, C>;
    type Resolver = SerializedResolver;

    fn resolve_with(_: &T, resolver: Self::Resolver, out: Place<Self::Archived>) {
        resolve_bytes(resolver, out);
    }
}

impl<T: serde::Serialize, C: Codec> SerializeWith<T, EncodeStrategy> for AsSerialized<C> {
    fn serialize_with(
        field: &T,
        serializer: &mut EncodeStrategy,
    ) -> Result<Self::Resolver, BoxedError> {
        serialize_bytes::<T, C>(field, serializer)
    }
}

impl<T, C, D> DeserializeWith<ArchivedSerialized<T, C>, T, D> for AsSerialized<C>
where
    T: DeserializeOwned,
    C: Codec,
    D: Fallible<Error: Source> + ?Sized,
{
    fn deserialize_with(field: &ArchivedSerialized<T, C>, _: &mut D) -> Result<T, D::Error> {
        decode_bytes(field)
    }
}
