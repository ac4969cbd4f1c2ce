//! Where everything lies in the control segment. See the memory map in `README.md`.

use std::io;
use std::mem::{align_of, size_of};
use std::ptr::NonNull;

use crossbeam_utils::CachePadded;
use memmap2::MmapRaw;

use super::cursor::{CURSORS, Cursor};
use super::gate::Gate;
use super::release::RELEASE_CELLS;
use super::ring::{Front, Ring};
use super::slot::Slot;
use super::wake::{Ahead, BED_WORDS, Bed, Wake, Whereabouts};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::{Birthplace, Segment, SegmentName, anonymous};

/// The first word of a control segment: `wharf` and the layout's version.
const MAGIC: u64 = u64::from_le_bytes(*b"wharf\0\0\x01");
/// The most task slots of one executor.
pub(crate) const SLOTS_MAX: u32 = 1 << 20;
/// The most worker seats of one executor.
pub(crate) const SEATS_MAX: u32 = BED_WORDS as u32 * 64;
/// The 64-bit words of a slot that small arguments lie in.
pub(crate) const INLINE_ARGS_WORDS: usize = 16;
/// The 64-bit words of a slot that a small result lies in.
pub(crate) const INLINE_RESULT_WORDS: usize = 8;

/// The head of the segment. Each word that is written often has a cache line of its own.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Header {
    magic: AtomicU64,
    slots: AtomicU32,
    seats: AtomicU32,
    /// The bytes that all heaps together may hold, for who attaches.
    budget_bytes: AtomicU64,
    /// The bytes that the parent's heaps hold.
    pub(crate) parent_bytes: AtomicU64,
    /// Not 0: workers leave when the ring is empty.
    pub(crate) closing: AtomicU32,
    ahead: Ahead,
    /// Where one of the threads fell asleep that wait for a task.
    pub(crate) joiner: Whereabouts,
    tail: CachePadded<AtomicU64>,
    front: CachePadded<Front>,
    pub(crate) beds: CachePadded<[Bed; BED_WORDS]>,
    pub(crate) gate: CachePadded<Gate>,
    cursors: [CachePadded<AtomicU64>; CURSORS],
}

/// What belongs to one worker: its pillow, its share of the budget, what the parent gave back.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Seat {
    pub(crate) pillow: CachePadded<Pillow>,
    /// The bytes that the worker's result heap holds.
    pub(crate) held_bytes: CachePadded<AtomicU64>,
    /// Tasks that the seat's workers have finished.
    pub(crate) finished: AtomicU64,
    /// How long they had waited, and run, where that is measured.
    pub(crate) queued_ns: AtomicU64,
    pub(crate) ran_ns: AtomicU64,
    /// Not 0: the parent holds releases that did not fit into `releases`.
    pub(crate) backlog: AtomicU32,
    /// Not 0: the worker is to leave after its present task.
    pub(crate) leave: AtomicU32,
    pub(crate) releases: CachePadded<ReleaseCells>,
}

/// On what a worker sleeps.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Pillow {
    /// 0 while the worker sleeps or is about to, 1 once it was notified. A futex.
    pub(crate) park: AtomicU32,
    /// Where it fell asleep.
    pub(crate) sleeper: Whereabouts,
    /// When it was woken last, by the processor's clock. But for the last bit: who called has not
    /// come back from that, or died in it. A hint.
    pub(crate) called_at: AtomicU64,
    /// Where that one called.
    pub(crate) waker: Whereabouts,
}

/// The cells of [`super::Releases`].
#[repr(C)]
#[derive(Debug)]
pub(crate) struct ReleaseCells(pub(crate) [AtomicU64; RELEASE_CELLS]);

impl Default for ReleaseCells {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Slot>() == 256 && align_of::<Slot>() == 64);
    assert!(size_of::<Header>().is_multiple_of(128) && size_of::<Seat>().is_multiple_of(128));
    assert!(align_of::<Header>() <= 4096);
};

/// The counts, and the places in the segment that follow from them. Seats follow the header.
#[derive(Debug, Clone, Copy)]
struct Shape {
    slots: u32,
    seats: u32,
    /// How many cells the ring has.
    cells: usize,
    cells_at: usize,
    slots_at: usize,
}

impl Shape {
    const SEATS_AT: usize = size_of::<Header>();

