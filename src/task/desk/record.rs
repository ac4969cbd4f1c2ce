//! What the parent remembers of each slot.

use std::mem;
use std::ops::Deref;

use super::super::batch::Batch;
use super::super::outcome::Loss;
use super::kept::Kept;
use crate::archive::Blocks;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use crate::sys::prefetch_at;

/// A record and its lock. What most tasks touch that need it lies on one cache line.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The addresses where the next outcome will be kept, and of the one that will be asked for
    /// next, to be fetched ahead. Never followed.
    end: AtomicUsize,
    front: AtomicUsize,
    record: Mutex<Record>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Entry>() == 128);

impl Deref for Entry {
    type Target = Mutex<Record>;

    fn deref(&self) -> &Mutex<Record> {
        &self.record
    }
}

impl Entry {
    /// Has the processor fetch the memory that the next outcome goes to. Of a thousand slots in
    /// turn, each has it elsewhere, and it is cold.
    pub(super) fn foresee_keeping(&self) {
        prefetch_at(self.end.load(Ordering::Relaxed));
    }

    /// As [`Entry::foresee_keeping`], the outcome that is asked for next.
    pub(super) fn foresee_taking(&self) {
        prefetch_at(self.front.load(Ordering::Relaxed));
    }

    /// Notes what was kept or taken.
    pub(super) fn note(&self, record: &Record) {
        self.end.store(record.kept.end(), Ordering::Relaxed);
        self.front.store(record.kept.front(), Ordering::Relaxed);
    }
}

/// What the parent remembers of a slot.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Something may stand in `marks`.
    is_marked: bool,
    /// Outcomes of earlier generations whose handles have not asked yet.
    pub(super) kept: Kept,
    marks: Marks,
}

/// What only some tasks have.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The memory of the task's arguments, kept until it has ended.
    pub(super) held: Option<Box<Blocks>>,
    /// What the task runs, if it is a batch.
    pub(super) batch: Option<Arc<Batch>>,
    /// Why the task of this generation was lost.
    pub(super) loss: Option<Box<(u32, Loss)>>,
    /// How often the task may still be run again after its worker has died.
    pub(super) retries: u32,
    /// The task is part of a loop: if it fails, its note is wanted.
    pub(super) is_run: bool,
}

impl Record {
    /// The marks, to be written.
    pub(super) fn mark(&mut self) -> &mut Marks {
        self.is_marked = true;
        &mut self.marks
    }

    /// Why the task was lost, if somebody has said so.
    pub(super) fn loss(&self) -> Option<&(u32, Loss)> {
        self.marks.loss.as_deref()
    }

    pub(super) fn retries(&self) -> u32 {
        self.marks.retries
    }

    pub(super) fn holds_arguments(&self) -> bool {
        self.marks.held.is_some()
    }

    /// Takes all marks off; what they hold is dropped with them.
    pub(super) fn take_marks(&mut self) -> Option<Marks> {
        mem::take(&mut self.is_marked).then(|| mem::take(&mut self.marks))
    }
}
