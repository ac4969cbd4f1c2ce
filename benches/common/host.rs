//! What else goes on on the machine, and what its host takes of it, as the kernel counts it.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The kernel counts processor time for `/proc` in hundredths of a second.
const TICK_SECONDS: f64 = 0.01;

/// The processor time that a process has used, all its threads together, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    stat_seconds(&format!("/proc/{pid}/stat"), &[11, 12])
}

/// The memory of a process that is resident, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib << 10)
}

/// The processor time that this process and its reaped children have used, in seconds.
fn own_seconds() -> f64 {
    stat_seconds("/proc/self/stat", &[11, 12, 13, 14])
}

fn stat_seconds(path: &str, fields: &[usize]) -> f64 {
    let stat = fs::read_to_string(path).unwrap_or_default();
    // The name is in brackets and may hold anything; fields are counted behind it.
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let words: Vec<&str> = behind.split_whitespace().collect();
    let ticks = fields.iter().filter_map(|&at| words.get(at)?.parse::<f64>().ok()).sum::<f64>();
    ticks * TICK_SECONDS
}

/// What else went on on the machine, in seconds of processor time since it was booted.
pub struct Others {
    /// By all processes but this one and its reaped children.
    pub used: f64,
    /// By other virtual machines.
    pub stolen: f64,
    /// How many processors there are, whichever of them this thread may use.
    processors: usize,
}

impl Others {
    pub fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let is_processor = |line: &&str| line.starts_with("cpu");
        // The first line is their sum.
        let processors = stat.lines().filter(is_processor).count().saturating_sub(1);
        let words = stat.lines().next()?.split_whitespace().skip(1);
        let ticks: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = ticks[..] else {
            return None;
        };
        let used = (user + nice + system + irq + softirq) * TICK_SECONDS;
        let (used, stolen) = (used - own_seconds(), stolen * TICK_SECONDS);
        Some(Self { used, stolen, processors })
    }
}

/// A round of which the host took more than this share of the processors was disturbed.
const STOLEN_MAX: f64 = 0.03;
/// Less than this is what the counting in ticks may add to any round.
const STOLEN_LEAST: f64 = 1.5 * TICK_SECONDS;

static REPEATED: AtomicUsize = AtomicUsize::new(0);
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// How many rounds were disturbed so far: measured again, and counted all the same.
pub fn disturbances() -> (usize, usize) {
    (REPEATED.load(Ordering::Relaxed), KEPT.load(Ordering::Relaxed))
}

/// Sees what the host takes during a round.
pub struct Watch {
    clock: Instant,
    before: Option<Others>,
}

impl Watch {
    pub fn start() -> Self {
        Self { before: Others::now(), clock: Instant::now() }
    }

    /// Tells whether to measure the round again: the host took the processors for long, and there
    /// is time left for that.
    pub fn is_to_be_repeated(&self, may_be: bool) -> bool {
        let (Some(before), Some(after)) = (&self.before, Others::now()) else { return false };
        let seconds = self.clock.elapsed().as_secs_f64() * after.processors as f64;
        let is_disturbed = after.stolen - before.stolen > (STOLEN_MAX * seconds).max(STOLEN_LEAST);
        if is_disturbed {
            let count = if may_be { &REPEATED } else { &KEPT };
            count.fetch_add(1, Ordering::Relaxed);
        }
        is_disturbed && may_be
    }
}