    fn new(slots: u32, seats: u32) -> Self {
        // Twice the slots: a slot is in the ring once, and a second time after a death.
        let cells = (slots as usize * 2).next_power_of_two();
        let cells_at = Self::SEATS_AT + seats as usize * size_of::<Seat>();
        let slots_at = (cells_at + cells * size_of::<AtomicU64>()).next_multiple_of(4096);
        Self { slots, seats, cells, cells_at, slots_at }
    }

    fn bytes(&self) -> usize {
        self.slots_at + self.slots as usize * size_of::<Slot>()
    }
}

/// The size of a control segment, in bytes.
pub(crate) fn control_bytes(slots: u32, seats: u32) -> usize {
    Shape::new(slots, seats).bytes()
}

/// The control segment, attached.
#[derive(Debug)]
pub(crate) struct Control {
    base: NonNull<u8>,
    shape: Shape,
    budget_bytes: u64,
    /// How deep tasks are nested whose workers are threads of this process; 0: they are processes.
    inner_depth: u32,
    /// `None`: in tests, whose memory has none.
    birthplace: Option<Birthplace>,
    _home: Home,
}

/// What keeps the memory.
#[derive(Debug)]
enum Home {
    Segment {
        _segment: Segment,
    },
    Private {
        _map: MmapRaw,
    },
    #[cfg(any(all(test, not(loom)), fuzzing))]
    Heap {
        /// No `Box`: moving one ends the use of pointers into it.
        _pages: Vec<Page>,
    },
}

/// Zeroed memory for tests, aligned as a mapping is.
#[cfg(any(all(test, not(loom)), fuzzing))]
#[repr(C, align(4096))]
#[derive(Clone, Debug)]
struct Page([u64; 512]);

// SAFETY: all of the memory behind `base` is atomics, which any thread may use, and `_home` keeps
// it in place; the segment's mapping may be dropped by any thread.
unsafe impl Send for Control {}
// SAFETY: as above.
unsafe impl Sync for Control {}

impl Control {
    /// Makes a segment of this name and fills in its header. All slots are free.
    pub(crate) fn create(
        name: &SegmentName,
        slots: u32,
        seats: u32,
        budget_bytes: u64,
    ) -> io::Result<Self> {
        let shape = Shape::new(slots, seats);
        let segment = Segment::create(name, shape.bytes())?;
        let base = segment.as_ptr();
        let control = Self::over(base, shape, Home::Segment { _segment: segment });
        Ok(control.opened(budget_bytes))
    }

    /// Makes the same without a name, for workers in this process: `depth` is that of their tasks.
    pub(crate) fn private(
        slots: u32,
        seats: u32,
        budget_bytes: u64,
        depth: u32,
    ) -> io::Result<Self> {
        let shape = Shape::new(slots, seats);
        let map = anonymous(shape.bytes())?;
        let base = NonNull::new(map.as_mut_ptr()).expect("a mapping has an address");
        let mut control = Self::over(base, shape, Home::Private { _map: map });
        control.inner_depth = depth;
        Ok(control.opened(budget_bytes))
    }

    fn opened(mut self, budget_bytes: u64) -> Self {
        self.birthplace = Some(Birthplace::new());
        self.budget_bytes = budget_bytes;
        self.ring().initialize();
        self.introduce();
        self
    }

    /// Parent: writes down what those who attach look for. Once more before each worker: one that
    /// went wild may have overwritten it.
    pub(crate) fn introduce(&self) {
        let header = self.header();
        header.slots.store(self.shape.slots, Ordering::Relaxed);
        header.seats.store(self.shape.seats, Ordering::Relaxed);
        header.budget_bytes.store(self.budget_bytes, Ordering::Relaxed);
        // PAIRS control-ready: whoever reads the magic word sees the counts above.
        header.magic.store(MAGIC, Ordering::Release);
    }

