//! The input of a map: items are drawn in the calling thread, and stored many at a time.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::super::is_shortage;
use super::parts::Course;
use crate::archive::{Encoder, Series, encode};
use crate::error::ShareError;
use crate::memory::Lease;
use crate::sync::Arc;
use crate::task::{Argument, Desk};

/// The words of the buffer that small items are encoded into: 64 KiB.
const BUFFER_WORDS: usize = 8192;
/// A batch is given away when drawing its items has taken so long: an input may be slow.
const DRAW_MOST: Duration = Duration::from_micros(100);
/// The clock is looked at when so many items were drawn, and each time as many more.
const DRAWS_A_LOOK: usize = 16;

/// Where items come from, and those that were drawn and are not stored yet.
#[derive(Debug)]
pub(super) struct Feed<I: Iterator> {
    items: Option<I>,
    /// Items for which there was no memory; what follows comes behind them.
    pending: Option<Encoded>,
    /// An item cannot be stored.
    refused: Option<ShareError>,
    /// An item that is stored alone, straight into its block.
    large: Option<I::Item>,
    buffer: Encoded,
}

/// Encoded items in the caller's own memory.
#[derive(Debug, Default)]
struct Encoded {
    words: Vec<u64>,
    used: usize,
    positions: Vec<u64>,
    attached: Vec<Arc<Lease>>,
}

/// A panic of the input, or of an item's encoding.
pub(super) type Panic = Box<dyn Any + Send>;

/// Why no more items were drawn for a batch.
enum End {
    /// It has all that it was to have.
    Full,
    /// The input has ended.
    Exhausted,
    /// The item is in `large`.
    Large,
    Refused(ShareError),
}

impl<I: Iterator> Feed<I> {
    /// How many items there are still to draw, if the input knows.
    pub(super) fn size_exact(&self) -> Option<u64> {
        let (least, most) = self.items.as_ref().map_or((0, Some(0)), |items| items.size_hint());
        (most == Some(least)).then_some(least as u64)
    }
}

impl<I: Iterator<Item: Argument>> Feed<I> {
    pub(super) fn new(items: Option<I>) -> Self {
        Self { items, pending: None, refused: None, large: None, buffer: Encoded::default() }
    }

    /// Tells whether there may be more items.
    pub(super) fn is_open(&self) -> bool {
        self.items.is_some()
    }

    /// How many items were drawn and are not given away yet.
    pub(super) fn held(&self) -> u64 {
        let pending = self.pending.as_ref().map_or(0, |encoded| encoded.positions.len() as u64);
        pending + u64::from(self.refused.is_some()) + u64::from(self.large.is_some())
    }

    /// Draws nothing more.
    pub(super) fn close(&mut self) {
        self.items = None;
    }

    /// How many items there are still to draw, at most.
    pub(super) fn size_most(&self) -> Option<usize> {
        self.items.as_ref().map_or(Some(0), |items| items.size_hint().1)
    }

    /// Draws at most `most` items and gives them away as one batch.
    ///
    /// What was drawn before a panic is given away all the same.
    pub(super) fn draw(&mut self, course: &mut Course, most: u64) -> Result<(), Panic> {
        let Some(items) = &mut self.items else { return Ok(()) };
        let Encoded { words, positions, .. } = &mut self.buffer;
        words.resize(BUFFER_WORDS, 0);
        positions.clear();
        let mut series = Series::over(words, course.desk.heap().family());
        let start = Instant::now();
        let large = &mut self.large;
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut look = 1;
            while (positions.len() as u64) < most {
                let Some(item) = items.next() else { return End::Exhausted };
                match series.add(|encoder| item.store(encoder)) {
                    Ok(Some(at)) => positions.push(at),
                    Ok(None) => {
                        *large = Some(item);
                        return End::Large;
                    }
                    Err(error) => return End::Refused(error),
                }
                if positions.len() == look {
                    if start.elapsed() >= DRAW_MOST {
                        return End::Full;
                    }
                    look += look.min(DRAWS_A_LOOK);
                }
            }
            End::Full
        }));
        (self.buffer.used, self.buffer.attached) = series.finish();
        let ended = ended.map(|end| match end {
            End::Exhausted => self.items = None,
            End::Refused(error) => self.refused = Some(error),
            End::Full | End::Large => {}
        });
        if !self.buffer.positions.is_empty() {
            self.pending = Some(std::mem::take(&mut self.buffer));
        }
        self.give_away(course);
        ended
    }

    /// Gives away what was drawn. False: there is no memory for it now, but there may be later.
    pub(super) fn give_away(&mut self, course: &mut Course) -> bool {
        if let Some(mut encoded) = self.pending.take() {
            match encoded.store(course) {
                Ok(lease) => course.add(lease, encoded.positions.len() as u32),
                Err(error) if course.may_wait(&error) => {
                    self.pending = Some(encoded);
                    return false;
                }
                Err(error) => course.refuse(error.into(), encoded.positions.len() as u32),
            }
            // For the next batch.
            self.buffer = encoded;
        }
        if let Some(error) = self.refused.take() {
            course.refuse(error.into(), 1);
        }
        if let Some(item) = self.large.take() {
            match store_alone(&course.desk, &item) {
                Ok(lease) => course.add(lease, 1),
                Err(error) if course.may_wait(&error) => {
                    self.large = Some(item);
                    return false;
                }
                Err(error) => course.refuse(error.into(), 1),
            }
        }
        true
    }
}

impl Encoded {
    /// Copies the items into a block, with the table of their positions behind them.
    fn store(&mut self, course: &Course) -> Result<Lease, ShareError> {
        let bytes = &self.words[..self.used.div_ceil(8)];
        let len = size_of_val(bytes) + size_of_val(&self.positions[..]);
        let mut lease = allocate(&course.desk, len as u64)?;
        lease.write(0, bytes);
        lease.write(bytes.len(), &self.positions);
        Ok(lease.with_attached(std::mem::take(&mut self.attached)))
    }
}

fn store_alone<T: Argument>(desk: &Desk, item: &T) -> Result<Lease, ShareError> {
    let body = |encoder: &mut Encoder| {
        let position = item.store(encoder)?;
        encoder.words(&[position]).map(drop)
    };
    let encoded = encode(&mut [], desk.heap().family(), body, |len| allocate(desk, len))?;
    Ok(encoded.into_block().expect("a position has bytes, and there is no other place"))
}

/// Tries twice: finished tasks whose ends nobody has noticed may hold argument memory.
fn allocate(desk: &Desk, len: u64) -> Result<Lease, ShareError> {
    let heap = desk.heap();
    let grant = heap.allocate(len).map_err(ShareError::from).or_else(|error| {
        if !is_shortage(&error) {
            return Err(error);
        }
        desk.keep_finished();
        heap.allocate(len).map_err(ShareError::from)
    });
    Ok(Lease::own(heap, grant?))
}
