//! Progress bars: drawn on a terminal, silent elsewhere, and those of the user.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use wharf::ChunkStart;

use super::common::executor;
use super::{count_up, counted, double, sum};

const ROLE: &str = "WHARF_TEST_ROLE";

/// Not a test by itself: what the test below starts as a program of its own.
#[test]
fn program() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let executor = executor(2);
    match role.as_str() {
        "map" => assert_eq!(executor.map(double, 0..1234u64).progress_bar().count(), 1234),
        "endless" => assert!(executor.map(double, 0u64..).progress_bar().nth(1233).is_some()),
        "panic" => {
            let mut map = executor.map(double, 0..2000u64).progress_bar();
            assert!(map.nth(1233).is_some());
            let _map = map;
            panic!("as this test wants");
        }
        "loop" => {
            let array = counted(&executor, 1234);
            executor.loops().progress_bar().map_reduce(&array, sum, |a, b| a + b).unwrap();
        }
        other => panic!("no role: {other}"),
    }
}

/// A pseudo terminal of 24 by 80 characters: its two ends.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let (name, settings) = (std::ptr::null_mut(), std::ptr::null());
    // SAFETY: the numbers and the size live through the call, and the others may be null.
    let made = unsafe { libc::openpty(&mut ours, &mut theirs, name, settings, &size) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the call succeeded, so both are open and nobody else's.
    [ours, theirs].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).into()
}

/// What a program writes to its standard error, a terminal or a pipe.
fn errors_of(role: &str, on_terminal: bool) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "bars::program", "--nocapture"]).env(ROLE, role);
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null());
    if !on_terminal {
        let output = command.stderr(Stdio::piped()).output().unwrap();
        return String::from_utf8(output.stderr).unwrap();
    }
    let (ours, theirs) = terminal();
    let mut child = command.stderr(theirs).spawn().unwrap();
    // It keeps a copy of the other end.
    drop(command);
    let mut text = Vec::new();
    match File::from(ours).read_to_end(&mut text) {
        // The other end is closed, says Linux.
        Err(error) if error.raw_os_error() == Some(libc::EIO) => {}
        other => panic!("{other:?}, and not the end of the other end"),
    }
    child.wait().unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_bar_is_drawn_on_a_terminal_and_nowhere_else() {
    let rows = [
        ("map", "1,234/1,234", ""),
        ("endless", "1,234", ""),
        // It stays as it was drawn last, and libtest tells of the panic.
        ("panic", "/2,000", "as this test wants"),
        ("loop", "1,234/1,234", ""),
    ];
    for (role, last, besides) in rows {
        let drawn = errors_of(role, true);
        assert!(drawn.contains(last), "{role}: {drawn:?}");
        assert!(drawn.contains("/s"), "{role}: a rate, in {drawn:?}");
        let silent = errors_of(role, false);
        if besides.is_empty() {
            assert_eq!(silent, "", "{role}");
        } else {
            assert!(silent.contains(besides) && !silent.contains(last), "{role}: {silent:?}");
        }
    }
}

#[test]
fn a_bar_of_the_user_is_advanced_and_its_end_is_left_to_him() {
    let executor = executor(2);
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let bar = all.add(ProgressBar::no_length());
    for round in 1..=3 {
        executor.map(double, 0..100u64).progress_on(&bar).for_each(drop);
        let mut array = executor.array::<u64>(50).unwrap();
        let mut loops = executor.loops().progress_on(&bar);
        loops.fill_chunks(&mut array, 10, count_up, (ChunkStart,)).unwrap();
        assert_eq!((bar.position(), bar.length()), (round * 150, Some(100)));
    }
    assert!(!bar.is_finished());
}
