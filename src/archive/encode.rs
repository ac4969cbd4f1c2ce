//! Writing archives: counted first, then straight into the mapping.

mod series;

use std::alloc::{self, Layout};
use std::collections::VecDeque;
use std::fmt;
use std::ptr::NonNull;
use std::slice;

use rkyv::api::serialize_using;
use rkyv::rancor::{BoxedError, Source, Strategy};
use rkyv::ser::sharing::{Share, SharingState};
use rkyv::ser::{Allocator, Positional, Sharing, Writer};
use rkyv::{Archive, Serialize};
pub(crate) use series::Series;

use crate::error::ShareError;
use crate::memory::{ALIGN, Copier, Lease, Place, resolve};
use crate::sync::Arc;

/// What `#[derive(rkyv::Serialize)]` code writes to: wharf's [`Encoder`] with boxed errors.
pub type EncodeStrategy = Strategy<Encoder, BoxedError>;

/// A value that can be archived into shared memory: anything that derives rkyv's `Archive` and
/// `Serialize`. Implemented for all of them.
///
/// What it archives is read by workers without a check, as rkyv's own unchecked access does. A
/// hand-written `Archive` must write what its archived type promises; rkyv's derive does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be archived into shared memory",
    note = "derive it: #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]",
    note = "or, for somebody else's type that serde knows, wrap it: wharf::Serialized(value)",
    note = "or, for a flat array of numbers, use Executor::array_from and pass a reference to it"
)]
pub trait Storable: Archive + Serialize<EncodeStrategy> {}

#[diagnostic::do_not_recommend]
impl<T: Archive + Serialize<EncodeStrategy>> Storable for T {}

/// The longest archive that relative pointers of this build span, in bytes.
const ARCHIVE_BYTES_MAX: usize =
    if cfg!(feature = "pointer_width_64") { isize::MAX as usize } else { i32::MAX as usize };

/// Slices from this size on may be worth several threads: the copier is asked.
const LONG_BYTES: usize = 1 << 20;

/// Writes one archive. Opaque: it is named in bounds of generic code, and made by wharf alone.
pub struct Encoder {
    start: *mut u8,
    capacity: usize,
    /// Who writes long slices.
    copier: Copier,
    position: usize,
    /// The second pass: what does not fit is an error, and not just counted.
    exact: bool,
    family: u64,
    /// Made when it is needed: numbers need none of it.
    extras: Option<Box<Extras>>,
}

/// What only some values need.
#[derive(Default)]
struct Extras {
    sharing: Share,
    attached: Vec<Arc<Lease>>,
    /// The blocks before this one belong to other values than the present one.
    fresh: usize,
    /// What codecs wrote in the first pass, so that they are run once.
    encoded: VecDeque<Vec<u8>>,
    failure: Option<ShareError>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("position", &self.position).finish_non_exhaustive()
    }
}

/// A finished archive.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) len: u64,
    /// `None`: it fits into the inline words, and refers to nothing.
    pub(crate) blocks: Option<Box<Blocks>>,
}

/// The memory that belongs to an archive.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Where the archive lies, if not in the inline words.
    pub(crate) own: Option<Lease>,
    /// What it refers to, to be kept as long as it is.
    pub(crate) attached: Vec<Arc<Lease>>,
}

impl Encoded {
    fn of(len: usize, own: Option<Lease>, attached: Vec<Arc<Lease>>) -> Self {
        let holds_memory = own.is_some() || !attached.is_empty();
        let blocks = holds_memory.then(|| Box::new(Blocks { own, attached }));
        Self { len: len as u64, blocks }
    }

    /// The archive's block, which keeps what it refers to. `None`: it has no bytes, or lies in the
    /// inline words.
    pub(crate) fn into_block(self) -> Option<Lease> {
        let Blocks { own, attached } = *self.blocks?;
        debug_assert!(own.is_some() || attached.is_empty(), "what is kept would be dropped");
        Some(own?.with_attached(attached))
    }
}

/// Runs `body` over an encoder: once if the archive fits into `inline`, else a second time into the
/// block that `allocate` finds for its exact size.
#[inline]
pub(crate) fn encode(
    inline: &mut [u64],
    family: u64,
    body: impl Fn(&mut Encoder) -> Result<(), BoxedError>,
    allocate: impl FnOnce(u64) -> Result<Lease, ShareError>,
) -> Result<Encoded, ShareError> {
    let mut encoder = Encoder::over(inline.as_mut_ptr().cast(), size_of_val(inline), family);
    let ran = body(&mut encoder);
    // Numbers need no more than this.
    if ran.is_ok() && encoder.position <= encoder.capacity && encoder.extras.is_none() {
        return Ok(Encoded { len: encoder.position as u64, blocks: None });
    }
    encode_more(encoder, ran, body, allocate)
}

