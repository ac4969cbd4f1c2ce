//! What a worker gone wild does: writes over memory that it maps, and talks nonsense to its parent.

use std::fs;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Of the executors whose segments are overwritten.
pub const WORKERS: usize = 2;
pub const TASK_SLOTS: usize = 64;

/// A generator of numbers that are the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }
}

/// A mapping as `/proc/self/maps` shows it.
fn mapping(of: &str) -> (*mut u8, usize) {
    let maps = fs::read_to_string("/proc/self/maps").expect("the mappings can be read");
    let line = maps.lines().find(|line| line.contains(" rw-s ") && line.contains(of));
    let range = line.expect("it is mapped").split(' ').next().expect("a range");
    let (start, end) = range.split_once('-').expect("a range");
    let number = |text| usize::from_str_radix(text, 16).expect("an address");
    (std::ptr::with_exposed_provenance_mut(number(start)), number(end) - number(start))
}

/// Writes one byte as a wild pointer does, while others read.
fn poke(start: *mut u8, at: usize, byte: u8) {
    // SAFETY: `at` lies inside the mapping, which stays as long as this process.
    let place = unsafe { start.add(at) };
    // SAFETY: as above; everybody here writes to it by atomics alone.
    let place = unsafe { AtomicU8::from_ptr(place) };
    place.store(byte, Ordering::SeqCst);
}

/// The whole control segment in which this worker sits.
pub struct Segment {
    start: *mut u8,
    len: usize,
}

/// Where the parts lie: header with the cursors of loops, seats, ring cells, slots.
pub const CALLED: usize = 48;
pub const TAIL: usize = 128;
pub const HEAD: usize = 256;
pub const BEDS: usize = 384;
pub const GATE: usize = 896;
pub const CURSORS: usize = 1024;
pub const SEATS: usize = CURSORS + 32 * 128;
pub const SEAT_BYTES: usize = 1408;
pub const CELLS: usize = SEATS + WORKERS * SEAT_BYTES;
pub const SLOT_BYTES: usize = 256;

impl Segment {
    pub fn find() -> Self {
        let (start, len) = mapping("/dev/shm/wharf-");
        let segment = Self { start, len };
        let magic = segment.word(0).load(Ordering::SeqCst);
        // Overwritten already, or what this file says of the places is wrong.
        let counts = segment.word(8).load(Ordering::SeqCst);
        assert!(magic != u64::from_le_bytes(*b"wharf\0\0\x01") || counts == 2 << 32 | 64);
        assert_eq!(segment.len, segment.slots_at() + TASK_SLOTS * SLOT_BYTES);
        segment
    }

    pub fn slots_at(&self) -> usize {
        (CELLS + TASK_SLOTS * 2 * 8).next_multiple_of(4096)
    }

    pub fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at + 8 <= self.len && at.is_multiple_of(8));
        // SAFETY: in bounds as above.
        let place = unsafe { self.start.add(at) }.cast();
        // SAFETY: in bounds and aligned as above; the mapping stays as long as this process.
        unsafe { AtomicU64::from_ptr(place) }
    }

    pub fn fill(&self, from: usize, to: usize, mut byte: impl FnMut() -> u8) {
        (from..to.min(self.len)).for_each(|at| poke(self.start, at, byte()));
    }

    /// Puts another state into the words of all slots, and leaves the rest of the words.
    pub fn restate(&self, state: u64) {
        for slot in 0..TASK_SLOTS {
            let word = self.word(self.slots_at() + slot * SLOT_BYTES);
            word.store(word.load(Ordering::SeqCst) & !0xf | state, Ordering::SeqCst);
        }
    }

    /// Names a worker as one that was called for the next task.
    fn name(&self, seat: u64) {
        self.word(CALLED).store(1 << 63 | seat << 32, Ordering::SeqCst);
    }

    /// Overwrites what `what` names. `value` is 0 for zeros, 1 for ones, else a seed.
    pub fn spoil(&self, what: &str, value: u64) {
        let mut dice = Dice::new(value);
        let mut byte = move || match value {
            0 => 0,
            1 => 0xff,
            _ => dice.roll() as u8,
        };
        let seat = |index: usize, at: usize| SEATS + index * SEAT_BYTES + at;
        let (from, len) = match what {
            "everything" => (0, self.len),
            "magic and counts" => (0, 16),
            "budget" => (16, 8),
            "parent_bytes" => (24, 8),
            "closing" => (32, 4),
            "ahead" => (CALLED - 8, 28),
            "called 0" => return self.name(0),
            "called 1" => return self.name(1),
            "tail" => (TAIL, 8),
            "head" => (HEAD, 8),
            "given" => (HEAD + 8, 8),
            "hints" => (TAIL, HEAD + 16 - TAIL),
            "sleeping" => (BEDS, 8),
            "searching" => (BEDS + 8, 8),
            "napping" => (BEDS + 16, 8),
            "serving" => (BEDS + 24, 8),
            "beds" => (BEDS, GATE - BEDS),
            "cursors" => (CURSORS, SEATS - CURSORS),
            "waiting" => (GATE, 4),
            "round" => (GATE + 4, 4),
            "rung" => (GATE + 8, 4),
            "park" => (seat(0, 0), 4),
            "held_bytes" => (seat(1, 128), 8),
            "finished" => (seat(0, 256), 8),
            "releases" => (seat(1, 384), 1024),
            "seats" => (SEATS, WORKERS * SEAT_BYTES),
            "cells" => (CELLS, TASK_SLOTS * 16),
            "slots" => (self.slots_at(), TASK_SLOTS * SLOT_BYTES),
            state => {
                let state = state.strip_prefix("state ").expect("a row that is known");
                return self.restate(state.parse().expect("a number"));
            }
        };
        self.fill(from, from + len, &mut byte);
    }
}

