//! Archives: values in rkyv's format, written once into shared memory and read where they lie.
//!
//! The only user of rkyv. Nothing here knows of tasks: the parent encodes arguments and the worker
//! encodes results in the same way.

mod array;
mod codec;
mod decode;
mod encode;
mod number;
mod output;
mod report;
mod serialized;
#[cfg(feature = "ndarray")]
mod shaped;
mod shared;

pub use array::ArchivedArray;
#[cfg(feature = "postcard")]
pub use codec::Postcard;
pub use codec::{Codec, CodecError, MessagePack};
pub use decode::Returnable;
pub(crate) use decode::{BadResult, check, decode};
pub(crate) use encode::{Blocks, Encoded, Series, checked_usize, encode, read_place, root_of};
pub use encode::{Encoder, Storable};
pub(crate) use number::{is_number, word_of};
pub(crate) use output::Body;
pub use output::Output;
pub use serialized::{ArchivedSerialized, AsSerialized, Serialized};
#[cfg(feature = "ndarray")]
pub use shaped::{ArchivedShaped, Shaped};
pub use shared::{ArchivedShared, Shared};

pub(crate) use report::Report;
pub(crate) use rkyv::rancor::BoxedError as EncodeFailure;

pub(crate) use rkyv::Archive;
pub(crate) use rkyv::primitive;
pub(crate) use rkyv::string::ArchivedString;
pub(crate) use rkyv::vec::ArchivedVec;
