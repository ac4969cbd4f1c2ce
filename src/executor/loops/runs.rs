//! The runs of one loop: posted, waited for, and posted again for what a dead worker had claimed.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use super::Observed;
use crate::archive::Returnable;
use crate::control::{Cursor, INLINE_ARGS_WORDS};
use crate::error::{LoopError, TaskError};
use crate::executor::progress::{PAUSE, Watcher};
use crate::executor::submit::refusal;
use crate::memory::Lease;
use crate::sync::Arc;
use crate::task::{
    CURSORLESS, Desk, LoopOrder, OwnedCursor, RangeCode, TaskHandle, TaskName, Unavailable,
};

/// How often the same range is tried, should each worker die that has claimed it.
const TRIES_MAX: u32 = 3;

/// The shape of a loop.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) units: u64,
    /// The units of a chunk.
    pub(super) chunk: u64,
    pub(super) chunks: u64,
    pub(super) name: TaskName,
    /// What a dead worker had claimed may be done again.
    pub(super) again: bool,
}

/// A loop whose arguments are stored.
#[derive(Debug)]
pub(super) struct Loop<'e> {
    desk: &'e Arc<Desk>,
    outline: Outline,
    code: RangeCode,
    args: &'e Lease,
}

/// What has come of a loop so far.
trait Progress {
    /// What a run returns that came to its end.
    type Part: Returnable;

    fn take(&mut self, part: Self::Part);

    /// The chunks that have to be done again when nobody holds any; `lost` are those of runs whose
    /// workers died.
    fn missing(&self, lost: Vec<Range<u64>>) -> Vec<Range<u64>>;

    /// Tells whether all chunks of a loop without deaths are there.
    fn is_whole(&self) -> bool;
}

/// A run that did not come to its end.
struct Failure {
    /// The chunks that it held, if it said so.
    chunks: Range<u64>,
    error: TaskError,
}

/// Counts the chunks that were done.
struct Count {
    done: u64,
    chunks: u64,
}

impl Progress for Count {
    type Part = u64;

    fn take(&mut self, done: u64) {
        self.done = self.done.wrapping_add(done);
    }

    fn missing(&self, mut lost: Vec<Range<u64>>) -> Vec<Range<u64>> {
        lost.sort_unstable_by_key(|range| range.start);
        // Two may have been about to claim the same.
        lost.dedup_by(|next, range| {
            let overlap = next.start < range.end;
            if overlap {
                range.end = range.end.max(next.end);
            }
            overlap
        });
        lost
    }

    fn is_whole(&self) -> bool {
        self.done == self.chunks
    }
}

/// Keeps a result for each chunk.
struct Parts<R>(Vec<Option<R>>);

impl<R> Progress for Parts<R>
where
    R: Returnable,
{
    type Part = (Vec<u64>, Vec<R>);

    fn take(&mut self, (chunks, values): Self::Part) {
        for (chunk, value) in chunks.into_iter().zip(values) {
            if let Some(part) = usize::try_from(chunk).ok().and_then(|at| self.0.get_mut(at)) {
                *part = Some(value);
            }
        }
    }

    fn missing(&self, _: Vec<Range<u64>>) -> Vec<Range<u64>> {
        let absent = self.0.iter().enumerate().filter(|(_, part)| part.is_none());
        absent.map(|(chunk, _)| chunk as u64..chunk as u64 + 1).collect()
    }

    fn is_whole(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }
}

impl<'e> Loop<'e> {
    pub(super) fn new(
        desk: &'e Arc<Desk>,
        outline: Outline,
        code: RangeCode,
        args: &'e Lease,
    ) -> Self {
        Self { desk, outline, code, args }
    }

    /// Runs a loop whose function returns nothing.
    pub(super) fn run(&self, watcher: Observed<'_>) -> Result<(), LoopError> {
        self.drive(&mut Count { done: 0, chunks: self.outline.chunks }, watcher)
    }

    /// Runs a loop and returns what its function returned for each chunk, in order.
    pub(super) fn collect<R: Returnable>(
        &self,
        watcher: Observed<'_>,
    ) -> Result<Vec<R>, LoopError> {
        let mut parts = Parts((0..self.outline.chunks).map(|_| None).collect());
        self.drive(&mut parts, watcher)?;
        parts.0.into_iter().collect::<Option<_>>().ok_or(LoopError::Overwritten)
    }

