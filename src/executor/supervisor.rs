//! The thread that looks after the workers: starts them, hears of their ends, replaces them.
//!
//! It is not on the path of a task that goes well. It sleeps in `poll` on a bell, on each worker's
//! pidfd and on each worker's socket; everything that it does is an answer to one of them.

use std::io;
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::seat::{Plan, Process};
use crate::control::{Bell, FromWorker};
use crate::error::{BuildError, Death};
use crate::sync::{Arc, Condvar, Mutex, Ordering, PoisonError, lock};
use crate::sys::{Interest, limits_in_force, poll};
use crate::task::{Desk, Loss};

/// Starts that fail in a row, over all seats, before the executor gives up.
const FAILED_STARTS_MAX: u32 = 5;
/// The pause after a failed start; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Where the executor and its supervisor meet.
#[derive(Debug)]
pub(super) struct Office {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closing: bool,
    killed: bool,
    bell: Option<Arc<Bell>>,
    pids: Vec<u32>,
    deaths: u64,
    /// `Some` once all workers were ready, or one failed to start.
    started: Option<Result<(), BuildError>>,
}

impl Office {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        lock(&self.state).pids.clone()
    }

    pub(super) fn deaths(&self) -> u64 {
        lock(&self.state).deaths
    }

    pub(super) fn is_killed(&self) -> bool {
        lock(&self.state).killed
    }

    /// Asks for an orderly end.
    pub(super) fn close(&self) {
        self.ask(|state| state.closing = true);
    }

    /// Asks for an end at once.
    pub(super) fn kill(&self) {
        self.ask(|state| (state.closing, state.killed) = (true, true));
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

    fn ask(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        if let Some(bell) = &state.bell {
            bell.ring_anyway();
        }
    }

    /// Tells the builder how the start went; only the first word counts.
    fn announce(&self, result: Result<(), BuildError>) {
        lock(&self.state).started.get_or_insert(result);
        self.changed.notify_all();
    }

    fn is_started(&self) -> bool {
        lock(&self.state).started.is_some()
    }
}

/// Starts the supervisor. Its thread lives until the last worker has ended.
pub(super) fn start(
    desk: &Arc<Desk>,
    office: &Arc<Office>,
    plan: Plan,
) -> io::Result<JoinHandle<()>> {
    lock(&office.state).bell = Some(Arc::clone(desk.bell()));
    let seats = (0..plan.workers).map(|_| Seat::Empty { since: Instant::now() }).collect();
    let supervisor = Supervisor {
        desk: Arc::clone(desk),
        office: Arc::clone(office),
        plan,
        seats,
        failed_starts: 0,
    };
    let thread = thread::Builder::new().name("wharf-supervisor".to_owned());
    thread.spawn(move || {
        // A bug must not leave anybody waiting: the workers end with this thread, and so do the
        // tasks.
        let last_will = LastWill(Arc::clone(&supervisor.desk), Arc::clone(&supervisor.office));
        supervisor.run();
        drop(last_will);
    })
}

/// Ends all tasks if the supervisor panics.
struct LastWill(Arc<Desk>, Arc<Office>);

impl Drop for LastWill {
    fn drop(&mut self) {
        if thread::panicking() {
            let reason = "the supervisor panicked; please report this";
            self.0.give_up(Loss::Broken { reason: reason.into() });
            for seat in 0..self.0.control().seats().len() {
                self.0.bury(seat, &Loss::Broken { reason: reason.into() });
            }
            self.1.announce(Err(BuildError::Worker { seat: 0, cause: reason.to_owned() }));
        }
    }
}

struct Supervisor {
    desk: Arc<Desk>,
    office: Arc<Office>,
    plan: Plan,
    seats: Vec<Seat>,
    failed_starts: u32,
}

enum Seat {
    Empty { since: Instant },
    Taken(Process),
}

/// What woke the supervisor.
enum Event {
    Bell,
    Death(usize),
    Message(usize),
}

impl Supervisor {
    fn run(mut self) {
        loop {
            let (closing, killed) = self.read_orders();
            if killed {
                self.desk.give_up(Loss::Cancelled);
                self.processes().for_each(|process| process.pidfd.kill());
            }
            let hopeless = self.desk.broken().is_some();
            let wanted = !hopeless && (!closing || self.desk.has_queued());
            let pause = if wanted { self.fill_seats() } else { None };
            let empty = self.processes().next().is_none();
            if closing && empty && (hopeless || !self.desk.has_queued()) {
                break;
            }
            for event in self.wait(pause) {
                self.handle(event, closing);
            }
        }
        self.desk.look_around();
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.seats.iter().filter_map(|seat| match seat {
            Seat::Taken(process) => Some(process),
            Seat::Empty { .. } => None,
        })
    }

    /// What the executor wants. Closing is made known to the workers here.
    fn read_orders(&self) -> (bool, bool) {
        let state = lock(&self.office.state);
        let control = self.desk.control();
        if state.closing && control.header().closing.swap(1, Ordering::SeqCst) == 0 {
            control.wake().wake_all();
        }
        (state.closing, state.killed)
    }

