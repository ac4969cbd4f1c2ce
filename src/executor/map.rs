//! A function over many items, as a stream of results.

mod feed;
mod flow;
mod idle;
mod parts;
mod stream;
mod watched;

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::time::Duration;

use feed::Feed;
use flow::Flow;
use parts::Course;

use super::Executor;
use super::progress::{Observer, PAUSE, Watch};
use super::trace::Lasting;
use crate::archive::{Archive, Returnable, encode};
use crate::control::Spin;
use crate::error::{ShareError, SubmitError, TaskError};
use crate::memory::Lease;
use crate::sync::{Arc, AtomicU64};
use crate::task::{
    Argument, Constants, Loss, Outcome, TaskFn, batch_code_of, entry_words_for, namer_of,
};

/// How long to wait for the end of a batch before the results of single items are asked for, and
/// items that have not begun are given to idle workers. Twice what a batch is to take.
const PATIENCE: Duration = Duration::from_micros(200);
/// The longest and the shortest that a caller spins for a result, where a core is free.
const SPIN: (Duration, Duration) = (Duration::from_micros(4), Duration::from_micros(50));

/// The results of a function over many items, in the order of the items: an iterator, and a stream.
///
/// Made by [`Executor::map`] and [`Executor::map_with`]. Items are drawn from the input in the
/// thread that asks for results, and never more than a [window](Self::window) ahead, so an endless
/// input and results larger than memory stream through. Small items are given to the workers many
/// at a time; the size of these batches follows the time that workers measure, some 100 µs a batch.
///
/// An error arrives at its item's place and ends nothing: a panic, a worker's death, an item that
/// cannot be stored each cost that one item. Dropping the map takes back what is queued; items that
/// run are left to themselves.
///
/// As a [`Stream`](futures_core::Stream) it draws from the input in the thread that polls, and is
/// woken by the executor's supervisor.
#[must_use = "a map draws no item until it is asked for results"]
pub struct Map<'e, I: Iterator, R, P: Observer = ()> {
    // In this order: what is queued is taken back first, and who watches hears of the end last.
    course: Course,
    feed: Feed<I>,
    watch: Watch<P>,
    span: Lasting,
    spin: Spin,
    /// This process is a fork, and has said so.
    forked: bool,
    _executor: PhantomData<&'e Executor>,
    _result: PhantomData<fn() -> R>,
}

// No field is pinned by a map that is.
impl<I: Iterator, R, P: Observer> Unpin for Map<'_, I, R, P> {}

impl Executor {
    /// Runs a function over many items; returns an iterator of the results, in order.
    ///
    /// `f` is what [`submit`](Self::submit) takes, with one parameter; each item is anything that
    /// is an [`Argument`]. The input may be any iterator, also one that is not `Send` or never
    /// ends.
    ///
    /// ```
    /// use wharf::{Executor, TaskError};
    ///
    /// let executor = Executor::builder().workers(2).build()?;
    /// let squares = executor.map(|x: u64| x * x, 0..1000u64);
    /// let squares = squares.collect::<Result<Vec<_>, TaskError>>()?;
    /// assert_eq!(squares[999], 998_001);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Each item ends with its own result: what [`TaskHandle::join`](crate::TaskHandle::join)
    /// returns, and [`TaskError::NotSubmitted`] for an item that cannot be stored. A function that
    /// lies in a shared library is that error once, in place of all results. An executor that is
    /// broken ends the input.
    ///
    /// # Panics
    ///
    /// Asking for results passes on panics of the input, of an item's encoding (which costs the
    /// item) and of a result's decoding. All else is as before, and may be asked for.
    pub fn map<F, M, I>(&self, f: F, items: I) -> Map<'_, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Argument>,
        F: TaskFn<M, (I::Item,)>,
    {
        self.map_with(f, (), items)
    }

