//! Waiting for a task: spin where that is cheap and short, then sleep on the task's own slot.

use std::time::{Duration, Instant};

use super::desk::Desk;
use super::habits::{Habits, learn};
use super::outcome::{Loss, Outcome};
use crate::control::{Phase, Roused, Slot};
use crate::sync::{Ordering, fence};
use crate::sys::{futex_wait, ticks};

/// How long a worker that was called may take to come before another is woken.
const CALLED_MOST: Duration = Duration::from_millis(1);

/// So many tasks must be queued for each worker before a caller sleeps through the ends of short
/// ones, so that no worker runs out of them meanwhile; where the table has no room for so many,
/// half of it.
const DOZE_BACKLOG: u64 = 128;
/// So many times in a row a caller is woken for a single short task before it dozes.
const DOZE_AFTER: u32 = 8;
/// With no more tasks queued for each core, the workers may be through with them in a moment.
const CROWD_BACKLOG: u64 = 4;

impl Desk {
    /// Waits until the task ends or the deadline has passed (`None`).
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_call")]
    pub(super) fn wait(
        &self,
        index: u32,
        generation: u32,
        deadline: Option<Instant>,
    ) -> Option<Outcome> {
        if !self.control().is_here() {
            // Collecting it would take it from the process whose task it is.
            return Some(Outcome::lost(Loss::Forked));
        }
        let phase = self.phase(index, generation);
        match phase {
            Phase::Queued | Phase::Running => {
                return self.wait_long(index, generation, deadline, phase);
            }
            Phase::Finished => self.foresee_end(index),
            Phase::Gone => self.foresee_kept(index),
        }
        // A worker gone wild may have made it a running task again in between.
        let outcome = self.try_outcome(index, generation);
        outcome.or_else(|| self.wait_long(index, generation, deadline, Phase::Running))
    }

    /// As [`Desk::wait`], for a task that has not ended.
    #[inline(never)]
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_wait")]
    fn wait_long(
        &self,
        index: u32,
        generation: u32,
        deadline: Option<Instant>,
        phase: Phase,
    ) -> Option<Outcome> {
        let roused = self.woken_for(index);
        match phase {
            _ if self.is_nested() => {
                self.detach(index, generation);
                return Some(Outcome::lost(Loss::Nested));
            }
            Phase::Queued if let Some(roused) = roused => {
                if let Some(outcome) = self.spin_while_waking(index, generation, roused) {
                    return Some(outcome);
                }
            }
            _ => {
                let outcome = if self.has_idle_core() {
                    self.spin(index, generation)
                } else {
                    self.spin_in_a_crowd(index, generation, deadline)
                };
                if outcome.is_some() {
                    return outcome;
                }
                self.rouse(index, generation);
            }
        }
        if deadline.is_none()
            && let Some(outcome) = self.doze(index, generation)
        {
            return Some(outcome);
        }
        self.wait_asleep(index, generation, deadline)
    }

    #[inline(never)]
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_wait")]
    fn wait_asleep(
        &self,
        index: u32,
        generation: u32,
        deadline: Option<Instant>,
    ) -> Option<Outcome> {
        // Who was called may never come: he was stopped, or a worker gone wild has named him.
        let mut doubts = self.control().wake().relies(index);
        loop {
            let slot = &self.control().slots()[index as usize];
            let mark = slot.wait_mark(generation);
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let most = doubts.then_some(CALLED_MOST);
            let timeout = left.into_iter().chain(most).min();
            if let Ok(word) = mark
                && !self.has_ended(index, generation)
                && timeout != Some(Duration::ZERO)
            {
                step!(parent "join.marked");
                let start = ticks();
                self.sleep_on(slot, word, timeout);
                step!(parent "join.woken");
                learn(|habits| habits.slept(start));
            }
            if std::mem::take(&mut doubts)
                && self.phase(index, generation) == Phase::Queued
                && self.control().wake().rely_no_more(index)
            {
                self.control().wake().wake_one();
            }
            if let Some(outcome) = self.try_outcome(index, generation) {
                return Some(outcome);
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                return None;
            }
        }
    }

