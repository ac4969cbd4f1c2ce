//! Loops over arrays: one description for all chunks, from which workers claim ranges.

mod runs;
mod watched;

use super::Executor;
use super::progress::Watcher;
use crate::archive::{Encoder, encode};
use crate::error::{LoopError, SubmitError};
use crate::memory::Lease;
use crate::task::{
    Append, LoopArguments, TaskFn, Zip, fill_code, name_of, namer_of, reduce_code, store,
};
use runs::{Loop, Outline};
pub use watched::Loops;

/// The parts that a reduction is cut into, at most: enough for each worker to have many.
const PARTS_MAX: u64 = 512;
/// The bytes of a part, at least: what one worker reads in some microseconds.
const PART_BYTES_MIN: u64 = 16 << 10;

/// The arguments of a loop's function: the arrays that are cut, then the others.
type All<Z, A> = <<Z as Zip>::Arguments as Append<<A as LoopArguments>::Arguments>>::All;

/// Who watches a loop, if somebody does.
type Observed<'w> = Option<&'w mut dyn Watcher>;

impl Executor {
    /// Fills arrays in place: workers call `f` for one chunk after the other, and nothing is copied
    /// in or out.
    ///
    /// `arrays` are cut in step into chunks of `chunk` elements (the last may be shorter): `&mut
    /// array` to be written, `&array` to be read, up to four as a tuple. `f` takes a slice of each,
    /// then `args`, which each call sees whole.
    ///
    /// Waits until all is done. Costs a few microseconds besides the work; chunks are claimed
    /// from a shared counter, so that small ones cost little. For no elements nothing is called.
    ///
    /// If a worker dies, what it had claimed is done again by another: `f` may find a chunk of
    /// which part was written already. Where it may not, because it reads what it overwrites, use
    /// [`for_each_chunk`](Self::for_each_chunk).
    ///
    /// ```
    /// use wharf::{ChunkStart, Executor};
    ///
    /// fn axpy(y: &mut [f64], x: &[f64], start: usize, a: f64) {
    ///     for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
    ///         *y = a * x + (start + i) as f64;
    ///     }
    /// }
    ///
    /// let executor = Executor::builder().workers(2).build()?;
    /// let x = executor.array_from(&[1.0; 1000])?;
    /// let mut y = executor.array::<f64>(1000)?;
    /// executor.fill_chunks((&mut y, &x), 100, axpy, (ChunkStart, 2.0))?;
    /// assert_eq!((y[0], y[999]), (2.0, 1001.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`LoopError::Range`]: `f` panicked, or killed its worker again and again; the error names
    ///   the elements.
    /// - [`LoopError::Lengths`], [`LoopError::Rows`], [`LoopError::EmptyChunk`]: the arrays cannot
    ///   be cut so.
    /// - [`LoopError::Refused`]: as [`submit`](Self::submit)'s.
    /// - [`LoopError::Overwritten`]: a worker went wild.
    pub fn fill_chunks<Z, A, F, M>(
        &self,
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
        self.chunks(arrays, chunk, f, args, (true, None))
    }

    /// Calls `f` for one chunk after the other: to update arrays in place, or for what it does
    /// besides. No chunk is ever done twice.
    ///
    /// Arrays and arguments are as for [`fill_chunks`](Self::fill_chunks).
    ///
    /// ```
    /// # use wharf::Executor;
    /// # let executor = Executor::builder().workers(1).build()?;
    /// let mut x = executor.array::<u64>(10)?;
    /// executor.for_each_chunk(&mut x, 4, |x: &mut [u64], by: u64| x[0] += by, (5u64,))?;
    /// assert_eq!(x[..], [5, 0, 0, 0, 5, 0, 0, 0, 5, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As `fill_chunks`; [`LoopError::Range`] also names what a worker had claimed that died.
    pub fn for_each_chunk<Z, A, F, M>(
        &self,
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
        self.chunks(arrays, chunk, f, args, (false, None))
    }