    /// As [`map`](Self::map), with constant arguments, which the function takes in front of the
    /// item.
    ///
    /// They are stored once, whatever the number of items.
    ///
    /// ```
    /// use wharf::{Executor, TaskError};
    ///
    /// fn scaled(table: &[f64], factor: f64, at: u64) -> f64 {
    ///     table[at as usize] * factor
    /// }
    ///
    /// let executor = Executor::builder().workers(2).build()?;
    /// let table = executor.share(&vec![0.5; 100])?;
    /// let sum: f64 = executor.map_with(scaled, (&table, 4.0), 0..100u64).sum::<Result<_, _>>()?;
    /// assert_eq!(sum, 200.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map). Constants that cannot be stored are [`TaskError::NotSubmitted`] once,
    /// in place of all results.
    pub fn map_with<F, M, C, I>(
        &self,
        f: F,
        constants: C,
        items: I,
    ) -> Map<'_, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Argument>,
        C: Constants<I::Item>,
        F: TaskFn<M, C::Arguments>,
    {
        let name = namer_of(&f);
        let prepared = match batch_code_of::<F, M, C, I::Item>(f) {
            None => Err(SubmitError::NotInImage { task: name() }),
            Some(code) => match self.store_constants::<C, I::Item>(&constants) {
                Ok(constants) => Ok((code, constants)),
                Err(error) => Err(error.into()),
            },
        };
        let (refused, (code, constants)) = match prepared {
            Ok(prepared) => (None, prepared),
            Err(error) => (Some(error), (0, None)),
        };
        let budget_bytes = self.desk.control().budget_bytes();
        let mut course = Course {
            desk: Arc::clone(&self.desk),
            code,
            name,
            constants,
            flow: Flow::new(budget_bytes),
            parts: VecDeque::new(),
            ending: Vec::new(),
            open: 0,
            waiting: 0,
            posts: 0,
            at: 0,
            unordered: false,
            refill_at: u64::MAX,
            entry_words: entry_words_for(size_of::<<F::Output as Archive>::Archived>()),
            held_bytes: Arc::new(AtomicU64::new(0)),
            broken: false,
        };
        let items = if refused.is_some() { None } else { Some(items.into_iter()) };
        if let Some(error) = refused {
            course.refuse(error, 1);
        }
        Map {
            course,
            feed: Feed::new(items),
            watch: Watch::new((), None),
            span: Lasting::map(name),
            spin: Spin::new(SPIN.0, SPIN.1),
            forked: false,
            _executor: PhantomData,
            _result: PhantomData,
        }
    }

    fn store_constants<C: Constants<T>, T>(
        &self,
        constants: &C,
    ) -> Result<Option<Arc<Lease>>, ShareError> {
        if C::COUNT == 0 {
            return Ok(None);
        }
        let encoded = encode(
            &mut [],
            self.desk.heap().family(),
            |encoder| constants.store(encoder),
            |len| self.allocate(len),
        )?;
        let block = encoded.into_block();
        Ok(Some(Arc::new(block.expect("positions have bytes, and there is no other place"))))
    }
}

impl<'e, I: Iterator, R, P: Observer> Map<'e, I, R, P> {
    /// Returns results as they come, whatever the order of their items.
    ///
    /// A slow item then holds back no other result.
    pub fn unordered(mut self) -> Self {
        self.course.unordered = true;
        self
    }

    /// Sets how many items may be drawn whose results were not returned, at least 1.
    ///
    /// Never exceeded, to the item. Default: four batches a worker, which is four items a worker
    /// where they are not tiny; fewer while a quarter of the memory budget would not hold their
    /// results. An input that waits for results of its own needs a window that it can do with.
    pub fn window(mut self, items: usize) -> Self {
        self.course.flow.set_window(items);
        self
    }

    /// Fixes how many items are given to a worker at a time, at least 1; the window allowing.
    ///
    /// Default: as many as take some 100 µs, measured all the time.
    pub fn batch(mut self, items: usize) -> Self {
        self.course.flow.set_batch(items);
        self
    }
}

