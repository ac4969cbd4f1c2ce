//! Codecs for values that are serialized in full.

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a codec says when it fails.
pub type CodecError = Box<dyn Error + Send + Sync>;

/// A serde format for [`Serialized`](super::Serialized). A type parameter, never a global switch.
pub trait Codec: 'static {
    /// Turns a value into bytes.
    ///
    /// # Errors
    ///
    /// The value's `Serialize` refused, or the format cannot hold it.
    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError>;

    /// Turns bytes into a value.
    ///
    /// # Errors
    ///
    /// The bytes are not what the value's `Deserialize` asks for.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError>;
}

/// How deep a value in MessagePack may be nested: so deep that decoding it, which calls itself for
/// each level, stays inside any thread's stack, in a debug build too.
const NESTING_MAX: usize = 256;

/// MessagePack with field names: takes every type that serde takes, also `flatten`, untagged enums
/// and `serde_json::Value`. Values nested deeper than 256 levels do not decode.
#[derive(Debug, Clone, Copy)]
pub enum MessagePack {}

impl Codec for MessagePack {
    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
        Ok(rmp_serde::to_vec_named(value)?)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
        decoder.set_max_depth(NESTING_MAX);
        Ok(T::deserialize(&mut decoder)?)
    }
}

/// Postcard: smaller and faster than MessagePack, without field names, so not for types that need
/// to look at what comes (`flatten`, untagged enums, `serde_json::Value`). No bound is set on how
/// deep a type that contains itself is nested.
#[cfg(feature = "postcard")]
#[derive(Debug, Clone, Copy)]
pub enum Postcard {}

#[cfg(feature = "postcard")]
impl Codec for Postcard {
    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
        Ok(postcard::to_stdvec(value)?)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        let (value, rest) = postcard::take_from_bytes(bytes)?;
        if rest.is_empty() { Ok(value) } else { Err("bytes are left behind the value".into()) }
    }
}
