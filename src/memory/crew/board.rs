//! Where a thread posts work for others to help with, who stay between two pieces of work.
//!
//! Starting a thread for each takes 50 µs, and its end 100 more on its core: for the stacks that it
//! gives up all cores are interrupted.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::thread::{self, JoinHandle};

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, lock};
use crate::sys::{allowed_cores, keep_to};

/// What a helper does when the work that it helped with no longer needs it.
pub(in crate::memory) type Parting = Box<dyn FnOnce() + Send>;

/// A helper's stack: its work copies, or fills.
const STACK_BYTES: usize = 256 << 10;

/// Work that may be helped with, and who helps.
#[derive(Debug)]
pub(super) struct Board {
    /// Where helpers run: a thread that posts work may be kept to a core of its own. Empty: there.
    cores: Vec<usize>,
    state: Mutex<State>,
    /// Something was posted, or the helpers are dismissed.
    posted: Condvar,
    /// A helper has left a piece of work.
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    works: Vec<Work>,
    posted: u64,
    helpers: Vec<JoinHandle<()>>,
    is_closed: bool,
}

/// Work that is helped with.
struct Work {
    id: u64,
    help: Help,
    /// How many may still come.
    places: usize,
    /// How many are at it.
    inside: usize,
    parting: Option<Parting>,
    /// What a helper has panicked with.
    panic: Option<Box<dyn Any + Send>>,
}

/// What a helper calls: borrowed by who has posted it, until nobody is inside any more.
#[derive(Clone, Copy)]
struct Help(*const (dyn Fn() + Sync));

// SAFETY: what it points to may be called from any thread.
unsafe impl Send for Help {}

impl Default for Board {
    fn default() -> Self {
        let cores = allowed_cores().unwrap_or_default();
        let (state, posted, left) = <(Mutex<State>, Condvar, Condvar)>::default();
        Self { cores, state, posted, left }
    }
}

impl Board {
    /// Runs `own` here and meanwhile `help` in as many other threads, if they come in time.
    ///
    /// The first one whose help has ended calls `parting`: when this thread waits for it no more.
    /// If none has helped, this one calls it.
    ///
    /// # Panics
    ///
    /// Goes on with the panic of one that has helped.
    pub(super) fn run(
        self: &Arc<Self>,
        helpers: usize,
        own: impl FnOnce(),
        help: &(dyn Fn() + Sync),
        parting: Option<Parting>,
    ) {
        let id = self.post(helpers, help, parting);
        let own = panic::catch_unwind(AssertUnwindSafe(own));
        let work = self.take_down(id);
        if let Some(panic) = own.err().or(work.panic) {
            panic::resume_unwind(panic);
        }
        if let Some(parting) = work.parting {
            parting();
        }
    }

    /// Sends the helpers home. Nobody helps from then on.
    pub(super) fn close(&self) {
        let helpers = {
            let mut state = lock(&self.state);
            state.is_closed = true;
            std::mem::take(&mut state.helpers)
        };
        self.posted.notify_all();
        for helper in helpers {
            // All panics are caught.
            let _ = helper.join();
        }
    }