impl<I: Iterator<Item: Argument>, R, P: Observer> Map<'_, I, R, P> {
    /// Draws what the window allows, many at a time; to the last item if nothing else is to do.
    /// False: something was drawn that there is no memory for.
    fn fill(&mut self, to_the_last: bool) {
        let Self { feed, course, .. } = self;
        if course.waiting > 0 {
            course.post_waiting();
        }
        if feed.held() > 0 && !feed.give_away(course) {
            return;
        }
        course.peek();
        while feed.is_open() && !course.broken && course.waiting == 0 && feed.held() == 0 {
            let most = course.room(course.open, to_the_last);
            if most == 0 {
                return;
            }
            if let Err(panic) = feed.draw(course, most) {
                resume_unwind(panic);
            }
        }
        if course.broken {
            feed.close();
        }
    }

    /// Takes a result if there is one; draws items first if it is time to.
    fn advance(&mut self) -> Option<Result<Outcome, TaskError>> {
        if self.course.open <= self.course.refill_at || self.course.waiting > 0 {
            self.fill(false);
        }
        self.course.take()
    }

    /// Tells whether everything was drawn and returned.
    fn is_over(&self) -> bool {
        !self.feed.is_open() && self.feed.held() == 0 && self.course.is_empty()
    }

    /// Sleeps until there may be a result, or room for what waits for it.
    fn rest(&mut self) {
        if self.course.desk.has_idle_core() && self.spin.pays() {
            let course = &mut self.course;
            if self.spin.until(|| course.is_ready().then_some(())).is_some() {
                return;
            }
        }
        let desk = Arc::clone(&self.course.desk);
        let gate = desk.control().gate();
        let round = gate.announce();
        if self.stir() || gate.sleep_at_most(round, PATIENCE) {
            return;
        }
        self.course.cut();
        let round = gate.announce();
        if self.course.hasten() && !self.stir() {
            match self.watch.due() {
                None => gate.sleep(round),
                Some(left) => drop(gate.sleep_at_most(round, left)),
            }
        }
    }

    /// Draws what can be drawn. True: there may be a result to take, or there are batches that were
    /// not there before.
    fn stir(&mut self) -> bool {
        let posts = self.course.posts;
        self.fill(true);
        self.course.is_ready() || self.is_over() || self.course.posts != posts
    }

    /// The error of a fork, once.
    fn fork_error(&mut self) -> Option<TaskError> {
        self.feed.close();
        let error = Outcome::lost(Loss::Forked).to_error(self.course.name());
        (!std::mem::replace(&mut self.forked, true)).then_some(error)
    }

    fn is_here(&self) -> bool {
        self.course.desk.control().is_here()
    }
}

impl<I: Iterator<Item: Argument>, R: Returnable, P: Observer> Iterator for Map<'_, I, R, P> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.is_here() {
            return self.fork_error().map(Err);
        }
        let _entered = self.span.enter();
        // Before anything is taken: a panic of who watches costs no result.
        self.watch.look(PAUSE);
        loop {
            if let Some(taken) = self.advance() {
                self.watch.count();
                let Course { desk, name, .. } = &self.course;
                return Some(taken.and_then(|outcome| desk.value_of(&outcome, name)));
            }
            if self.is_over() {
                self.watch.end(true);
                return None;
            }
            self.rest();
            self.watch.look(PAUSE);
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Items that panic while they are encoded have no result, and a broken executor ends the
        // input.
        let open = (self.course.open + self.feed.held()) as usize;
        (self.course.open as usize, self.feed.size_most().and_then(|most| most.checked_add(open)))
    }
}

impl<I: Iterator<Item: Argument>, R: Returnable, P: Observer> FusedIterator for Map<'_, I, R, P> {}

impl<I: Iterator, R, P: Observer> fmt::Debug for Map<'_, I, R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("task", &self.course.name())
            .field("open", &self.course.open)
            .field("unordered", &self.course.unordered)
            .finish_non_exhaustive()
    }
}
