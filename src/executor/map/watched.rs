//! Maps that tell how far they have come.

use super::Map;
#[cfg(feature = "indicatif")]
use crate::executor::progress::Bar;
use crate::executor::progress::{Observer, Progress, Watch};

impl<'e, I: Iterator, R, P: Observer> Map<'e, I, R, P> {
    /// Calls `f` with what was done so far, in the thread that asks for results.
    ///
    /// At the beginning, ten times a second at most while results are returned, and at the end, or
    /// when the map is dropped; the last call tells of every result that was returned. `total` is
    /// known where the input knows its length (`size_hint`). As a stream, a map calls it when it is
    /// polled. Costs one look at the clock a result; a map without it has no cost.
    ///
    /// ```
    /// use wharf::{Executor, Progress, TaskError};
    ///
    /// let executor = Executor::builder().workers(2).build()?;
    /// let mut last = None;
    /// let squares = executor.map(|x: u64| x * x, 0..1000u64);
    /// let squares = squares.progress(|Progress { done, total, .. }| last = Some((done, total)));
    /// assert_eq!(squares.sum::<Result<u64, TaskError>>()?, 332_833_500);
    /// assert_eq!(last, Some((1000, Some(1000))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// A panic of `f` is passed on by whoever asks for a result, or drops the map. No result is
    /// lost by it, and more may be asked for.
    pub fn progress<F: FnMut(Progress)>(self, f: F) -> Map<'e, I, R, F> {
        self.watched_by(f)
    }

    fn watched_by<Q: Observer>(self, observer: Q) -> Map<'e, I, R, Q> {
        let Self { course, feed, span, spin, forked, _executor, _result, .. } = self;
        let total = feed.size_exact().map(|left| left + course.open);
        let watch = Watch::new(observer, total);
        Map { course, feed, watch, span, spin, forked, _executor, _result }
    }
}

#[cfg(feature = "indicatif")]
impl<'e, I: Iterator, R, P: Observer> Map<'e, I, R, P> {
    /// Draws a progress bar on standard error while results are returned, with their rate and the
    /// time left. Nothing is written where that is no terminal.
    ///
    /// The bar stays there at the end. Feature `indicatif`; it draws as often as
    /// [`progress`](Self::progress) calls.
    ///
    /// ```
    /// # use wharf::{Executor, TaskError};
    /// # let executor = Executor::builder().workers(2).build()?;
    /// let halves = executor.map(|x: f64| x / 2.0, (0..1000).map(f64::from)).progress_bar();
    /// assert_eq!(halves.sum::<Result<f64, TaskError>>()?, 249_750.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn progress_bar(self) -> Map<'e, I, R, Bar> {
        self.watched_by(Bar::ready())
    }

    /// Advances a progress bar of yours, perhaps one of several, by each result that is returned.
    ///
    /// Its length is set if it has none. Style and end are yours; it may go on with another map.
    pub fn progress_on(self, bar: &indicatif::ProgressBar) -> Map<'e, I, R, Bar> {
        self.watched_by(Bar::on(bar))
    }
}