/// As [`encode`], from the end of the first pass on.
#[inline(never)]
fn encode_more(
    mut encoder: Encoder,
    ran: Result<(), BoxedError>,
    body: impl Fn(&mut Encoder) -> Result<(), BoxedError>,
    allocate: impl FnOnce(u64) -> Result<Lease, ShareError>,
) -> Result<Encoded, ShareError> {
    ran.map_err(|error| encoder.failure_of(error))?;
    let len = encoder.position;
    if len <= encoder.capacity {
        return Ok(Encoded::of(len, None, encoder.into_attached()));
    }
    let block = allocate(len as u64)?;
    encoder.restart(&block, len);
    body(&mut encoder).map_err(|error| encoder.failure_of(error))?;
    if encoder.position != len {
        return Err(changed_size());
    }
    Ok(Encoded::of(len, Some(block), encoder.into_attached()))
}

impl Encoder {
    fn over(start: *mut u8, capacity: usize, family: u64) -> Self {
        let copier = Copier::ALONE;
        Self { start, capacity, copier, position: 0, exact: false, family, extras: None }
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    fn into_attached(self) -> Vec<Arc<Lease>> {
        self.extras.map_or_else(Vec::new, |extras| extras.attached)
    }

    fn restart(&mut self, block: &Lease, capacity: usize) {
        (self.start, self.capacity, self.position) = (block.address().as_ptr(), capacity, 0);
        self.copier = block.copier();
        self.exact = true;
        if let Some(extras) = &mut self.extras {
            extras.sharing.clear();
            extras.attached.clear();
        }
    }

    fn failure_of(&mut self, error: BoxedError) -> ShareError {
        let failure = self.extras().failure.take();
        failure.unwrap_or_else(|| ShareError::Encode { cause: error.to_string() })
    }

    /// Archives a value at the next place; returns the position of its root.
    pub(crate) fn value<T: Storable>(&mut self, value: &T) -> Result<u64, BoxedError> {
        const {
            assert!(
                align_of::<T::Archived>() <= 32,
                "an archived type may be aligned to 32 bytes at most; \
                 use wharf::Array for data that is aligned further"
            );
        }
        serialize_using::<Self, BoxedError>(value, self).map(|position| position as u64)
    }

    /// Writes words, aligned to 8; returns their position.
    #[inline]
    pub(crate) fn words(&mut self, words: &[u64]) -> Result<u64, BoxedError> {
        const ZEROS: [u8; 8] = [0; 8];
        let gap = self.position.next_multiple_of(8) - self.position;
        if gap > 0 {
            self.write(&ZEROS[..gap])?;
        }
        let position = self.position as u64;
        self.write(bytemuck::cast_slice(words))?;
        Ok(position)
    }

    /// Where the next byte goes.
    pub(crate) fn end(&self) -> u64 {
        self.position as u64
    }

    /// Writes the places of all blocks that are kept, three words each.
    pub(crate) fn table(&mut self) -> Result<(), BoxedError> {
        let Some(extras) = &self.extras else { return Ok(()) };
        let places: Vec<u64> = (extras.attached.iter().map(|lease| lease.place()))
            .flat_map(|place| [place.heap, place.offset, place.len])
            .collect();
        if places.is_empty() { Ok(()) } else { self.words(&places).map(drop) }
    }

    /// Writes a reference to a block, and keeps the block as long as the archive.
    pub(crate) fn reference(
        &mut self,
        place: &Place,
        lease: &Arc<Lease>,
    ) -> Result<u64, BoxedError> {
        self.attach(lease)?;
        self.words(&[place.heap, place.offset, place.len])
    }

    /// Keeps a block as long as the archive. It must belong to the same executor.
    pub(crate) fn attach(&mut self, lease: &Arc<Lease>) -> Result<(), BoxedError> {
        self.admit(lease.family())?;
        let Extras { attached, fresh, .. } = self.extras();
        if !attached[*fresh..].iter().any(|kept| Arc::ptr_eq(kept, lease)) {
            attached.push(Arc::clone(lease));
        }
        Ok(())
    }

    /// Writes words that refer to memory of the executor `family`, which the caller keeps until
    /// nobody looks there any more.
    pub(crate) fn borrowed(&mut self, family: u64, words: &[u64]) -> Result<u64, BoxedError> {
        self.admit(family)?;
        self.words(words)
    }

    /// For bytes up to `end` there is no room: in the first pass they are counted.
    #[cold]
    fn count_or_refuse(&mut self, end: usize) -> Result<(), BoxedError> {
        if end > ARCHIVE_BYTES_MAX {
            return Err(self.fail(ShareError::TooLarge { limit: ARCHIVE_BYTES_MAX as u64 }));
        }
        if self.exact {
            return Err(self.fail(changed_size()));
        }
        self.position = end;
        Ok(())
    }

    fn admit(&mut self, family: u64) -> Result<(), BoxedError> {
        if family == self.family { Ok(()) } else { Err(self.fail(ShareError::Foreign)) }
    }

    /// Ends the encoding with an error that reaches the caller as it is.
    pub(crate) fn fail(&mut self, failure: ShareError) -> BoxedError {
        let error = BoxedError::new(failure.clone());
        self.extras().failure.get_or_insert(failure);
        error
    }

    /// Returns what `encode` makes: in the first pass it is run, in the second remembered.
    pub(crate) fn once(
        &mut self,
        encode: impl FnOnce() -> Result<Vec<u8>, ShareError>,
    ) -> Result<Vec<u8>, BoxedError> {
        if self.exact {
            let remembered = self.extras().encoded.pop_front();
            return remembered.ok_or_else(|| self.fail(changed_size()));
        }
        encode().map_err(|failure| self.fail(failure))
    }

    /// Remembers what `once` returned, for the second pass.
    pub(crate) fn remember(&mut self, bytes: Vec<u8>) {
        if !self.exact {
            self.extras().encoded.push_back(bytes);
        }
    }
}

impl Positional for Encoder {
    fn pos(&self) -> usize {
        self.position
    }
}

impl Writer<BoxedError> for Encoder {
    // In the user's crate, where the length of a number is known.
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), BoxedError> {
        let end = self.position.saturating_add(bytes.len());
        if end > self.capacity {
            return self.count_or_refuse(end);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: `position` is at most `capacity`, which is the size of the memory at `start`.
        let target = unsafe { self.start.add(self.position) };
        // SAFETY: the target has room up to `end` and is ours alone: words of the caller's, or a
        // block, which reads as some bytes.
        let target = unsafe { slice::from_raw_parts_mut(target, bytes.len()) };
        if bytes.len() < LONG_BYTES {
            target.copy_from_slice(bytes);
        } else {
            let is_last = self.capacity - end < LONG_BYTES;
            self.copier.copy(bytes, target, is_last);
        }
        self.position = end;
        Ok(())
    }
}

// SAFETY: memory of the global allocator is unaliased and fits the layout that was asked for.
unsafe impl Allocator<BoxedError> for Encoder {
    unsafe fn push_alloc(&mut self, layout: Layout) -> Result<NonNull<[u8]>, BoxedError> {
        // SAFETY: the caller promises a layout of non-zero size.
        let start = unsafe { alloc::alloc(layout) };
        let Some(start) = NonNull::new(start) else { alloc::handle_alloc_error(layout) };
        Ok(NonNull::slice_from_raw_parts(start, layout.size()))
    }

