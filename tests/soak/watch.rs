//! What the soak is about just now, and who notices when nothing goes on any more.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Without any event for so long, the soak has failed.
const SILENCE_MAX: Duration = Duration::from_secs(60);

static SEED: AtomicU64 = AtomicU64::new(0);
static PHASE: Mutex<&str> = Mutex::new("start");

/// A number that every thread may raise.
pub struct Count(AtomicU64);

impl Count {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Handles that were had, and what became of them.
pub static SUBMITTED: Count = Count::new();
pub static RIGHT: Count = Count::new();
pub static PANICKED: Count = Count::new();
pub static DIED: Count = Count::new();
pub static CANCELLED: Count = Count::new();
pub static DROPPED: Count = Count::new();
/// Workers and parents that were killed.
pub static KILLS: Count = Count::new();
pub static PARENTS: Count = Count::new();
/// Everything else that shows that the soak goes on.
pub static STEPS: Count = Count::new();

/// Handles that have had their verdict.
pub fn settled() -> u64 {
    [&RIGHT, &PANICKED, &DIED, &CANCELLED, &DROPPED].iter().map(|count| count.get()).sum()
}

pub fn enter(phase: &'static str) {
    *PHASE.lock().expect("nobody panics with it") = phase;
    STEPS.raise();
}

/// Ends the program when nothing has happened for long.
pub fn start(seed: u64) {
    SEED.store(seed, Ordering::SeqCst);
    let events = || settled() + KILLS.get() + PARENTS.get() + STEPS.get();
    thread::spawn(move || {
        let mut last = (events(), Instant::now());
        loop {
            thread::park_timeout(SILENCE_MAX / 20);
            if events() != last.0 {
                last = (events(), Instant::now());
            } else if last.1.elapsed() > SILENCE_MAX {
                fail(format_args!("nothing has happened for {} s", SILENCE_MAX.as_secs()));
            }
        }
    });
}

/// Ends the soak, with all that is needed to look into it.
pub fn fail(what: fmt::Arguments<'_>) -> ! {
    let phase = *PHASE.lock().expect("nobody panics with it");
    let seed = SEED.load(Ordering::SeqCst);
    eprintln!("\nthe soak failed: {what}");
    eprintln!(
        "phase: {phase}, seed: {seed}, handles: {}, right: {}, panicked: {}, died: {}, \
         cancelled: {}, dropped: {}, kills: {}, parents: {}",
        SUBMITTED.get(),
        RIGHT.get(),
        PANICKED.get(),
        DIED.get(),
        CANCELLED.get(),
        DROPPED.get(),
        KILLS.get(),
        PARENTS.get()
    );
    std::process::exit(1);
}
