//! A worker's part of a loop: claims ranges of chunks and calls the function for each chunk.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::cut::InLoop;
use crate::control::{Cursor, INLINE_ARGS_WORDS, NOTED_ARGS_WORDS};
use crate::memory::{Place, resolve};
use crate::sys::Image;
use crate::task::batch::Run;
use crate::task::frame::{Fault, Frame, Trampoline};
use crate::task::function::TaskFn;
use crate::task::param::ViewError;

/// In place of a cursor: the run has a range of its own.
pub(crate) const CURSORLESS: u64 = u64::MAX;

/// What a run of a loop is to do. Travels in its slot.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct LoopOrder {
    /// Which cursor to claim from, or `CURSORLESS`.
    pub(crate) cursor: u64,
    /// The chunks of the loop; without a cursor, those of this run.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The units of a chunk, and of the whole loop.
    pub(crate) chunk: u64,
    pub(crate) units: u64,
    /// How many runs the loop has.
    pub(crate) runs: u64,
    /// The arguments of the function.
    pub(crate) args_heap: u64,
    pub(crate) args_offset: u64,
    pub(crate) args_len: u64,
}

impl LoopOrder {
    /// The words that it takes.
    pub(crate) const WORDS: usize = size_of::<Self>() / 8;
}

const _: () = assert!(LoopOrder::WORDS <= NOTED_ARGS_WORDS);

/// The code of a loop's run, as the workers find it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangeCode(pub(crate) u64);

/// The code of runs that call a function for its effects. `None`: not in the main program.
pub(crate) fn fill_code<F: TaskFn<M, A, Output = ()>, M, A>(_: F) -> Option<RangeCode> {
    code_at(fill::<F, M, A>)
}

/// The code of runs that return what the function returned for each chunk.
pub(crate) fn reduce_code<F: TaskFn<M, A>, M, A>(_: F) -> Option<RangeCode> {
    code_at(reduce::<F, M, A>)
}

fn code_at(code: Trampoline) -> Option<RangeCode> {
    Image::get().offset_of(code as usize).map(RangeCode)
}

/// Returns how many chunks it has done.
fn fill<F: TaskFn<M, A, Output = ()>, M, A>(frame: &mut Frame<'_>) -> Result<(), Fault> {
    span!(TRACE "task", name = std::any::type_name::<F>());
    let mut done = 0u64;
    run(frame, |_, inner| {
        // SAFETY: the loop stored the arguments for this function.
        unsafe { F::value(inner) }?;
        done += 1;
        Ok(())
    })?;
    frame.store_result(&done)
}

/// Returns the chunks that it has done, and the result of each.
fn reduce<F: TaskFn<M, A>, M, A>(frame: &mut Frame<'_>) -> Result<(), Fault> {
    span!(TRACE "task", name = std::any::type_name::<F>());
    let (mut chunks, mut values) = (Vec::new(), Vec::new());
    run(frame, |chunk, inner| {
        // SAFETY: the loop stored the arguments for this function.
        values.push(unsafe { F::value(inner) }?);
        chunks.push(chunk);
        Ok(())
    })?;
    frame.store_result(&(chunks, values))
}

/// Ends the loop if the run does not come to its end: by a fault, or by a panic that unwinds.
struct StopUnlessDone<'c>(Option<Cursor<'c>>);

impl Drop for StopUnlessDone<'_> {
    fn drop(&mut self) {
        if let Some(cursor) = self.0 {
            cursor.stop();
        }
    }
}

fn run<'w>(
    frame: &mut Frame<'w>,
    mut call: impl FnMut(u64, &mut Frame<'w>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let misplaced = || Fault::argument(0, &ViewError::out_of_place());
    let run: &dyn Run = frame.run().ok_or_else(misplaced)?;
    let words = frame.words::<INLINE_ARGS_WORDS>().ok_or_else(misplaced)?;
    let order: LoopOrder = bytemuck::cast_slice(&words[..LoopOrder::WORDS])[0];
    let (control, slot) = (run.control(), run.slot());
    let args = Place { heap: order.args_heap, offset: order.args_offset, len: order.args_len };
    let start = resolve(&args).ok_or_else(misplaced)?;
    // SAFETY: the loop stored the function's arguments there and keeps them until its last run has
    // ended; `resolve` found all of them.
    let mut inner = unsafe { Frame::new(start, order.args_len as usize, Some(run)) };
    let in_loop = InLoop::enter();
    let mut do_range = |chunks: Range<u64>| {
        for chunk in chunks {
            let start = chunk * order.chunk;
            in_loop.set_chunk(start..(start + order.chunk).min(order.units));
            call(chunk, &mut inner)?;
            step!(worker "loop.called");
            slot.note_progress(chunk + 1);
        }
        Ok(())
    };
    if order.cursor == CURSORLESS {
        slot.note_range(order.first..order.last);
        return do_range(order.first..order.last);
    }
    let cursor = control.cursor(order.cursor as usize).ok_or_else(misplaced)?;
    let mut stop = StopUnlessDone(Some(cursor));
    while let Some(chunks) = cursor.claim(order.last, order.runs, slot) {
        do_range(chunks)?;
    }
    stop.0 = None;
    Ok(())
}