    /// Posts runs until all is done: for what the cursor has left, then again for what workers had
    /// claimed that died. All runs of a round have ended before the next.
    fn drive<P: Progress>(
        &self,
        progress: &mut P,
        mut watcher: Observed<'_>,
    ) -> Result<(), LoopError> {
        span!(DEBUG "loop", task = (self.outline.name)(), chunks = self.outline.chunks);
        if let Some(watcher) = &mut watcher {
            watcher.begin(self.outline.units);
        }
        let cursor = self.desk.take_cursor();
        cursor.get().begin();
        let (mut lost, mut tries) = (Vec::new(), HashMap::new());
        let mut died = false;
        loop {
            let left = cursor.get().position() < self.outline.chunks;
            let orders = if !lost.is_empty() {
                self.orders_for(&progress.missing(std::mem::take(&mut lost)))
            } else if left {
                self.orders_from(&cursor)
            } else {
                let missing = if died { progress.missing(Vec::new()) } else { Vec::new() };
                self.orders_for(&missing)
            };
            if orders.is_empty() {
                break;
            }
            for Failure { chunks, error } in self.round(&cursor, &orders, progress, &mut watcher)? {
                let retriable = self.outline.again && matches!(error, TaskError::WorkerDied { .. });
                let tried: &mut u32 = tries.entry(chunks.start).or_default();
                *tried += 1;
                if !retriable || *tried >= TRIES_MAX {
                    return Err(self.failed(&chunks, error));
                }
                died = true;
                if !chunks.is_empty() {
                    lost.push(chunks);
                }
            }
        }
        if !died && !progress.is_whole() {
            return Err(LoopError::Overwritten);
        }
        if let Some(watcher) = &mut watcher {
            watcher.reach(self.outline.units);
        }
        Ok(())
    }

    fn orders_from(&self, cursor: &OwnedCursor<'_>) -> Vec<LoopOrder> {
        let runs = u64::from(self.desk.workers()).clamp(1, self.outline.chunks);
        vec![self.order(cursor.index(), 0..self.outline.chunks, runs); runs as usize]
    }

    fn orders_for(&self, missing: &[Range<u64>]) -> Vec<LoopOrder> {
        missing.iter().map(|chunks| self.order(CURSORLESS, chunks.clone(), 1)).collect()
    }

    fn order(&self, cursor: u64, chunks: Range<u64>, runs: u64) -> LoopOrder {
        let args = self.args.place();
        LoopOrder {
            cursor,
            first: chunks.start,
            last: chunks.end,
            chunk: self.outline.chunk,
            units: self.outline.units,
            runs,
            args_heap: args.heap,
            args_offset: args.offset,
            args_len: args.len,
        }
    }

    /// Posts the orders and waits until all of them have ended.
    fn round<P: Progress>(
        &self,
        cursor: &OwnedCursor<'_>,
        orders: &[LoopOrder],
        progress: &mut P,
        watcher: &mut Observed<'_>,
    ) -> Result<Vec<Failure>, LoopError> {
        let mut runs = Runs { desk: self.desk, cursor: cursor.get(), handles: VecDeque::new() };
        for order in orders {
            if !self.post(order, &mut runs)? {
                break;
            }
        }
        let mut failures = Vec::new();
        while !runs.handles.is_empty() {
            if let Some(watcher) = watcher {
                self.attend(&runs, orders, &failures, &mut **watcher);
            }
            let Some(run) = runs.handles.pop_front() else { break };
            let (index, generation) = run.key();
            let outcome = run.join();
            step!(parent "loop.joined");
            match outcome {
                Ok(part) => {
                    progress.take(part);
                    if orders[0].cursor != CURSORLESS {
                        // Nothing is left for who has not begun.
                        runs.withdraw();
                    }
                }
                Err(error) => {
                    let chunks = self.noted(index, generation, &error);
                    failures.push(Failure { chunks, error });
                }
            }
        }
        Ok(failures)
    }