    /// Starts workers on empty seats. Returns how long to wait before trying again.
    fn fill_seats(&mut self) -> Option<Duration> {
        let pause = match self.failed_starts {
            0 => Duration::ZERO,
            n => FIRST_PAUSE * 2_u32.saturating_pow(n - 1),
        };
        let mut next_try: Option<Duration> = None;
        for index in 0..self.seats.len() {
            let Seat::Empty { since } = &self.seats[index] else { continue };
            let left = pause.saturating_sub(since.elapsed());
            if !left.is_zero() {
                next_try = Some(next_try.map_or(left, |next| next.min(left)));
                continue;
            }
            match Process::start(&self.plan, &self.desk, index) {
                Ok(process) => self.seats[index] = Seat::Taken(process),
                Err(error) => {
                    self.seats[index] = Seat::Empty { since: Instant::now() };
                    self.start_failed(index, false, error);
                    return Some(FIRST_PAUSE);
                }
            }
        }
        next_try
    }

    fn wait(&self, pause: Option<Duration>) -> Vec<Event> {
        let mut events = vec![Event::Bell];
        let mut interests = vec![Interest::new(self.desk.bell().as_fd())];
        for (index, seat) in self.seats.iter().enumerate() {
            let Seat::Taken(process) = seat else { continue };
            // Messages first: a worker that failed says why before it ends.
            if let Some(socket) = &process.socket {
                events.push(Event::Message(index));
                interests.push(Interest::new(socket.as_fd()));
            }
            events.push(Event::Death(index));
            interests.push(Interest::new(process.pidfd.as_fd()));
        }
        if poll(&mut interests, pause).is_err() {
            // Out of memory for the moment; nothing that was due is lost by looking again.
            thread::yield_now();
        }
        let ready = interests.iter().map(|interest| interest.ready);
        events.into_iter().zip(ready).filter_map(|(event, ready)| ready.then_some(event)).collect()
    }

    fn handle(&mut self, event: Event, closing: bool) {
        match event {
            Event::Bell => {
                self.desk.bell().heard();
                self.desk.look_around();
            }
            Event::Message(index) => self.hear(index),
            Event::Death(index) => self.bury(index, closing),
        }
    }

    fn hear(&mut self, index: usize) {
        let Seat::Taken(process) = &mut self.seats[index] else { return };
        let Some(socket) = &process.socket else { return };
        let Ok(Some(message)) = socket.receive() else {
            // Its end shows at the pidfd; an end that is closed would keep `poll` awake.
            process.socket = None;
            return;
        };
        match FromWorker::parse(&message.bytes) {
            Some(FromWorker::Ready) => self.worker_ready(index),
            Some(FromWorker::Failed { in_start, cause }) => {
                process.failed = true;
                self.start_failed(index, in_start, cause);
            }
            Some(FromWorker::WantHeap { id }) => {
                // A worker that cannot be answered would wait for ever.
                if process.send_heap(&self.desk, id).is_err() {
                    process.pidfd.kill();
                }
            }
            None => process.pidfd.kill(),
        }
    }

    fn worker_ready(&mut self, index: usize) {
        let Seat::Taken(process) = &mut self.seats[index] else { return };
        process.ready = true;
        self.failed_starts = 0;
        lock(&self.office.state).pids.push(process.pid);
        event!("worker ready", pid = process.pid, seat = index);
        if self.processes().filter(|process| process.ready).count() == self.seats.len() {
            self.office.announce(Ok(()));
        }
    }

    fn bury(&mut self, index: usize, closing: bool) {
        // A last word may have come together with the end.
        self.hear_last_words(index);
        let empty = Seat::Empty { since: Instant::now() };
        let Seat::Taken(process) = std::mem::replace(&mut self.seats[index], empty) else { return };
        let (death, pid) = (process.bury(), process.pid);
        let left = closing && death == Death::Code(0);
        {
            let mut state = lock(&self.office.state);
            state.pids.retain(|&other| other != pid);
            state.deaths += u64::from(!left && !state.killed);
        }
        event!("worker ended", pid = pid, seat = index, death = %death);
        self.desk.bury(index, &Loss::Died { death, pid });
        if !process.ready && !process.failed && !left {
            self.start_failed(
                index,
                self.plan.start_place.is_some(),
                format!("it ended by {death}{}", limits_in_force()),
            );
        }
    }

    fn hear_last_words(&mut self, index: usize) {
        loop {
            let Seat::Taken(Process { socket: Some(socket), .. }) = &self.seats[index] else {
                return;
            };
            let mut interest = [Interest::new(socket.as_fd())];
            if poll(&mut interest, Some(Duration::ZERO)).is_err() || !interest[0].ready {
                return;
            }
            self.hear(index);
        }
    }

    /// Takes note that a worker did not come up. While building, that is the builder's error; later
    /// it is tried again, until it has failed too often.
    fn start_failed(&mut self, index: usize, in_start: bool, cause: String) {
        let seat = index as u32;
        event!("worker failed to start", seat = seat, cause = cause);
        self.failed_starts += 1;
        if !self.office.is_started() {
            self.desk.give_up(Loss::Cancelled);
            self.office.announce(Err(if in_start {
                BuildError::OnStart { seat, cause }
            } else {
                BuildError::Worker { seat, cause }
            }));
        } else if self.failed_starts >= FAILED_STARTS_MAX {
            let starts = self.failed_starts;
            let reason = format!("{starts} workers in a row did not start, the last: {cause}");
            self.desk.give_up(Loss::Broken { reason: reason.into() });
        }
    }
}