    /// Attaches to a segment that the parent has made. Its counts are checked against its size.
    pub(crate) fn attach(name: &SegmentName, slots: u32, seats: u32) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        if !(1..=SLOTS_MAX).contains(&slots) || !(1..=SEATS_MAX).contains(&seats) {
            return Err(invalid());
        }
        let shape = Shape::new(slots, seats);
        let segment = Segment::open(name, shape.bytes())?;
        let base = segment.as_ptr();
        let mut control = Self::over(base, shape, Home::Segment { _segment: segment });
        control.birthplace = Some(Birthplace::new());
        let header = control.header();
        // PAIRS control-ready.
        let ready = header.magic.load(Ordering::Acquire) == MAGIC
            && header.slots.load(Ordering::Relaxed) == slots
            && header.seats.load(Ordering::Relaxed) == seats;
        control.budget_bytes = control.header().budget_bytes.load(Ordering::Relaxed);
        if ready { Ok(control) } else { Err(invalid()) }
    }

    /// The same structure on the heap, for tests that run both halves as threads.
    #[cfg(any(all(test, not(loom)), fuzzing))]
    pub(crate) fn on_heap(slots: u32, seats: u32) -> Self {
        let shape = Shape::new(slots, seats);
        let mut pages = vec![Page([0; 512]); shape.bytes().div_ceil(4096)];
        let base = NonNull::new(pages.as_mut_ptr()).expect("a vector has an address").cast();
        let control = Self::over(base, shape, Home::Heap { _pages: pages });
        control.ring().initialize();
        control
    }

    /// All of it, as somebody sees it who does not know what is where.
    #[cfg(any(all(test, not(loom)), fuzzing))]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.array(0, self.shape.bytes() / size_of::<AtomicU64>())
    }

    fn over(base: NonNull<u8>, shape: Shape, home: Home) -> Self {
        assert!(base.addr().get().is_multiple_of(4096), "a mapping starts on a page");
        let budget_bytes = u64::MAX;
        Self { base, shape, budget_bytes, inner_depth: 0, birthplace: None, _home: home }
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: `over` checked the alignment, `shape.bytes()` covers the header, and all of it is
        // atomics, for which any bytes are a value and concurrent writes are allowed.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    /// Tells whether this process attached, and is not a fork of the one that did. One load.
    ///
    /// A fork shares the segment, but has only a copy of what goes with it: locks, free blocks.
    pub(crate) fn is_here(&self) -> bool {
        self.birthplace.as_ref().is_none_or(Birthplace::is_here)
    }

    /// How deep tasks are nested whose workers are threads of this process. `None`: they are
    /// processes.
    pub(crate) fn inner_depth(&self) -> Option<u32> {
        (self.inner_depth != 0).then_some(self.inner_depth)
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        self.array(self.shape.slots_at, self.shape.slots as usize)
    }

    pub(crate) fn seats(&self) -> &[Seat] {
        self.array(Shape::SEATS_AT, self.shape.seats as usize)
    }

    pub(crate) fn ring(&self) -> Ring<'_> {
        let cells = self.array::<AtomicU64>(self.shape.cells_at, self.shape.cells);
        Ring::over(cells, &self.header().front, &self.header().tail)
    }

    pub(crate) fn wake(&self) -> Wake<'_> {
        Wake::over(&self.header().beds[..], self.seats(), &self.header().ahead)
    }

    /// One of the cursors of loops. `None`: there is none of this number.
    pub(crate) fn cursor(&self, index: usize) -> Option<Cursor<'_>> {
        self.header().cursors.get(index).map(|word| Cursor::over(word))
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.header().gate
    }

    /// The bytes that all heaps together may hold, as they were when this process attached.
    pub(crate) fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// The bytes that all heaps hold together. Exact only while nobody allocates.
    pub(crate) fn held_bytes(&self) -> u64 {
        let of_workers = self.seats().iter().map(|s| s.held_bytes.load(Ordering::Relaxed));
        // An absurd count leaves no room; wrapped, it would make room for everything.
        let of_workers = of_workers.fold(0, u64::saturating_add);
        of_workers.saturating_add(self.header().parent_bytes.load(Ordering::Relaxed))
    }

    /// How many tasks the workers of all seats have finished.
    pub(crate) fn tasks_finished(&self) -> u64 {
        self.seats().iter().map(|s| s.finished.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    fn array<T>(&self, at: usize, len: usize) -> &[T] {
        debug_assert!(at.is_multiple_of(align_of::<T>()));
        debug_assert!(at + len * size_of::<T>() <= self.shape.bytes());
        // SAFETY: `shape` put the array inside the memory, which `_home` keeps alive.
        let start = unsafe { self.base.add(at) }.cast::<T>();
        // SAFETY: in bounds as above, aligned by `shape`, and made of atomics alone.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }
}