    /// Waits for the first run, and tells of what all of them have done meanwhile.
    ///
    /// They stay where they are: arrays are lent to them, and who is told may panic.
    fn attend<R: Returnable>(
        &self,
        runs: &Runs<'_, R>,
        orders: &[LoopOrder],
        failures: &[Failure],
        watcher: &mut dyn Watcher,
    ) {
        let Some(first) = runs.handles.front() else { return };
        let (index, generation) = first.key();
        let Outline { units, chunk, chunks, .. } = self.outline;
        while !self.desk.ends_within(index, generation, PAUSE) {
            // In this order: what is claimed in between is not taken for done.
            let claimed = runs.cursor.position().min(chunks);
            let undone: u64 = if orders[0].cursor == CURSORLESS {
                let open = &orders[orders.len() - runs.handles.len()..];
                open.iter().map(|order| order.last - order.first).sum()
            } else {
                let held = runs.handles.iter().map(|run| self.desk.noted_by(run.key()));
                held.map(|held| held.end.min(claimed).saturating_sub(held.start)).sum()
            };
            let lost: u64 = failures.iter().map(|f| f.chunks.end - f.chunks.start).sum();
            let done = claimed.saturating_sub(undone).saturating_sub(lost);
            watcher.reach(done.saturating_mul(chunk).min(units));
            watcher.look();
        }
    }

    /// Posts one run. False: the table is full, and others of the same loop do its work.
    fn post<R: Returnable>(
        &self,
        order: &LoopOrder,
        runs: &mut Runs<'_, R>,
    ) -> Result<bool, LoopError> {
        let is_spare = order.cursor != CURSORLESS && !runs.handles.is_empty();
        let found = if is_spare { self.desk.try_draft() } else { self.desk.draft() };
        let draft = match found {
            Ok(draft) => draft,
            Err(Unavailable::Full) => return Ok(false),
            Err(other) => return Err(refusal(self.desk, other, (self.outline.name)()).into()),
        };
        let mut words = [0; INLINE_ARGS_WORDS];
        let order = bytemuck::cast_slice::<LoopOrder, u64>(std::slice::from_ref(order));
        words[..order.len()].copy_from_slice(order);
        // No note yet.
        words[INLINE_ARGS_WORDS - 2] = u64::MAX;
        let (index, generation) = self.desk.post_run(draft, self.code.0, &words);
        step!(parent "loop.posted");
        let desk = Arc::clone(self.desk);
        runs.handles.push_back(TaskHandle::new(desk, index, generation, self.outline.name));
        Ok(true)
    }

    /// The chunks that a failed run says it held. What it says is a claim.
    fn noted(&self, index: u32, generation: u32, error: &TaskError) -> Range<u64> {
        let noted = self.desk.take_note(index, generation).unwrap_or(0..0);
        let chunks = noted.start..noted.end.min(self.outline.chunks);
        if chunks.is_empty() {
            return 0..0;
        }
        // Whoever lived to report what went wrong was at the first of them.
        let has_died = matches!(error, TaskError::WorkerDied { .. });
        if has_died { chunks } else { chunks.start..chunks.start + 1 }
    }

    fn failed(&self, chunks: &Range<u64>, error: TaskError) -> LoopError {
        let Outline { units, chunk, .. } = self.outline;
        let at = |chunks: u64| chunks.saturating_mul(chunk).min(units) as usize;
        let range =
            if chunks.is_empty() { 0..units as usize } else { at(chunks.start)..at(chunks.end) };
        LoopError::Range { range, error }
    }
}

/// Runs under way. Dropped before they have ended, by an error or a panic, they are brought to
/// their end: arrays are lent to them.
struct Runs<'l, R: Returnable> {
    desk: &'l Desk,
    cursor: Cursor<'l>,
    handles: VecDeque<TaskHandle<R>>,
}

impl<R: Returnable> Runs<'_, R> {
    /// Takes back the runs that no worker has begun.
    fn withdraw(&mut self) {
        self.handles.retain(|run| {
            let (index, generation) = run.key();
            let taken = self.desk.withdraw(index, generation);
            if taken {
                self.desk.forget_run(index, generation);
            }
            !taken
        });
    }
}

impl<R: Returnable> Drop for Runs<'_, R> {
    fn drop(&mut self) {
        if self.handles.is_empty() {
            return;
        }
        self.cursor.stop();
        self.withdraw();
        for run in self.handles.drain(..) {
            let (index, generation) = run.key();
            let _ = run.join();
            self.desk.forget_run(index, generation);
        }
    }
}
