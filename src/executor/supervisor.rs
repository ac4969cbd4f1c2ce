//! The thread that looks after the workers: starts them, hears of their ends, replaces them.
//!
//! It is not on the path of a task that goes well. It sleeps in `poll` on a bell, on each worker's
//! pidfd and on each worker's socket; everything that it does is an answer to one of them, or to a
//! task's deadline.

mod starting;
mod stopped;

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

pub(super) use starting::Starting;

use super::breaker::Breaker;
use super::launch::{Launched, Refused};
use super::office::{Office, Orders};
use super::seat::{Plan, Process};
use crate::control::FromWorker;
use crate::error::{BuildError, Death};
use crate::sync::{Arc, Ordering};
use crate::sys::{Interest, limits_in_force, poll};
use crate::task::{Desk, Loss};

/// Messages of a dead worker that are listened to: it may have said why it could not start.
const LAST_WORDS_MAX: u32 = 16;
/// While the executor starts or closes and nothing goes on, how often the workers are looked after:
/// one may be stopped, and one that went wild may have taken back the word that it closes.
const ROUND: Duration = Duration::from_secs(1);

struct Supervisor {
    desk: Arc<Desk>,
    office: Arc<Office>,
    plan: Plan,
    /// Processes that were started before there was a seat for them.
    launched: IntoIter<Launched>,
    seats: Vec<Seat>,
    /// The first so many seats are to be taken.
    workers: usize,
    breaker: Breaker,
    /// How many tasks were finished when `has_progressed` was last asked.
    finished: u64,
}

enum Seat {
    /// To be filled.
    Empty {
        since: Instant,
    },
    Taken(Process),
    /// Not to be filled: beyond the number of workers, or nobody was needed.
    Vacant,
}

impl Seat {
    fn empty() -> Self {
        Self::Empty { since: Instant::now() }
    }
}

/// What woke the supervisor.
enum Event {
    Bell,
    Death(usize),
    Message(usize),
}

impl Supervisor {
    fn new(desk: &Arc<Desk>, office: &Arc<Office>, plan: Plan) -> Self {
        let workers = office.orders().workers as usize;
        let seat = |index| if index < workers { Seat::empty() } else { Seat::Vacant };
        Self {
            desk: Arc::clone(desk),
            office: Arc::clone(office),
            plan,
            launched: Vec::new().into_iter(),
            seats: (0..desk.control().seats().len()).map(seat).collect(),
            workers,
            breaker: Breaker::default(),
            finished: 0,
        }
    }

    /// Works until the executor closes. `launched` are the first workers, if they are processes.
    fn run(mut self, launched: Result<Vec<Launched>, Refused>) {
        match launched {
            Ok(launched) => self.launched = launched.into_iter(),
            Err(Refused { seat, cause }) => self.start_failed(seat, false, cause),
        }
        loop {
            let orders = self.office.orders();
            self.make_known(orders);
            if orders.killed {
                self.desk.give_up(Loss::Cancelled);
            }
            if orders.killed || self.desk.is_spoiled() {
                self.processes().for_each(Process::kill);
            }
            let (alarm, waits_long) = self.desk.check_deadlines();
            if waits_long {
                self.end_stopped();
            }
            self.kill_condemned();
            let vacant = self.note_vacancies();
            let queued = if orders.closing || vacant { self.desk.count_queued() } else { 0 };
            let hopeless = self.desk.is_broken();
            let wanted = !hopeless && (!orders.closing || queued > 0);
            let pause = if wanted { self.fill_seats(queued) } else { None };
            let empty = self.processes().next().is_none();
            if orders.closing && empty && (hopeless || self.desk.count_queued() == 0) {
                break;
            }
            let started = self.office.is_started();
            let round = (orders.closing || !started).then_some(ROUND);
            let events = self.wait([pause, alarm, round].into_iter().flatten().min());
            if orders.closing && events.is_empty() && !self.has_progressed() {
                self.desk.set_right();
                self.desk.control().wake().wake_all();
                self.end_stopped();
            }
            if !started && events.is_empty() {
                self.end_stopped();
            }
            for event in events {
                self.handle(event, orders.closing);
            }
        }
        Launched::end_all(self.launched);
        self.desk.settle();
        step!(parent "closing.settled");
    }