    unsafe fn pop_alloc(&mut self, start: NonNull<u8>, layout: Layout) -> Result<(), BoxedError> {
        // SAFETY: the caller promises that `push_alloc` returned `start` for this layout.
        unsafe { alloc::dealloc(start.as_ptr(), layout) };
        Ok(())
    }
}

impl Sharing<BoxedError> for Encoder {
    fn start_sharing(&mut self, address: usize) -> SharingState {
        Sharing::<BoxedError>::start_sharing(&mut self.extras().sharing, address)
    }

    fn finish_sharing(&mut self, address: usize, position: usize) -> Result<(), BoxedError> {
        self.extras().sharing.finish_sharing(address, position)
    }
}

fn changed_size() -> ShareError {
    ShareError::Encode { cause: "the value changed while it was encoded".to_owned() }
}

/// Refuses a `usize` or `isize` that rkyv would cut to 32 bits without a word.
pub(crate) fn checked_usize<T>(value: &T) -> Result<(), ShareError> {
    if cfg!(feature = "pointer_width_64") || size_of::<T>() != size_of::<usize>() {
        return Ok(());
    }
    let kind = std::any::type_name::<T>();
    let (fits, shown) = match kind {
        "usize" => {
            // SAFETY: the type is `usize`, by its name and its size.
            let number = unsafe { std::ptr::from_ref(value).cast::<usize>().read() };
            (u32::try_from(number).is_ok(), number.to_string())
        }
        "isize" => {
            // SAFETY: the type is `isize`, by its name and its size.
            let number = unsafe { std::ptr::from_ref(value).cast::<isize>().read() };
            (i32::try_from(number).is_ok(), number.to_string())
        }
        _ => return Ok(()),
    };
    if fits { Ok(()) } else { Err(ShareError::Truncated { kind: kind.to_owned(), value: shown }) }
}

/// Reads a reference that [`Encoder::reference`] wrote.
///
/// # Safety
///
/// `at` points to it.
pub(crate) unsafe fn read_place(at: NonNull<u8>) -> Place {
    // SAFETY: the caller promises three words there, which are aligned to 8.
    let [heap, offset, len] = unsafe { at.cast::<[u64; 3]>().read() };
    Place { heap, offset, len }
}

/// Finds the root of an archive of type `A` that fills `place`, in this process.
///
/// `None`: the heap is not mapped and cannot be, or the place is too short for an `A`.
pub(crate) fn root_of<A>(place: &Place) -> Option<NonNull<A>> {
    const { assert!(align_of::<A>() <= ALIGN) };
    let start = resolve(place)?;
    let at = (place.len as usize).checked_sub(size_of::<A>())?;
    // SAFETY: `resolve` found the whole place in a mapping, and `at` lies inside it.
    let root = unsafe { start.add(at) }.cast::<A>();
    root.is_aligned().then_some(root)
}