    /// Sleeps until the task ends, at most for a time, and leaves its outcome where it is. False:
    /// it may not have ended.
    pub(crate) fn ends_within(&self, index: u32, generation: u32, time: Duration) -> bool {
        self.rouse(index, generation);
        let slot = &self.control().slots()[index as usize];
        if let Ok(word) = slot.wait_mark(generation) {
            self.sleep_on(slot, word, Some(time));
        }
        self.has_ended(index, generation)
    }

    /// Sleeps on a slot whose word is so, counted among those whom a death wakes.
    fn sleep_on(&self, slot: &Slot, word: u32, timeout: Option<Duration>) {
        self.control().header().joiner.tell();
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        // PAIRS sleepers: either the supervisor sees this thread and wakes it, or the kernel sees
        // that the supervisor has changed the word.
        fence(Ordering::SeqCst);
        futex_wait(slot.futex(), word, timeout);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    #[inline(never)]
    fn spin(&self, index: u32, generation: u32) -> Option<Outcome> {
        let done = || self.has_ended(index, generation).then_some(());
        learn(|Habits { awake, patience, gather, .. }| {
            if !awake.pays() {
                return done();
            }
            let (start, slots) = (ticks(), self.control().slots().len() as u32);
            let pause = gather.pause(start, index, slots, self.behind(index));
            if pause > 0 {
                // Wrapping: a clock that goes back ends it.
                while ticks().wrapping_sub(start) < pause {
                    std::hint::spin_loop();
                }
                if done().is_some() {
                    return Some(());
                }
            }
            patience.keep();
            match done() {
                Some(()) => patience.was_rewarded(),
                None => {
                    let start = ticks();
                    awake.until(done)?;
                    patience.was_not(ticks().saturating_sub(start));
                }
            }
            Some(())
        })??;
        self.try_outcome(index, generation)
    }

    /// Spins for a moment where workers seem to have all cores, if few tasks are queued and they
    /// have been short lately: to sleep and be woken takes longer.
    ///
    /// There may be a core for it, too. A worker that another one has woken mostly is on the core
    /// of that one, behind it, and while it waits there this thread's core would be idle.
    #[inline(never)]
    fn spin_in_a_crowd(
        &self,
        index: u32,
        generation: u32,
        deadline: Option<Instant>,
    ) -> Option<Outcome> {
        let cores = u64::from(self.cores());
        if cores == 1 || deadline.is_some_and(|at| Instant::now() >= at) {
            return None;
        }
        let are_few = || self.control().ring().backlog() <= CROWD_BACKLOG * cores;
        let has_ended = || self.has_ended(index, generation);
        learn(|habits| habits.crowded.until_if(are_few, has_ended)).filter(|ended| *ended)?;
        self.try_outcome(index, generation)
    }

    /// A worker was woken for the task, and may be put on this very core: then spinning keeps it
    /// away. On a core of its own it takes its time, and this thread would as much. Among many
    /// tasks in a row the next ones find it awake if this thread is so, too.
    fn spin_while_waking(&self, index: u32, generation: u32, roused: Roused) -> Option<Outcome> {
        let has_core = self.has_idle_core();
        let is_far = || has_core && self.control().wake().is_far(roused);
        let pays =
            learn(|habits| habits.may_wait_awake(is_far) && has_core && habits.waking.pays());
        if pays == Some(true) { self.spin_for_waking(index, generation) } else { None }
    }

    /// Spins for a task whose worker is on its way.
    #[inline(never)]
    fn spin_for_waking(&self, index: u32, generation: u32) -> Option<Outcome> {
        let done = || self.has_ended(index, generation).then_some(());
        learn(|habits| habits.waking.until(done))??;
        self.try_outcome(index, generation)
    }

    /// Waits for a moment, where a sleeping worker is about to be woken, for one that is awake, or
    /// was called for the task before, to take the task. False: none has, or that is not worth
    /// trying.
    #[cold]
    pub(super) fn is_soon_taken(&self, index: u32, generation: u32, is_called: bool) -> bool {
        if !self.has_worker_and_idle_core() {
            return false;
        }
        let is_taken = || self.phase(index, generation) != Phase::Queued;
        let delayed = learn(|Habits { busy, called, .. }| {
            let delay = if is_called { called } else { busy };
            delay.until(is_taken)
        });
        delayed.unwrap_or(false)
    }

    /// Sleeps for a moment without asking to be woken, where short tasks queue up: to be woken for
    /// each of them takes more of the workers' time than the tasks do.
    ///
    /// On nothing that the task changes: who is as fast as the workers finds each task just ended
    /// when it is about to sleep on it, and pays for the attempt every time.
    fn doze(&self, index: u32, generation: u32) -> Option<Outcome> {
        let (backlog, doze) = self.may_doze(false)?;
        self.doze_for(backlog, doze, index, generation)
    }

    /// As `doze`, where that pays: so many tasks are queued.
    #[inline(never)]
    fn doze_for(
        &self,
        backlog: u64,
        doze: Duration,
        index: u32,
        generation: u32,
    ) -> Option<Outcome> {
        self.control().wake().end_nap();
        self.control().gate().doze(doze);
        let left = self.control().ring().backlog();
        let outcome = self.try_outcome(index, generation);
        match &outcome {
            Some(_) => _ = learn(|habits| habits.dozed(backlog, left)),
            None => self.dozed_in_vain(),
        }
        outcome
    }

    /// As `doze`, while the table is full or seems to be: a thread that waits for room has its
    /// tasks queued already, and loses nothing. False: few are queued.
    pub(super) fn doze_for_room(&self) -> bool {
        let Some((backlog, doze)) = self.may_doze(true) else { return false };
        self.control().wake().end_nap();
        self.control().gate().doze(doze);
        let left = self.control().ring().backlog();
        let _ = learn(|habits| habits.dozed(backlog, left));
        true
    }

    /// Sleeps until a task has ended since the gate announced this thread.
    pub(super) fn sleep_for_room(&self, round: u32) {
        let start = ticks();
        self.control().gate().sleep(round);
        let _ = learn(|habits| habits.slept(start));
    }

    /// Tells how many tasks are queued and how long to doze, if many are queued, and this thread
    /// was woken for many short tasks. Who waits for room may not have been; then half a table that
    /// is small is not enough.
    fn may_doze(&self, for_room: bool) -> Option<(u64, Duration)> {
        let (short_sleeps, doze) = learn(|habits| (habits.short_sleeps, habits.doze))?;
        let are_short = short_sleeps >= DOZE_AFTER;
        if are_short || for_room { self.are_many_queued(are_short, doze) } else { None }
    }

    /// As `may_doze`, where this thread would.
    #[inline(never)]
    fn are_many_queued(&self, are_short: bool, doze: Duration) -> Option<(u64, Duration)> {
        let backlog = self.control().ring().backlog();
        let slots = self.control().slots().len() as u64;
        let enough = DOZE_BACKLOG * u64::from(self.workers());
        let enough = if are_short { enough.min(slots / 2) } else { enough }.max(1);
        (backlog >= enough).then_some((backlog, doze))
    }

    /// Nothing has ended meanwhile.
    pub(super) fn dozed_in_vain(&self) {
        let _ = learn(Habits::dozed_in_vain);
    }

    /// If the task still waits for a worker, calls one that naps, and wakes a sleeper if one says
    /// that it searches, or was called: if that was stopped meanwhile, the task would otherwise
    /// wait for it.
    #[inline(never)]
    fn rouse(&self, index: u32, generation: u32) {
        if self.phase(index, generation) != Phase::Queued {
            return;
        }
        let wake = self.control().wake();
        wake.end_nap();
        let relied = wake.rely_no_more(index);
        if relied || wake.anyone_searches() {
            wake.wake_one();
        }
    }
}
