//! The same inputs without a fuzzer: the corpus, and seeded mutations of it.

use std::fs;
use std::path::Path;

use super::{codec, message, read_result, result, table};

/// Mutations of each file of the corpus.
const MUTATIONS: u64 = 200;

/// The files of one target, by name. A package without `fuzz/` has none.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("skipped: there is no folder {}", folder.display());
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| (entry.file_name().into_string().expect("a plain name"), entry.path()))
        .map(|(name, path)| (name, fs::read(path).expect("a file that can be read")))
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{target} has {} files", files.len());
    files
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % most.max(1)
    }

    /// Changes a few bytes, most of them to values that lie at some border.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const BORDERS: [u8; 8] = [0, 1, 7, 8, 0x7f, 0x80, 0xfe, 0xff];
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match (self.below(8), bytes.get_mut(at)) {
                (0, _) => bytes.truncate(at),
                (1, _) => bytes.insert(at, BORDERS[self.below(8)]),
                (2, _) => bytes.extend_from_within(at..),
                (3 | 4, Some(byte)) => *byte ^= 1 << self.below(8),
                (5, Some(byte)) => *byte = self.below(256) as u8,
                (_, Some(byte)) => *byte = BORDERS[self.below(8)],
                (_, None) => bytes.push(0),
            }
            bytes.truncate(1 << 16);
        }
    }
}

fn check(target: &str, run: fn(&[u8])) {
    for (name, bytes) in corpus(target) {
        run(&bytes);
        for seed in 1..=MUTATIONS {
            let (mut dice, mut mutated) =
                (Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)), bytes.clone());
            dice.mutate(&mut mutated);
            // Shown where the test fails.
            println!("{name}, mutation {seed}: {mutated:02x?}");
            run(&mutated);
        }
    }
}

#[test]
fn any_result_is_decoded_or_refused() {
    check("result", result);
}

#[test]
fn the_corpus_of_results_has_each_type_on_any_thread() {
    let check = || {
        for (name, bytes) in corpus("result") {
            assert_eq!(read_result(&bytes), !name.starts_with("bad-"), "{name}");
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(check))));
}

#[test]
fn any_control_segment_gives_each_task_an_end() {
    check("table", table);
}

#[test]
fn any_message_is_parsed_or_refused() {
    check("message", message);
}

#[test]
fn any_bytes_are_decoded_or_refused_by_each_codec() {
    check("codec", codec);
}
