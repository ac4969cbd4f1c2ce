//! The line to the parent: tells a worker that it is alone, and fetches heaps of other workers.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use memmap2::MmapRaw;

use super::serve::EXIT_ORPHAN;
use crate::control::{FromParent, FromWorker};
use crate::memory::{self, Access};
use crate::sync::{AtomicUsize, Condvar, Mutex, OnceLock, Ordering, PoisonError, lock};
use crate::sys::{self, Interest, ParentDeath, SegmentName, Socket, poll};

/// Heaps of other workers that stay mapped from one task to the next. Those of dead workers are
/// among them, so that what is mapped stays bounded.
const FOREIGN_HEAPS_MAX: usize = 64;

static LINE: OnceLock<Lifeline> = OnceLock::new();

/// The worker's socket, and what came over it.
#[derive(Debug)]
pub(super) struct Lifeline {
    socket: Socket,
    segment: SegmentName,
    foreign: Mutex<Foreign>,
    arrived: Condvar,
    mapped: AtomicUsize,
}

#[derive(Debug, Default)]
struct Foreign {
    heaps: HashMap<u64, MmapRaw>,
    /// The argument heap, from the first task on that writes to it.
    arguments: Option<(u64, MmapRaw)>,
    /// Heaps that were asked for and cannot be had.
    refused: HashSet<(u64, Access)>,
}

impl Lifeline {
    pub(super) fn install(socket: Socket, segment: SegmentName) -> &'static Self {
        LINE.get_or_init(|| Self {
            socket,
            segment,
            foreign: Mutex::default(),
            arrived: Condvar::new(),
            mapped: AtomicUsize::new(0),
        })
    }

    pub(super) fn get() -> &'static Self {
        LINE.get().expect("`run` installs the lifeline before anything else runs")
    }

    /// Sends a message. A parent that cannot be told is gone, and so are we.
    pub(super) fn tell(&self, message: &FromWorker) {
        if self.socket.send(&message.to_bytes(), &[]).is_err() {
            self.leave();
        }
    }

    /// Takes the segment's name away, so that nothing is left, and ends the process.
    fn leave(&self) -> ! {
        step!(worker "orphan.alone");
        let _ = sys::unlink(&self.segment);
        step!(worker "orphan.unlinked");
        sys::exit_now(EXIT_ORPHAN)
    }

    fn take(&self, message: FromParent, fds: Vec<OwnedFd>) {
        let mut foreign = lock(&self.foreign);
        match message {
            FromParent::Heap { id, writable, bytes } => {
                let access = if writable { Access::Write } else { Access::Read };
                // Asked for by two threads at once: the first mapping is in use.
                if !foreign.has(id, access) {
                    let map =
                        fds.first().and_then(|fd| sys::reserve(fd.as_fd(), bytes, writable).ok());
                    let base = map.as_ref().and_then(|map| NonNull::new(map.as_mut_ptr()));
                    match map.zip(base) {
                        Some((map, base)) => {
                            memory::register(id, access, base, bytes);
                            step!(worker "fetch.mapped");
                            foreign.keep(id, access, map);
                            self.mapped.store(foreign.heaps.len(), Ordering::Relaxed);
                        }
                        None => drop(foreign.refused.insert((id, access))),
                    }
                }
            }
            FromParent::NoHeap { id, writable } => {
                let access = if writable { Access::Write } else { Access::Read };
                foreign.refused.insert((id, access));
            }
            FromParent::Hello(_) => {}
        }
        self.arrived.notify_all();
    }
}

impl Foreign {
    fn has(&self, id: u64, access: Access) -> bool {
        match access {
            Access::Read => self.heaps.contains_key(&id),
            Access::Write => self.arguments.as_ref().is_some_and(|(heap, _)| *heap == id),
        }
    }

    fn keep(&mut self, id: u64, access: Access, map: MmapRaw) {
        match access {
            Access::Read => drop(self.heaps.insert(id, map)),
            Access::Write => self.arguments = Some((id, map)),
        }
    }
}

/// Watches the parent for as long as the process lives. Runs on the main thread.
pub(super) fn hold(line: &Lifeline, death: ParentDeath) -> ! {
    loop {
        let mut interests = [Interest::new(line.socket.as_fd()), Interest::new(death.as_fd())];
        if poll(&mut interests, None).is_err() || interests[1].ready {
            line.leave();
        }
        if interests[0].ready {
            match line.socket.receive() {
                Ok(Some(message)) => {
                    if let Some(parsed) = FromParent::parse(&message.bytes) {
                        line.take(parsed, message.fds);
                    }
                }
                Ok(None) | Err(_) => line.leave(),
            }
        }
    }
}

/// Asks the parent for a heap and waits for it. False: there is none, or it cannot be mapped.
pub(super) fn fetch(id: u64, access: Access) -> bool {
    let line = Lifeline::get();
    let mut foreign = lock(&line.foreign);
    // Each who asks gets an answer of his own, so none that was there before is needed.
    foreign.refused.remove(&(id, access));
    line.tell(&FromWorker::WantHeap { id, writable: access == Access::Write });
    step!(worker "fetch.asked");
    loop {
        if foreign.has(id, access) {
            return true;
        }
        if foreign.refused.contains(&(id, access)) {
            return false;
        }
        foreign = line.arrived.wait(foreign).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Unmaps other workers' heaps when there are too many. Between tasks, when nothing refers to them.
pub(super) fn forget_old_heaps() {
    let line = Lifeline::get();
    if line.mapped.load(Ordering::Relaxed) > FOREIGN_HEAPS_MAX {
        forget_heaps(line);
    }
}

/// Unmaps other workers' heaps.
#[cold]
fn forget_heaps(line: &Lifeline) {
    let mut foreign = lock(&line.foreign);
    for (id, map) in foreign.heaps.drain() {
        memory::unregister(id);
        drop(map);
    }
    line.mapped.store(0, Ordering::Relaxed);
}
