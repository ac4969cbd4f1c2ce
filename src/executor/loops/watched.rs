//! Loops that tell how far they have come.

use std::fmt;

use super::{All, Observed};
use crate::error::LoopError;
use crate::executor::Executor;
#[cfg(feature = "indicatif")]
use crate::executor::progress::Bar;
use crate::executor::progress::{Observer, Progress, Watch};
use crate::task::{Append, LoopArguments, TaskFn, Zip};

/// Loops over arrays with options: [`Executor::loops`].
#[must_use = "options do nothing until a loop is run with them"]
pub struct Loops<'e, P = ()> {
    executor: &'e Executor,
    observer: P,
}

impl<P> fmt::Debug for Loops<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loops").field("executor", &self.executor).finish_non_exhaustive()
    }
}

impl Executor {
    /// Runs loops over arrays with options, such as [`Loops::progress`].
    ///
    /// ```
    /// use wharf::{ChunkStart, Executor};
    ///
    /// fn count_up(out: &mut [u64], start: usize) {
    ///     out.iter_mut().zip(start..).for_each(|(x, n)| *x = n as u64);
    /// }
    ///
    /// let executor = Executor::builder().workers(2).build()?;
    /// let mut array = executor.array::<u64>(1000)?;
    /// let mut last = None;
    /// let mut loops = executor.loops().progress(|p| last = Some((p.done, p.total)));
    /// loops.fill_chunks(&mut array, 100, count_up, (ChunkStart,))?;
    /// assert_eq!(last, Some((1000, Some(1000))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn loops(&self) -> Loops<'_> {
        Loops { executor: self, observer: () }
    }
}

impl<'e, P> Loops<'e, P> {
    /// Calls `f` with how many elements, or rows, are done so far, in the thread that runs the
    /// loop.
    ///
    /// At the beginning, ten times a second at most while the caller waits, and at the end. What a
    /// worker is at counts when its chunk is done; what one had done that died is not taken back.
    /// A loop without it has no cost. With `Sequential` there is nothing between beginning and end.
    ///
    /// # Panics
    ///
    /// A panic of `f` ends the loop: workers finish the ranges that they have claimed, then it is
    /// passed on.
    pub fn progress<F: FnMut(Progress)>(self, f: F) -> Loops<'e, F> {
        Loops { executor: self.executor, observer: f }
    }

    /// Draws a progress bar on standard error for each loop, with its rate and the time left.
    /// Nothing is written where that is no terminal. Feature `indicatif`.
    #[cfg(feature = "indicatif")]
    pub fn progress_bar(self) -> Loops<'e, Bar> {
        Loops { executor: self.executor, observer: Bar::ready() }
    }

    /// Advances a progress bar of yours, perhaps one of several, by what the loops do.
    ///
    /// Its length is set if it has none. Style and end are yours.
    #[cfg(feature = "indicatif")]
    pub fn progress_on(self, bar: &indicatif::ProgressBar) -> Loops<'e, Bar> {
        Loops { executor: self.executor, observer: Bar::on(bar) }
    }
}

/// An observer that hears of one loop.
struct Lent<'o, P>(&'o mut P);

impl<P: Observer> Observer for Lent<'_, P> {
    fn begin(&mut self, total: Option<u64>) {
        self.0.begin(total);
    }

    fn hear(&mut self, progress: Progress) {
        self.0.hear(progress);
    }

    fn end(&mut self, over: bool) {
        self.0.end(over);
    }
}

impl<P: Observer> Loops<'_, P> {
    /// As [`Executor::fill_chunks`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn fill_chunks<Z, A, F, M>(
        &mut self,
        arrays: Z,
        chunk: usize,
        f: F,
        args: A,
    ) -> Result<(), LoopError>
    where
        Z: Zip<Arguments: Append<A::Arguments>>,
        A: LoopArguments,
        F: TaskFn<M, All<Z, A>, Output = ()>,
    {
        let executor = self.executor;
        self.observe(|watcher| executor.chunks(arrays, chunk, f, args, (true, watcher)))
    }

    /// As [`Executor::for_each_chunk`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn for_each_chunk<Z, A, F, M>(
        &mut self,
        arrays: Z,
        chunk: usize,
        f: F,
        args: A,
    ) -> Result<(), LoopError>
    where
        Z: Zip<Arguments: Append<A::Arguments>>,
        A: LoopArguments,
        F: TaskFn<M, All<Z, A>, Output = ()>,
    {
        let executor = self.executor;
        self.observe(|watcher| executor.chunks(arrays, chunk, f, args, (false, watcher)))
    }

    /// As [`Executor::map_reduce`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// If `combine` does.
    pub fn map_reduce<Z, F, M>(
        &mut self,
        arrays: Z,
        f: F,
        combine: impl FnMut(F::Output, F::Output) -> F::Output,
    ) -> Result<F::Output, LoopError>
    where
        Z: Zip<Arguments: Append<()>>,
        F: TaskFn<M, <Z::Arguments as Append<()>>::All>,
    {
        self.map_reduce_with(arrays, f, (), combine)
    }

    /// As [`Executor::map_reduce_with`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// If `combine` does.
    pub fn map_reduce_with<Z, A, F, M>(
        &mut self,
        arrays: Z,
        f: F,
        args: A,
        combine: impl FnMut(F::Output, F::Output) -> F::Output,
    ) -> Result<F::Output, LoopError>
    where
        Z: Zip<Arguments: Append<A::Arguments>>,
        A: LoopArguments,
        F: TaskFn<M, All<Z, A>>,
    {
        let executor = self.executor;
        self.observe(|watcher| executor.reduce(arrays, f, args, combine, watcher))
    }

    fn observe<T>(
        &mut self,
        run: impl FnOnce(Observed<'_>) -> Result<T, LoopError>,
    ) -> Result<T, LoopError> {
        if !P::LISTENS {
            return run(None);
        }
        let mut watch = Watch::new(Lent(&mut self.observer), None);
        let result = run(Some(&mut watch));
        watch.end(result.is_ok());
        result
    }
}
