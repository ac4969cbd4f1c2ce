//! Panics of the user's code in the parent: they reach their caller, and harm nothing else.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Waker};
use std::thread;

use wharf::{ArchivedArray, Array, Executor, Output, Serialized, TrySubmitError};

use super::common::{DEADLINE, Gate};
use super::faults::{PanicsWhenDropped, SAYS};
use super::places::Archives;
use super::trial::{
    LARGE_WORDS, among_neighbours, asleep_in, panics, trial_of, wait_until, without_a_trace,
};

const SLOTS: u32 = 64;

/// Something of the user's that panics in the parent.
type Row = (&'static str, fn(&Executor));

/// The panic reaches the caller; slots, memory, neighbours and pool are as if nothing had been.
fn check(rows: &[Row]) {
    for (name, act) in rows {
        trial_of(name, Executor::builder().task_slots(SLOTS), |executor| {
            among_neighbours(name, executor, |executor| panics(name, || act(executor)), drop);
            fill_the_table(name, executor);
            0
        });
    }
}

/// A slot that is not free is missing here.
fn fill_the_table(name: &str, executor: &Executor) {
    let gate = Gate::new();
    let tasks: Vec<_> =
        (0..SLOTS).map(|_| executor.try_submit(Gate::pass, (gate.path(),)).expect(name)).collect();
    let refused = executor.try_submit(Gate::pass, (gate.path(),));
    assert!(matches!(refused, Err(TrySubmitError::Full { slots: SLOTS, .. })), "{name}");
    gate.open();
    tasks.into_iter().for_each(|task| task.join().expect(name));
}

/// Panics in serde's hands, at either end.
struct Panics;

impl serde::Serialize for Panics {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("{SAYS}");
    }
}

impl<'de> serde::Deserialize<'de> for Panics {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("{SAYS}");
    }
}

fn takes_panics(_: Serialized<Panics>) {}

type Pair = (Vec<u64>, Archives);

fn takes_pair(_: &<Pair as rkyv::Archive>::Archived) {}

/// Larger than a slot, so that a block is allocated between the passes.
fn pair(passes: u32) -> Pair {
    (vec![1; LARGE_WORDS], Archives::failing("panic", passes))
}

#[test]
fn a_panic_while_an_argument_is_encoded_reaches_the_caller_and_harms_nothing() {
    check(&[
        ("serde, submit", |executor| drop(executor.submit(takes_panics, (Serialized(Panics),)))),
        ("serde, try_submit", |executor| {
            drop(executor.try_submit(takes_panics, (Serialized(Panics),)));
        }),
        ("serde, share", |executor| drop(executor.share(&Serialized::<Panics>::new(Panics)))),
        ("counting, submit", |executor| drop(executor.submit(takes_pair, (pair(0),)))),
        ("writing, submit", |executor| drop(executor.submit(takes_pair, (pair(1),)))),
        ("counting, try_submit", |executor| drop(executor.try_submit(takes_pair, (pair(0),)))),
        ("writing, try_submit", |executor| drop(executor.try_submit(takes_pair, (pair(1),)))),
        ("counting, share", |executor| drop(executor.share(&pair(0)))),
        ("writing, share", |executor| drop(executor.share(&pair(1)))),
        ("a payload that panics", |executor| {
            let args = (Archives::failing("payload panics", 0),);
            drop(executor.submit(|_: &rkyv::string::ArchivedString| (), args));
        }),
    ]);
}

impl rkyv::Archive for PanicsWhenDropped {
    type Archived = ();
    type Resolver = ();

    fn resolve(&self, (): (), _: rkyv::Place<()>) {}
}

impl<S: rkyv::rancor::Fallible + ?Sized> rkyv::Serialize<S> for PanicsWhenDropped {
    fn serialize(&self, _: &mut S) -> Result<(), S::Error> {
        Ok(())
    }
}

fn takes_loud((): (), words: &[u64]) -> u64 {
    words[0]
}

/// The handle that the call was about to return was never dropped, and with it the executor's
/// memory, its descriptors and the task's slot were kept for ever.
#[test]
fn a_panic_of_an_argument_that_is_dropped_after_its_submission_leaves_the_task_to_itself() {
    check(&[
        ("submit", |executor| {
            let before = executor.stats().tasks_finished;
            let args = (PanicsWhenDropped, vec![1u64; LARGE_WORDS]);
            panics("dropping", || drop(executor.submit(takes_loud, args)));
            wait_until("the task runs", || executor.stats().tasks_finished > before);
            panic!("{SAYS}");
        }),
        ("try_submit", |executor| {
            let args = (PanicsWhenDropped, vec![1u64; LARGE_WORDS]);
            drop(executor.try_submit(takes_loud, args));
        }),
    ]);
}