    fn post(
        self: &Arc<Self>,
        places: usize,
        help: &(dyn Fn() + Sync),
        parting: Option<Parting>,
    ) -> u64 {
        let help: *const (dyn Fn() + Sync + '_) = ptr::from_ref(help);
        // SAFETY: the lifetime alone differs. Whoever calls it is inside, for whom `run`, which
        // borrows it, waits before it returns or panics.
        let help = Help(unsafe {
            std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const (dyn Fn() + Sync)>(help)
        });
        let mut state = lock(&self.state);
        while state.helpers.len() < places && !state.is_closed {
            let board = Arc::clone(self);
            let thread = thread::Builder::new().name("wharf-fill".to_owned());
            match thread.stack_size(STACK_BYTES).spawn(move || board.help()) {
                Ok(helper) => state.helpers.push(helper),
                // It is done without.
                Err(_) => break,
            }
        }
        state.posted += 1;
        let id = state.posted;
        state.works.push(Work { id, help, places, inside: 0, parting, panic: None });
        drop(state);
        self.posted.notify_all();
        id
    }

    /// What a helper does all its life.
    fn help(&self) {
        if allowed_cores().is_ok_and(|cores| cores != self.cores) && !self.cores.is_empty() {
            // Where it cannot be moved, it helps where it is.
            let _ = keep_to(&self.cores);
        }
        let mut state = lock(&self.state);
        while !state.is_closed {
            let Some(work) = state.works.iter_mut().find(|work| work.places > 0) else {
                state = wait(&self.posted, state);
                continue;
            };
            work.places -= 1;
            work.inside += 1;
            let (id, Help(help)) = (work.id, work.help);
            drop(state);
            // SAFETY: `run` borrows it until this thread is not inside any more.
            let end = panic::catch_unwind(AssertUnwindSafe(|| unsafe { (*help)() }));
            let parting = lock(&self.state).leave(id, end.err());
            self.left.notify_all();
            if let Some(parting) = parting {
                // As with work, a panic is told, and no reason not to help with the next.
                let _ = panic::catch_unwind(AssertUnwindSafe(parting));
            }
            state = lock(&self.state);
        }
    }

    /// Lets nobody else come, waits until nobody is inside, and takes the work down.
    fn take_down(&self, id: u64) -> Work {
        let mut state = lock(&self.state);
        loop {
            let at = state.works.iter().position(|work| work.id == id);
            let at = at.expect("only who has posted it takes it down");
            state.works[at].places = 0;
            if state.works[at].inside == 0 {
                return state.works.swap_remove(at);
            }
            state = wait(&self.left, state);
        }
    }
}

impl State {
    /// A helper leaves.
    fn leave(&mut self, id: u64, panic: Option<Box<dyn Any + Send>>) -> Option<Parting> {
        let work = self.works.iter_mut().find(|work| work.id == id)?;
        work.inside -= 1;
        work.places = 0;
        work.panic = work.panic.take().or(panic);
        work.parting.take()
    }
}

fn wait<'s>(event: &Condvar, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
    event.wait(state).unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, places, inside, .. } = self;
        f.debug_struct("Work")
            .field("id", id)
            .field("places", places)
            .field("inside", inside)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::ThreadId;
    use std::time::Duration;

    use super::*;

    /// No test waits so long.
    const DEADLINE: Duration = Duration::from_secs(60);

    fn on_board(body: impl FnOnce(&Arc<Board>)) {
        let board = Arc::new(Board::default());
        body(&board);
        board.close();
        assert_eq!(Arc::strong_count(&board), 1, "no thread is left");
    }

    /// Has one thread help, and waits until it has come. It ends with what `end` does.
    fn run_helped(board: &Arc<Board>, parting: Option<Parting>, end: impl Fn() + Sync) {
        let (come, has_come) = channel();
        let come = Mutex::new(come);
        let help = || {
            lock(&come).send(()).expect("it is waited for");
            end();
        };
        board.run(1, || has_come.recv_timeout(DEADLINE).expect("one comes"), &help, parting);
    }

    fn telling(told: &Sender<ThreadId>) -> Option<Parting> {
        let told = told.clone();
        let id = move || thread::current().id();
        Some(Box::new(move || told.send(id()).expect("it is waited for")))
    }

    fn next<T>(told: &Receiver<T>) -> T {
        told.recv_timeout(DEADLINE).expect("it is told")
    }

    #[test]
    fn helpers_stay_and_no_more_are_started_than_are_wanted() {
        on_board(|board| {
            let seen = Mutex::new(HashSet::new());
            for helpers in [1, 2, 2, 1, 3, 3] {
                let help = || _ = lock(&seen).insert(thread::current().id());
                (0..50).for_each(|_| board.run(helpers, || (), &help, None));
            }
            run_helped(board, None, || _ = lock(&seen).insert(thread::current().id()));
            let seen = lock(&seen);
            assert!((1..=3).contains(&seen.len()), "{seen:?}");
            assert!(!seen.contains(&thread::current().id()));
        });
    }

    /// The first large copy came from a thread that is kept to one core, and so were all who helped
    /// from then on, whoever copied.
    #[test]
    #[cfg(not(miri))]
    fn helpers_run_where_the_board_was_made_and_not_where_work_was_posted() {
        let all = allowed_cores().expect("there are some");
        on_board(|board| {
            let (tell, told) = channel();
            let tell = Mutex::new(tell);
            let end = || lock(&tell).send(allowed_cores()).expect("it is waited for");
            let run = || {
                keep_to(&all[..1]).expect("it is allowed");
                run_helped(board, None, end);
            };
            thread::scope(|scope| scope.spawn(run).join()).expect("it ends well");
            assert_eq!(next(&told).expect("there are some"), all);
        });
    }

    #[test]
    fn one_who_has_helped_does_what_is_left_or_else_who_has_posted_it() {
        let (tell, told) = channel();
        on_board(|board| {
            for _ in 0..50 {
                run_helped(board, telling(&tell), || ());
                assert_ne!(next(&told), thread::current().id());
            }
            board.close();
            board.run(1, || (), &|| unreachable!("nobody helps any more"), telling(&tell));
            assert_eq!(next(&told), thread::current().id());
        });
        assert!(told.try_recv().is_err(), "once each");
    }

    /// It wakes a worker, which may run on its core at once and keep it from going on.
    #[test]
    fn nobody_waits_for_what_is_done_in_parting() {
        let ((tell, told), (end, ends)) = (channel(), channel());
        on_board(|board| {
            let parting: Parting = Box::new(move || {
                ends.recv_timeout(DEADLINE).expect("it is told");
                tell.send(()).expect("it is waited for");
            });
            run_helped(board, Some(parting), || ());
            assert!(told.try_recv().is_err());
            // Nor does other work wait for it.
            board.run(1, || (), &|| (), None);
            end.send(()).expect("it is waited for");
            next(&told);
        });
    }

    #[test]
    fn who_has_posted_work_waits_for_who_helps_also_when_it_panics_itself() {
        on_board(|board| {
            let (come, has_come) = channel();
            let (come, ended) = (Mutex::new(come), Mutex::new(false));
            let help = || {
                lock(&come).send(()).expect("it is waited for");
                *lock(&ended) = true;
            };
            let own = || {
                has_come.recv_timeout(DEADLINE).expect("one comes");
                panic::resume_unwind(Box::new("mine"));
            };
            let run = AssertUnwindSafe(|| board.run(1, own, &help, None));
            let panic = panic::catch_unwind(run).expect_err("it panics");
            assert_eq!(panic.downcast_ref(), Some(&"mine"));
            assert!(*lock(&ended));
            run_helped(board, None, || ());
        });
    }

    #[test]
    fn a_panic_of_one_who_helps_goes_on_where_the_work_was_posted() {
        on_board(|board| {
            let panics = || run_helped(board, None, || panic::resume_unwind(Box::new("its own")));
            let panic = panic::catch_unwind(AssertUnwindSafe(panics)).expect_err("it panics");
            assert_eq!(panic.downcast_ref(), Some(&"its own"));
            run_helped(board, None, || ());
        });
    }

    #[test]
    fn who_helps_elsewhere_is_not_waited_for() {
        on_board(|board| {
            let ((come, has_come), (end, ends)) = (channel(), channel());
            let (come, ends) = (Mutex::new(come), Mutex::new(ends));
            let long = || {
                lock(&come).send(()).expect("it is waited for");
                lock(&ends).recv_timeout(DEADLINE).expect("it is told");
            };
            let own = move || (0..2).for_each(|_| next(&has_come));
            thread::scope(|scope| {
                let other = scope.spawn(|| board.run(2, own, &long, None));
                while lock(&board.state).works.iter().all(|work| work.inside < 2) {
                    thread::yield_now();
                }
                board.run(2, || (), &|| unreachable!("both are busy"), None);
                (0..2).for_each(|_| end.send(()).expect("it is waited for"));
                other.join().expect("it ends well");
            });
        });
    }
}
