//! A batch in its worker: item after item, the result of each stored when it has ended.

use std::time::Instant;

use super::super::argument::Argument;
use super::super::frame::{Fault, Frame, Trampoline, encode_report};
use super::super::function::{TaskFn, call};
use super::super::guard::guard;
use super::super::param::ViewError;
use super::Order;
use super::arguments::Constants;
use super::entries::{ENTRY_WORDS_MAX, ENTRY_WORDS_MIN, Entries};
use crate::archive::Report;
use crate::control::{Control, Ending, ResultPlace, SPAN_MAX, Slot, Span};
use crate::error::ShareError;
use crate::memory::{Lease, LocalHeap, resolve};
use crate::sync::Arc;
use crate::sys::Image;

/// What a batch or a loop needs of the worker that runs it.
pub(crate) trait Run {
    fn control(&self) -> &Control;

    fn slot(&self) -> &Slot;

    /// The slot's words.
    fn span(&self) -> Span<'_> {
        self.slot().span()
    }

    /// How many items may be run before the worker has to leave.
    fn items_max(&self) -> u64;

    /// Lets who waits for an item look at what was stored.
    fn tell(&self);

    /// So many items were run, in place of one task.
    fn count(&self, items: u64);
}

/// The code of a batch, as workers find it. `None`: it does not lie in the main program.
pub(crate) fn batch_code_of<F, M, C, T>(_: F) -> Option<u64>
where
    F: TaskFn<M, C::Arguments>,
    C: Constants<T>,
    T: Argument,
{
    let code: Trampoline = trampoline::<F, M, C, T>;
    Image::get().offset_of(code as usize)
}

fn trampoline<F, M, C, T>(frame: &mut Frame<'_>) -> Result<(), Fault>
where
    F: TaskFn<M, C::Arguments>,
    C: Constants<T>,
    T: Argument,
{
    let nowhere = || Fault::argument(1, &ViewError::out_of_place());
    let run = frame.run().ok_or_else(nowhere)?;
    run.count(0);
    let order = Order::from_words(frame.words().ok_or_else(nowhere)?);
    let items = resolve(&order.items).ok_or_else(nowhere)?;
    let constants =
        if C::COUNT == 0 { items } else { resolve(&order.constants).ok_or_else(nowhere)? };
    let table = order.items.len.checked_sub(u64::from(order.total) * 8).ok_or_else(nowhere)?;
    // SAFETY: the parent stored the constants of a `C` and items of `T` there for this code, and
    // keeps both blocks until the task has ended.
    let frame = unsafe {
        Frame::of_items(
            (constants, order.constants.len as usize),
            (items, order.items.len as usize),
            table as usize + order.first as usize * 8,
        )
    };
    let words = order.entry_words.clamp(ENTRY_WORDS_MIN, ENTRY_WORDS_MAX);
    let entries = open(order.count.min(SPAN_MAX), words)?;
    // The block may be taken back by the parent as soon as the task has ended, not before; should
    // it come to that, this run keeps it.
    run.span().open(entries.lease().place().offset);
    let mut batch = Batch { run, frame, entries, ran: 0, current: 0 };
    let start = Instant::now();
    // A panic ends the loop within, and costs the item that it comes from.
    while let Err(report) = guard(|| batch.run_items::<F, M, C::Arguments>()) {
        batch.fail(&report);
    }
    run.span().note_elapsed(start.elapsed().as_nanos() as u64);
    run.count(batch.ran);
    Ok(())
}

/// Makes the entries, which belong to the parent from then on.
fn open(count: u32, words: usize) -> Result<Entries, Fault> {
    let local = LocalHeap::get().ok_or_else(|| Fault::result(ShareError::NotInTask))?;
    let grant = local.allocate(Entries::bytes(count, words), true).map_err(Fault::result)?;
    let entries = Entries::over(Lease::own(local.heap(), grant), count, words);
    let entries = entries.expect("the block is as long as was asked for");
    local.give(Arc::clone(entries.lease()));
    Ok(entries)
}

struct Batch<'r> {
    run: &'r dyn Run,
    frame: Frame<'r>,
    entries: Entries,
    ran: u64,
    current: u32,
}

impl Batch<'_> {
    fn run_items<F: TaskFn<M, A>, M, A>(&mut self) {
        let span = self.run.span();
        while self.ran < self.run.items_max() {
            let claim = span.claim();
            if claim.eager {
                self.run.tell();
            }
            let Some(item) = claim.item else { return };
            (self.current, self.ran) = (item, self.ran + 1);
            self.frame.turn_to(item, self.entries.inline_words());
            // SAFETY: the frame holds what was stored for this code, as `trampoline` said.
            match unsafe { call::<F, M, A>(&mut self.frame) } {
                Ok(()) => {
                    let mut place = ResultPlace::default();
                    self.frame.hand_over(&mut place);
                    self.store(Ending::Done, &place);
                }
                Err(fault) => self.fail(&fault.into_report()),
            }
        }
    }

    /// Stores what went wrong with the present item.
    fn fail(&mut self, report: &Report) {
        let place = encode_report(report, self.entries.inline_words());
        self.store(Ending::Failed, &place);
    }

    fn store(&self, ending: Ending, place: &ResultPlace) {
        if self.entries.store(self.current, ending, place) {
            return;
        }
        // What was handed over stays in the heap until this worker ends: it is larger than any.
        let error = ShareError::TooLarge { limit: u64::MAX >> 24 };
        let report = Report::Result { error };
        let place = encode_report(&report, self.entries.inline_words());
        let _ = self.entries.store(self.current, Ending::Failed, &place);
    }
}