/// Comes back from a worker, and panics on the way.
fn returns_panics(words: u64) -> (Vec<u64>, Serialized<Quiet>) {
    (vec![1; words as usize], Serialized(Quiet))
}

/// Is encoded well enough, and panics when it is decoded.
struct Quiet;

impl serde::Serialize for Quiet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for Quiet {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("{SAYS}");
    }
}

#[test]
fn a_panic_while_a_result_is_decoded_reaches_the_caller_and_harms_nothing() {
    check(&[
        ("join, in the slot", |executor| {
            drop(executor.submit(returns_panics, (0u64,)).unwrap().join());
        }),
        ("join, in a block", |executor| {
            drop(executor.submit(returns_panics, (LARGE_WORDS as u64,)).unwrap().join());
        }),
        ("join_timeout", |executor| {
            let task = executor.submit(returns_panics, (LARGE_WORDS as u64,)).unwrap();
            drop(task.join_timeout(DEADLINE));
        }),
        ("poll", |executor| {
            let mut task = pin!(executor.submit(returns_panics, (LARGE_WORDS as u64,)).unwrap());
            wait_until("it ends", || task.is_finished());
            let _ = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }),
        ("join_view", |executor| {
            drop(executor.submit(returns_checked, (true,)).unwrap().join_view());
        }),
        ("into_shared", |executor| {
            drop(executor.submit(returns_checked, (true,)).unwrap().into_shared());
        }),
    ]);
}

/// Panics when its bytes are checked.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(bytecheck(verify))]
struct Checked {
    fails: bool,
}

// SAFETY: accepts nothing that the derived check of the field has not.
unsafe impl<C: rkyv::rancor::Fallible + ?Sized> rkyv::bytecheck::Verify<C> for ArchivedChecked {
    fn verify(&self, _: &mut C) -> Result<(), C::Error> {
        assert!(!self.fails, "{SAYS}");
        Ok(())
    }
}

/// Each time the same array, which the worker keeps.
fn returns_checked(fails: bool) -> (Array<u64>, Checked) {
    static KEPT: std::sync::OnceLock<Array<u64>> = std::sync::OnceLock::new();
    let make = || wharf::array::<u64>(LARGE_WORDS).expect("memory").freeze();
    (KEPT.get_or_init(make).clone(), Checked { fails })
}

/// While wharf checks a result, the arrays that came with it are known to be sound. A check that
/// panicked left them so on its thread, and bytes of anybody's making passed for an array.
#[test]
fn a_check_that_panics_leaves_no_bytes_that_pass_for_an_array() {
    type Place = [u8; size_of::<ArchivedArray<u64>>()];
    without_a_trace("checks", || {
        let executor = Executor::builder().workers(1).build().unwrap();
        let good: Output<(Array<u64>, Checked)> =
            executor.submit(returns_checked, (false,)).unwrap().join_view().unwrap();
        // SAFETY: an archived array is three words, for which any bytes are valid.
        let place = unsafe { (&raw const good.0).cast::<Place>().read() };
        panics("the check", || {
            drop(executor.submit(returns_checked, (true,)).unwrap().join_view());
        });
        let mut bytes = rkyv::util::AlignedVec::<16>::new();
        bytes.extend_from_slice(&place);
        let forged = rkyv::access::<ArchivedArray<u64>, rkyv::rancor::Error>(&bytes);
        assert!(forged.is_err());
        drop(good);
    });
}

/// The thread that had the only free slot gave it back without a word to the one that waited.
#[test]
fn a_slot_that_a_panic_gives_back_goes_to_who_waits_for_it() {
    /// Says that it is being encoded, waits, and panics.
    struct Waits(Sender<()>, Mutex<Receiver<()>>);
    impl serde::Serialize for Waits {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            self.0.send(()).expect("it is awaited");
            self.1.lock().expect("nobody else takes it").recv().expect("it is sent");
            panic!("{SAYS}");
        }
    }
    impl<'de> serde::Deserialize<'de> for Waits {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("nobody decodes it"))
        }
    }
    fn takes_waits(_: Serialized<Waits>) {}
    without_a_trace("a slot", || {
        let executor = Executor::builder().workers(1).task_slots(1).build().unwrap();
        let ((entry, entered), (go, gone)) = (channel(), channel());
        let waits = Serialized(Waits(entry, Mutex::new(gone)));
        thread::scope(|scope| {
            let encodes = || drop(executor.submit(takes_waits, (waits,)));
            scope.spawn(|| panics("encoding", encodes));
            entered.recv_timeout(DEADLINE).expect("it is encoded");
            let late = asleep_in(scope, || executor.submit(|| 1u64, ()).unwrap());
            go.send(()).unwrap();
            assert_eq!(late.join().unwrap().join().unwrap(), 1);
        });
    });
}