    /// Tells whether tasks were finished since this was last asked.
    fn has_progressed(&mut self) -> bool {
        let finished = self.desk.control().tasks_finished();
        std::mem::replace(&mut self.finished, finished) != finished
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.seats.iter().filter_map(|seat| match seat {
            Seat::Taken(process) => Some(process),
            Seat::Empty { .. } | Seat::Vacant => None,
        })
    }

    /// Tells the workers what the executor wants of them.
    fn make_known(&mut self, orders: Orders) {
        let control = self.desk.control();
        if orders.closing && control.header().closing.swap(1, Ordering::SeqCst) == 0 {
            step!(parent "closing.set");
            control.wake().wake_all();
        }
        let workers = orders.workers as usize;
        if workers == self.workers {
            return;
        }
        self.workers = workers;
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let stays = index < workers;
            control.seats()[index].leave.store(u32::from(!stays), Ordering::SeqCst);
            match seat {
                Seat::Vacant if stays => *seat = Seat::empty(),
                Seat::Empty { .. } if !stays => *seat = Seat::Vacant,
                _ => {}
            }
        }
        control.wake().wake_all();
    }

    /// Kills the workers whose tasks are cancelled or over their time. No other task is theirs: who
    /// finishes a task that was taken from it begins none.
    fn kill_condemned(&self) {
        for index in self.desk.condemned() {
            if let Some(Seat::Taken(process)) = self.seats.get(index) {
                process.kill();
                step!(parent "doom.killed");
            }
        }
    }

    /// Tells whether workers have left for want of work. Who pushes a task from here on rings then.
    fn note_vacancies(&self) -> bool {
        let seats = self.seats[..self.workers].iter();
        let vacant = seats.filter(|seat| matches!(seat, Seat::Vacant)).count();
        self.desk.set_vacant(vacant as u32);
        vacant > 0
    }

    /// Starts workers on empty seats, and on vacant ones if tasks are queued. Returns how long to
    /// wait before trying again.
    fn fill_seats(&mut self, queued: usize) -> Option<Duration> {
        let starting = self.processes().filter(|process| !process.ready).count();
        let vacant = self.seats[..self.workers].iter_mut();
        vacant
            .filter(|seat| matches!(seat, Seat::Vacant))
            .take(queued.saturating_sub(starting))
            .for_each(|seat| *seat = Seat::empty());
        let pause = self.breaker.pause();
        let mut next_try: Option<Duration> = None;
        for index in 0..self.workers {
            let Seat::Empty { since } = &self.seats[index] else { continue };
            let left = pause.saturating_sub(since.elapsed());
            if !left.is_zero() {
                next_try = Some(next_try.map_or(left, |next| next.min(left)));
                continue;
            }
            match Process::start(&self.plan, &self.desk, index, self.launched.next()) {
                Ok(process) => self.seats[index] = Seat::Taken(process),
                Err(error) => {
                    self.seats[index] = Seat::empty();
                    self.start_failed(index, false, error);
                    return Some(self.breaker.pause());
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
            if !process.mute {
                events.push(Event::Message(index));
                interests.push(Interest::new(process.socket.as_fd()));
            }
            events.push(Event::Death(index));
            interests.push(Interest::new(process.end()));
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
        let parsed = match process.socket.receive() {
            Ok(Some(message)) => FromWorker::parse(&message.bytes),
            Ok(None) | Err(_) => None,
        };
        let is_new = !process.ready && !process.failed;
        match parsed {
            Some(FromWorker::Ready) if is_new => self.worker_ready(index),
            Some(FromWorker::Failed { in_start, cause }) if is_new => {
                process.failed = true;
                self.start_failed(index, in_start, cause);
            }
            Some(FromWorker::Leaving { idle }) => process.leaving = Some(idle),
            Some(FromWorker::WantHeap { id, writable }) => {
                // A worker that cannot be answered would wait for ever.
                if process.send_heap(&self.desk, id, writable).is_err() {
                    process.kill();
                }
            }
            // It has left, and is not harmed by this, or it has gone wild. Its end shows at the
            // pidfd; an end that is closed would keep `poll` awake.
            Some(FromWorker::Ready | FromWorker::Failed { .. }) | None => {
                process.mute = true;
                process.kill();
            }
        }
    }

    fn worker_ready(&mut self, index: usize) {
        let Seat::Taken(process) = &mut self.seats[index] else { return };
        if process.ready {
            return;
        }
        (process.ready, process.since) = (true, Instant::now());
        let pid = process.pid;
        self.breaker.started();
        self.office.enlist(pid);
        step!(parent "worker.enlisted");
        event!(INFO "worker ready", pid = pid, seat = index);
        self.announce_start();
    }

    /// Tells the builder when every worker has come up. Some may have left again, idle.
    fn announce_start(&self) {
        let is_up = |seat: &Seat| match seat {
            Seat::Taken(process) => process.ready,
            Seat::Vacant => true,
            Seat::Empty { .. } => false,
        };
        if self.seats[..self.workers].iter().all(is_up) {
            self.office.announce(Ok(()));
        }
    }

    fn bury(&mut self, index: usize, closing: bool) {
        // A last word may have come together with the end.
        self.hear_last_words(index);
        let Seat::Taken(process) = std::mem::replace(&mut self.seats[index], Seat::empty()) else {
            return;
        };
        let Process { pid, ready, since, leaving, failed, .. } = process;
        let death = process.bury();
        step!(parent "bury.reaped");
        let left = death == Death::Code(0) && (closing || leaving.is_some());
        let unasked = !left && !self.desk.is_condemned(index) && !self.office.orders().killed;
        if index >= self.workers || left && leaving == Some(true) {
            self.seats[index] = Seat::Vacant;
        }
        self.office.strike(pid, unasked);
        if unasked {
            event!(WARN "worker died", pid = pid, seat = index, death = %death);
        } else {
            event!(INFO "worker left", pid = pid, seat = index, death = %death);
        }
        let was_running = self.desk.bury(index, &Loss::Died { death, pid });
        if left || failed {
            return self.announce_start();
        }
        if !ready {
            let cause = format!("it ended by {death}{}", limits_in_force());
            self.start_failed(index, self.plan.start_place.is_some(), cause);
        } else if unasked && !was_running {
            let (age, cause) = (since.elapsed(), format!("it ended by {death}"));
            let finished = self.desk.control().tasks_finished();
            let reason = self.breaker.idle_death(age, finished, &cause);
            self.give_up(reason);
        }
    }

    fn hear_last_words(&mut self, index: usize) {
        // A process that it has left behind may hold its end, and talk for ever.
        for _ in 0..LAST_WORDS_MAX {
            let Seat::Taken(Process { socket, mute: false, .. }) = &self.seats[index] else {
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
        event!(WARN "worker failed to start", seat = seat, cause = cause);
        let reason = self.breaker.failed_start(&cause);
        if self.office.is_started() {
            return self.give_up(reason);
        }
        self.desk.give_up(Loss::Cancelled);
        self.office.announce(Err(if in_start {
            BuildError::OnStart { seat, cause }
        } else {
            BuildError::Worker { seat, cause }
        }));
    }

    fn give_up(&self, reason: Option<String>) {
        if let Some(reason) = reason {
            self.desk.give_up(Loss::Broken { reason: reason.into() });
        }
    }
}