    /// Calls `f` for parts of the arrays and combines what it returns, always in the same order.
    ///
    /// How the arrays are cut, and which results are combined with which, follows from their
    /// length alone: floating-point results do not depend on the number of workers, nor on timing.
    /// `combine` runs in the calling thread, some hundred times at most. Arrays without elements
    /// are one empty part.
    ///
    /// If a worker dies, what it had done is done again by another.
    ///
    /// ```
    /// # use wharf::Executor;
    /// # let executor = Executor::builder().workers(2).build()?;
    /// fn sum(x: &[f64]) -> f64 {
    ///     x.iter().sum()
    /// }
    ///
    /// let x = executor.array_from(&[0.5; 10_000])?;
    /// assert_eq!(executor.map_reduce(&x, sum, |a, b| a + b)?, 5000.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`fill_chunks`](Self::fill_chunks).
    ///
    /// # Panics
    ///
    /// If `combine` does.
    pub fn map_reduce<Z, F, M>(
        &self,
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

    /// As [`map_reduce`](Self::map_reduce); each call of `f` also sees `args`, whole.
    ///
    /// # Errors
    ///
    /// As [`fill_chunks`](Self::fill_chunks).
    ///
    /// # Panics
    ///
    /// If `combine` does.
    pub fn map_reduce_with<Z, A, F, M>(
        &self,
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
        self.reduce(arrays, f, args, combine, None)
    }

    fn reduce<Z, A, F, M>(
        &self,
        arrays: Z,
        f: F,
        args: A,
        combine: impl FnMut(F::Output, F::Output) -> F::Output,
        watcher: Observed<'_>,
    ) -> Result<F::Output, LoopError>
    where
        Z: Zip<Arguments: Append<A::Arguments>>,
        A: LoopArguments,
        F: TaskFn<M, All<Z, A>>,
    {
        let units = arrays.units()? as u64;
        let bytes = units.saturating_mul(arrays.unit_bytes() as u64);
        let parts = (bytes / PART_BYTES_MIN).clamp(1, PARTS_MAX).min(units.max(1));
        let chunk = units.div_ceil(parts).max(1);
        let chunks = units.div_ceil(chunk).max(1);
        let code = reduce_code(f).ok_or_else(|| not_in_image(&f))?;
        let outline = Outline { units, chunk, chunks, name: namer_of(&f), again: true };
        let args = self.store_arguments::<F, M, _, _>(arrays, args)?;
        let parts = Loop::new(&self.desk, outline, code, &args).collect::<F::Output>(watcher)?;
        Ok(combine_pairs(parts, combine))
    }

    fn chunks<Z, A, F, M>(
        &self,
        arrays: Z,
        chunk: usize,
        f: F,
        args: A,
        (again, watcher): (bool, Observed<'_>),
    ) -> Result<(), LoopError>
    where
        Z: Zip<Arguments: Append<A::Arguments>>,
        A: LoopArguments,
        F: TaskFn<M, All<Z, A>, Output = ()>,
    {
        let (units, chunk) = (arrays.units()? as u64, chunk as u64);
        if chunk == 0 {
            return Err(LoopError::EmptyChunk);
        }
        let code = fill_code(f).ok_or_else(|| not_in_image(&f))?;
        let chunks = units.div_ceil(chunk);
        let outline = Outline { units, chunk, chunks, name: namer_of(&f), again };
        let args = self.store_arguments::<F, M, _, _>(arrays, args)?;
        Loop::new(&self.desk, outline, code, &args).run(watcher)
    }

    /// Stores the arguments of a loop's function in the argument heap, whatever their size.
    fn store_arguments<F, M, Z, A>(&self, arrays: Z, args: A) -> Result<Lease, LoopError>
    where
        Z: Zip<Arguments: Append<A::Arguments>>,
        A: LoopArguments,
        F: TaskFn<M, All<Z, A>>,
    {
        let args = arrays.into_arguments().append(args.into_arguments());
        let body = |encoder: &mut Encoder| store::<F, M, _>(&args, encoder);
        let encoded = encode(&mut [], self.desk.heap().family(), body, |len| self.allocate(len));
        let encoded = encoded.map_err(SubmitError::from)?;
        Ok(encoded.into_block().expect("there is an array at least, and so a block"))
    }
}

fn not_in_image<F>(f: &F) -> SubmitError {
    SubmitError::NotInImage { task: name_of(f) }
}

/// Combines neighbours, then neighbours of what came of that, until one is left.
fn combine_pairs<R>(mut parts: Vec<R>, mut combine: impl FnMut(R, R) -> R) -> R {
    while parts.len() > 1 {
        let mut rest = parts.into_iter();
        let mut combined = Vec::with_capacity(rest.len().div_ceil(2));
        while let Some(left) = rest.next() {
            combined.push(match rest.next() {
                Some(right) => combine(left, right),
                None => left,
            });
        }
        parts = combined;
    }
    parts.pop().expect("a loop has a part at least")
}
