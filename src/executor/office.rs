//! Where an executor and its supervisor meet: what the one wants, what the other reports.

use crate::control::Bell;
use crate::error::BuildError;
use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock};

/// Where the executor and its supervisor meet.
#[derive(Debug)]
pub(super) struct Office {
    state: Mutex<State>,
    changed: Condvar,
    bell: Arc<Bell>,
}

/// What the executor wants.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Orders {
    /// Run what is queued, then end.
    pub(super) closing: bool,
    /// End at once.
    pub(super) killed: bool,
    /// How many workers to keep.
    pub(super) workers: u32,
}

#[derive(Debug, Default)]
struct State {
    orders: Orders,
    pids: Vec<u32>,
    deaths: u64,
    /// `Some` once all workers were ready, or one failed to start.
    started: Option<Result<(), BuildError>>,
}

impl Office {
    /// `bell` is the supervisor's.
    pub(super) fn new(workers: u32, bell: Arc<Bell>) -> Self {
        let orders = Orders { workers, ..Orders::default() };
        let state = State { orders, ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new(), bell }
    }

    pub(super) fn orders(&self) -> Orders {
        lock(&self.state).orders
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        lock(&self.state).pids.clone()
    }

    pub(super) fn deaths(&self) -> u64 {
        lock(&self.state).deaths
    }

    pub(super) fn is_killed(&self) -> bool {
        lock(&self.state).orders.killed
    }

    /// Asks for an orderly end.
    pub(super) fn close(&self) {
        self.ask(|orders| orders.closing = true);
    }

    /// Asks for an end at once.
    pub(super) fn kill(&self) {
        self.ask(|orders| (orders.closing, orders.killed) = (true, true));
    }

    /// Asks for another number of workers.
    pub(super) fn resize(&self, workers: u32) {
        self.ask(|orders| orders.workers = workers);
    }

    /// Waits until every worker is ready, or one has failed.
    pub(super) fn wait_until_ready(&self) -> Result<(), BuildError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(result) = state.started.take() {
                state.started = Some(Ok(()));
                return result;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn ask(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut lock(&self.state).orders);
        self.bell.ring_anyway();
    }

    /// Supervisor: a worker is ready.
    pub(super) fn enlist(&self, pid: u32) {
        lock(&self.state).pids.push(pid);
    }

    /// Supervisor: a worker has ended. Only those that were not asked to are counted.
    pub(super) fn strike(&self, pid: u32, unasked: bool) {
        let mut state = lock(&self.state);
        // Threads all have the number of this process.
        if let Some(at) = state.pids.iter().position(|&other| other == pid) {
            state.pids.remove(at);
        }
        state.deaths += u64::from(unasked);
    }

    /// Tells the builder how the start went; only the first word counts.
    pub(super) fn announce(&self, result: Result<(), BuildError>) {
        lock(&self.state).started.get_or_insert(result);
        self.changed.notify_all();
    }

    pub(super) fn is_started(&self) -> bool {
        lock(&self.state).started.is_some()
    }
}
