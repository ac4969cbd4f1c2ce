//! Giving tasks to the workers.

use super::{Executor, is_shortage};
use crate::archive::{EncodeFailure, Encoded, Encoder, encode, is_number};
use crate::control::INLINE_ARGS_WORDS;
use crate::error::{ShareError, SubmitError, TrySubmitError};
use crate::memory::Lease;
use crate::sync::Arc;
use crate::task::{Desk, TaskFn, TaskHandle, TaskOptions, Unavailable, code_of, namer_of, store};

impl Executor {
    /// Gives a task to the workers.
    ///
    /// `f` is a fn item or a closure that captures nothing, `args` a tuple of its arguments; the
    /// table at [`Argument`](crate::Argument) says what fits what. Arguments up to 128 bytes travel
    /// with the task; larger ones are archived into shared memory, once. What was passed by value
    /// is dropped before this returns, which for a large `Vec` takes as long as freeing it does.
    ///
    /// Sleeps while the task table is full of tasks that have not ended, and while the memory
    /// budget is used up by arguments of tasks under way. Costs no system call while a worker is
    /// awake.
    ///
    /// # Errors
    ///
    /// - [`SubmitError::Arguments`]: the arguments cannot be stored; the inner error says why.
    /// - [`SubmitError::NotInImage`]: the function lies in a shared library.
    /// - [`SubmitError::Nested`]: this is a task of the same executor, which could wait for itself.
    /// - [`SubmitError::Broken`]: workers cannot be started any more, or this process is a fork of
    ///   the one that built the executor; build a new one.
    pub fn submit<F, M, A>(&self, f: F, args: A) -> Result<TaskHandle<F::Output>, SubmitError>
    where
        F: TaskFn<M, A>,
    {
        self.submit_with(TaskOptions::new(), f, args)
    }

    /// As [`submit`](Self::submit), with a deadline or retries.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wharf::{Executor, TaskError, TaskOptions};
    ///
    /// fn hangs() {
    ///     loop {}
    /// }
    ///
    /// let executor = Executor::builder().workers(1).build()?;
    /// let options = TaskOptions::new().deadline(Duration::from_millis(50)).retries(2);
    /// let task = executor.submit_with(options, hangs, ())?;
    /// assert!(matches!(task.join(), Err(TaskError::DeadlineExceeded { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_with<F, M, A>(
        &self,
        options: TaskOptions,
        f: F,
        args: A,
    ) -> Result<TaskHandle<F::Output>, SubmitError>
    where
        F: TaskFn<M, A>,
    {
        let name = namer_of(&f);
        span!(TRACE "submit", task = name());
        let code = code_of(f).ok_or_else(|| SubmitError::NotInImage { task: name() })?;
        // Kept while this waits for memory: to give it back calls all who wait, this thread too.
        let refused = |unavailable| refusal(&self.desk, unavailable, name());
        let draft = self.desk.draft().map_err(refused)?;
        let (mut inline, mut announced) = ([0; INLINE_ARGS_WORDS], None);
        let encoded = loop {
            match self.store::<F, M, A>(&args, &mut inline) {
                Ok(encoded) => break encoded,
                Err(error) => announced = self.wait_for_memory(error, announced)?,
            }
        };
        if options.retries > 0 {
            self.desk.allow_retries(draft.index(), options.retries);
        }
        if let Some(limit) = options.deadline {
            self.desk.limit_calling(draft.index(), limit);
        }
        let (index, generation) =
            self.desk.post(draft, code, &inline, encoded, is_number::<F::Output>());
        let task = TaskHandle::new(Arc::clone(&self.desk), index, generation, name);
        // Not by returning: if an argument's destructor panicked then, what is about to be returned
        // would not be dropped.
        drop(args);
        Ok(match options.deadline {
            None => task,
            Some(limit) => task.deadline(limit),
        })
    }

    /// As [`submit`](Self::submit), but never sleeps: gives the arguments back instead.
    ///
    /// # Errors
    ///
    /// [`TrySubmitError::Full`] while every slot holds a task that has not ended, and
    /// [`TrySubmitError::Refused`] for what `submit` refuses, or when the budget does not hold the
    /// arguments now.
    pub fn try_submit<F, M, A>(
        &self,
        f: F,
        args: A,
    ) -> Result<TaskHandle<F::Output>, TrySubmitError<A>>
    where
        F: TaskFn<M, A>,
    {
        let name = namer_of(&f);
        span!(TRACE "submit", task = name());
        let Some(code) = code_of(f) else {
            let error = SubmitError::NotInImage { task: name() };
            return Err(TrySubmitError::Refused { args, error });
        };
        let draft = match self.desk.try_draft() {
            Ok(draft) => draft,
            Err(Unavailable::Full) => {
                let slots = self.desk.control().slots().len() as u32;
                return Err(TrySubmitError::Full { args, slots });
            }
            Err(other) => {
                let error = refusal(&self.desk, other, name());
                return Err(TrySubmitError::Refused { args, error });
            }
        };
        let mut inline = [0; INLINE_ARGS_WORDS];
        match self.store::<F, M, A>(&args, &mut inline) {
            Ok(encoded) => {
                let (index, generation) =
                    self.desk.post(draft, code, &inline, encoded, is_number::<F::Output>());
                let handle = TaskHandle::new(Arc::clone(&self.desk), index, generation, name);
                // As in `submit_with`.
                drop(args);
                Ok(handle)
            }
            Err(error) => Err(TrySubmitError::Refused { args, error: error.into() }),
        }
    }

    /// Stores the arguments.
    fn store<F: TaskFn<M, A>, M, A>(
        &self,
        args: &A,
        inline: &mut [u64; INLINE_ARGS_WORDS],
    ) -> Result<Encoded, ShareError> {
        if F::ARGUMENTS == 0 {
            return Ok(Encoded::default());
        }
        store_task(&self.desk, inline, |to| store::<F, M, A>(args, to))
    }

    /// Sleeps until a task gives argument memory back; an error where none will.
    ///
    /// The first time it only announces that this thread is going to sleep: the caller tries once
    /// more in between, so that no end of a task is missed.
    fn wait_for_memory(
        &self,
        error: ShareError,
        announced: Option<(u32, bool)>,
    ) -> Result<Option<(u32, bool)>, ShareError> {
        if !is_shortage(&error) {
            return Err(error);
        }
        let gate = self.desk.control().gate();
        match announced {
            None => {
                let round = gate.announce();
                // Looked at before the next try: whoever holds memory now may give it back by then.
                let may_come = self.desk.holds_arguments();
                self.desk.keep_finished();
                Ok(Some((round, may_come)))
            }
            Some((_, false)) => Err(error),
            Some((round, true)) => {
                gate.sleep(round);
                Ok(None)
            }
        }
    }
}

pub(super) fn refusal(desk: &Desk, unavailable: Unavailable, task: &'static str) -> SubmitError {
    match unavailable {
        Unavailable::Nested => SubmitError::Nested { task },
        Unavailable::Broken => SubmitError::Broken { reason: desk.reason() },
        Unavailable::Full => SubmitError::Broken { reason: "the task table is full".to_owned() },
    }
}

/// Encodes a task's arguments: inline where they fit, else in a block of the argument heap.
pub(super) fn store_task(
    desk: &Desk,
    inline: &mut [u64],
    body: impl Fn(&mut Encoder) -> Result<(), EncodeFailure>,
) -> Result<Encoded, ShareError> {
    let heap = desk.heap();
    encode(inline, heap.family(), body, |len| {
        Ok(Lease::own(heap, heap.allocate(len)?).calling(|| desk.has_idle_core()))
    })
}