/// Writes over the parts of this worker's result heap that are in use at the start of it.
pub fn spoil_heap(value: u64) {
    let (start, len) = mapping("memfd:wharf-results");
    let mut dice = Dice::new(value);
    let large = len / 8 / 4096 * 4096;
    for at in (0..1 << 18).chain(large..large + (1 << 18)) {
        let byte = if value < 2 { 0u8.wrapping_sub(value as u8) } else { dice.roll() as u8 };
        poke(start, at, byte);
    }
}

/// The socket to the parent.
fn line() -> RawFd {
    let fds = fs::read_dir("/proc/self/fd").expect("the descriptors can be listed");
    let mut numbers = fds.flatten().filter_map(|fd| fd.file_name().to_str()?.parse().ok());
    let found = numbers.find(|&fd: &RawFd| {
        let (mut kind, mut len) = (0, 4);
        let to = (&raw mut kind).cast();
        // SAFETY: `kind` has the four bytes that are asked for.
        let got =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, to, &raw mut len) };
        got == 0 && kind == libc::SOCK_SEQPACKET
    });
    found.expect("a worker has a line to its parent")
}

fn message(kind: u64, a: u64, body: &[u8]) -> Vec<u8> {
    let words = [u64::from_le_bytes(*b"wharf-m1"), kind, a, 0];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend_from_slice(body);
    bytes
}

/// Says something that no worker says.
pub fn talk(what: &str, seed: u64) {
    const READY: u64 = 4;
    const FAILED: u64 = 5;
    const WANT_HEAP: u64 = 6;
    let (mut dice, line) = (Dice::new(seed), line());
    let send = |bytes: &[u8]| {
        // SAFETY: `bytes` is readable. A full socket and a closed one are errors, which is as well.
        unsafe { libc::send(line, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    };
    match what {
        "random" => (1..200).for_each(|len| send(&dice.bytes(len))),
        "random kinds" => {
            (0..200).for_each(|_| send(&message(dice.roll() % 9, dice.roll(), &[7; 9])))
        }
        "empty" => send(&[]),
        "oversized" => send(&dice.bytes(60_000)),
        "truncated" => (1..32).for_each(|len| send(&message(READY, 0, &[])[..len])),
        "ready twice" => (0..2).for_each(|_| send(&message(READY, 0, &[]))),
        "failed" => (0..20).for_each(|_| send(&message(FAILED, 1, &dice.bytes(3000)))),
        "absurd heaps" => (0..500).for_each(|_| send(&message(WANT_HEAP, dice.roll(), &[]))),
        "flood" => (0..5000).for_each(|_| send(&message(WANT_HEAP, 0, &[1; 4000]))),
        "closed" => {
            // SAFETY: what is closed is this process's own, and it is wild.
            unsafe { libc::close(line) };
        }
        other => panic!("nothing is said that is called {other}"),
    }
}
