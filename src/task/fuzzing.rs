//! What the parent does with bytes that a worker wrote, as functions of bytes: for `fuzz/`, and for
//! tests of the same inputs.
//!
//! Each takes any bytes, and panics where the parent would have broken a promise.

mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hint::black_box;

use memmap2::MmapRaw;

use super::handle::value_of;
use super::outcome::Outcome;
use crate::archive::{Codec, MessagePack, Output, Returnable, Serialized};
use crate::control::{Control, Ending, FromParent, FromWorker, Releases, ResultPlace};
use crate::memory::{Array, RemoteHeap};
use crate::sync::{Arc, Mutex, OnceLock, lock};
use crate::sys;

pub use table::table;

/// The bytes of an input that say where a result lies.
const HEAD_BYTES: usize = 16;
/// The heap that all inputs are written to; its number is part of the inputs.
const HEAP_BYTES: u64 = 128 << 10;
const HEAP_ID: u64 = 1;

/// A result with everything that a derived type may hold.
#[derive(Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Nested {
    name: String,
    weights: Option<Vec<f32>>,
    shape: Shape,
    rows: Vec<(u32, String)>,
    table: HashMap<String, u16>,
    inner: Option<Box<(String, i64)>>,
}

#[derive(Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Polygon { corners: Vec<(f32, f32)>, label: char },
}

/// A worker's heap, and the worker's own mapping of it.
struct Heap {
    parent: Arc<RemoteHeap>,
    control: Arc<Control>,
    worker: MmapRaw,
}

impl Heap {
    fn new() -> Self {
        let control = Arc::new(Control::on_heap(1, 1));
        let parent = RemoteHeap::new(HEAP_BYTES, (HEAP_ID, HEAP_ID), &control, 0);
        let parent = Arc::new(parent.expect("a heap"));
        let worker = sys::reserve(parent.fd(), HEAP_BYTES, true).expect("a mapping");
        Self { parent, control, worker }
    }

    fn write(&self, content: &[u8]) {
        let len = content.len().min(HEAP_BYTES as usize);
        // SAFETY: the mapping has as many bytes, and nothing reads them between two inputs.
        unsafe { self.worker.as_mut_ptr().write_bytes(0, HEAP_BYTES as usize) };
        // SAFETY: as above.
        unsafe { self.worker.as_mut_ptr().copy_from_nonoverlapping(content.as_ptr(), len) };
    }

    /// Takes releases as the worker does, so that they do not pile up.
    fn reclaim(&self) {
        Releases::over(&self.control.seats()[0].releases.0).clear();
        self.parent.flush();
    }
}

/// Reads a result: its place, then its heap.
///
/// Byte 0: bit 0 failed, bit 1 inline, bit 2 an absurd length. Byte 1: the type. Bytes 2 and 3: the
/// offset in units of 64 bytes. Bytes 4..8: the length. Bytes 8..16: the attached blocks.
pub fn result(input: &[u8]) {
    read_result(input);
}

/// True: it was a result.
fn read_result(input: &[u8]) -> bool {
    // One for all threads: inputs name it, and a process has one heap of a name.
    static HEAP: OnceLock<Mutex<Heap>> = OnceLock::new();
    let heap = &*lock(HEAP.get_or_init(|| Mutex::new(Heap::new())));
    let Some((head, content)) = input.split_first_chunk::<HEAD_BYTES>() else { return false };
    let [flags, kind, offset_low, offset_high, l0, l1, l2, l3, attached @ ..] = *head;
    let len = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    let mut place = ResultPlace {
        heap: HEAP_ID,
        offset: u64::from(u16::from_le_bytes([offset_low, offset_high])) * 64,
        len: if flags & 4 != 0 { len << 32 } else { len },
        attached: u64::from_le_bytes(attached),
        ..ResultPlace::default()
    };
    if flags & 2 != 0 {
        place.heap = 0;
        for (word, bytes) in place.inline.iter_mut().zip(content.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        }
    }
    heap.write(content);
    let ending = if flags & 1 != 0 { Ending::Failed } else { Ending::Done };
    let look = match kind % 11 {
        0 => look::<f64>,
        1 => look::<String>,
        2 => look::<Vec<f64>>,
        3 => look::<Nested>,
        4 => look::<Array<f64>>,
        5 => look::<Vec<Array<u32>>>,
        6 => look::<Serialized<BTreeMap<String, Vec<f64>>>>,
        7 => look::<Result<Array<u8>, String>>,
        8 => look::<Vec<Vec<String>>>,
        9 => look::<(bool, char, Option<u8>)>,
        _ => look::<HashMap<u32, String>>,
    };
    let is_result = look(heap, ending, &place);
    heap.reclaim();
    is_result
}

/// Joins, and reads in place.
fn look<R: Returnable + Debug>(heap: &Heap, ending: Ending, place: &ResultPlace) -> bool {
    let outcome = || Outcome::read(ending, place, Some(&heap.parent), None);
    if let Ok(body) = outcome().into_body("fuzzed") {
        black_box(Output::<R>::new(body).is_ok());
    }
    match value_of::<R>(&outcome(), || "fuzzed") {
        Ok(value) => black_box(format!("{value:?}").len()) > 0,
        Err(error) => black_box(error.to_string().is_empty()),
    }
}

/// Parses a message as either side does. What is understood says the same when it is sent again.
pub fn message(input: &[u8]) {
    if let Some(message) = FromWorker::parse(input) {
        let again = FromWorker::parse(&message.to_bytes());
        match (message, again.expect("a message of ours")) {
            // Bytes that are no text are replaced, which makes it longer; then it is cut.
            (FromWorker::Failed { .. }, FromWorker::Failed { .. }) => {}
            (message, again) => assert_eq!(message, again),
        }
    }
    if let Some(message) = FromParent::parse(input) {
        let bytes = message.to_bytes();
        assert!(FromParent::parse(&bytes).is_some_and(|again| again.to_bytes() == bytes));
    }
}

/// A type that contains itself.
#[derive(Debug)]
struct Tree(Vec<Self>);

impl<'de> serde::Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

/// Decodes with each codec of this build.
pub fn codec(input: &[u8]) {
    type Table = BTreeMap<String, Vec<Option<(u8, f64)>>>;
    black_box(MessagePack::decode::<Table>(input).is_ok());
    black_box(MessagePack::decode::<Tree>(input).map(|tree| tree.0.len()).is_ok());
    black_box(MessagePack::decode::<HashMap<char, Result<String, i128>>>(input).is_ok());
    black_box(MessagePack::decode::<(Box<str>, [bool; 3], Option<Vec<u16>>)>(input).is_ok());
    #[cfg(feature = "postcard")]
    {
        use crate::archive::Postcard;
        black_box(Postcard::decode::<Table>(input).is_ok());
        black_box(Postcard::decode::<(Box<str>, [bool; 3], Option<Vec<u16>>)>(input).is_ok());
    }
}
