//! Shared memory through the interface: results, arrays built in tasks, the budget, reuse,
//! lifetimes.

mod common;

use common::{Gate, executor};
use wharf::{Array, Executor, ShareError, SubmitError, TaskError, TrySubmitError};

#[derive(Debug, Clone, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Row {
    name: String,
    values: Vec<f64>,
}

fn row() -> Row {
    Row { name: "pier".to_owned(), values: vec![1.0, 2.5] }
}

fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

/// Submits, joins, compares.
macro_rules! check {
    ($executor:expr, $function:expr, $args:expr, $expected:expr) => {
        assert_eq!($executor.submit($function, $args).unwrap().join().unwrap(), $expected)
    };
}

#[test]
fn small_and_large_results_are_decoded_viewed_and_passed_on() {
    fn rows(n: u64) -> Vec<Row> {
        vec![row(); n as usize]
    }
    fn count(rows: &rkyv::vec::ArchivedVec<ArchivedRow>) -> u64 {
        rows.len() as u64
    }
    let executor = executor(2);
    for n in [0u64, 1, 2, 5000] {
        check!(executor, rows, (n,), vec![row(); n as usize]);
        let view = executor.submit(rows, (n,)).unwrap().join_view().unwrap();
        assert_eq!(view.len() as u64, n);
        assert!(view.iter().all(|row| row.name == "pier"));
        let shared = executor.submit(rows, (n,)).unwrap().into_shared().unwrap();
        for _ in 0..4 {
            check!(executor, count, (&shared,), n);
        }
    }
}

#[test]
fn an_array_built_in_a_task_is_its_result_and_the_next_task_s_argument() {
    fn make(n: u64) -> Result<Array<f64>, ShareError> {
        let mut array = wharf::array::<f64>(n as usize)?;
        array.fill(3.0);
        Ok(array.freeze())
    }
    fn two(n: u64) -> (Array<f64>, Vec<Array<u32>>) {
        let first = wharf::array::<f64>(n as usize).unwrap().freeze();
        let second = wharf::array::<u32>(3).unwrap().freeze();
        (first, vec![second.clone(), second])
    }
    let executor = executor(2);
    for n in [0u64, 1, 1_000_000] {
        let array = executor.submit(make, (n,)).unwrap().join().unwrap().unwrap();
        assert_eq!(array.len() as u64, n);
        for _ in 0..4 {
            check!(executor, sum, (&array,), 3.0 * n as f64);
            check!(executor, sum, (array.clone(),), 3.0 * n as f64);
        }
        let (first, second) = executor.submit(two, (n,)).unwrap().join().unwrap();
        assert_eq!((first.len() as u64, second[0].len(), second[1].len()), (n, 3, 3));
        drop(first);
        assert_eq!(&second[0][..], [0, 0, 0]);
        let view = executor.submit(two, (n,)).unwrap().join_view().unwrap();
        assert_eq!(view.0.len() as u64, n);
    }
    // An `ArrayMut` may be returned as it is, too.
    let array: Array<u8> =
        executor.submit(|| wharf::array::<u8>(5).unwrap(), ()).unwrap().join().unwrap();
    assert_eq!(&array[..], [0; 5]);
}

#[test]
fn an_array_that_a_worker_keeps_is_not_overwritten_when_the_parent_lets_it_go() {
    use std::sync::OnceLock;
    static KEPT: OnceLock<Array<u64>> = OnceLock::new();
    fn make(n: u64) -> Array<u64> {
        let mut array = wharf::array::<u64>(100_000).expect("memory");
        array.fill(n);
        array.freeze()
    }
    fn kept() -> Array<u64> {
        KEPT.get_or_init(|| make(7)).clone()
    }
    let executor = executor(1);
    let (once, twice) = (executor.submit(kept, ()).unwrap(), executor.submit(kept, ()).unwrap());
    let (once, twice) = (once.join().unwrap(), twice.join().unwrap());
    drop(once);
    for n in 0..20u64 {
        drop(executor.submit(make, (n,)).unwrap().join().unwrap());
    }
    assert!(twice.iter().all(|n| *n == 7));
    drop(twice);
    for n in 0..20u64 {
        drop(executor.submit(make, (n,)).unwrap().join().unwrap());
    }
    assert!(executor.submit(kept, ()).unwrap().join().unwrap().iter().all(|n| *n == 7));
}

#[test]
fn a_full_table_gives_the_arguments_back_and_goes_on_when_a_task_ends() {
    let executor = Executor::builder().workers(1).task_slots(4).build().unwrap();
    let gate = Gate::new();
    let mut tasks: Vec<_> =
        (0..4).map(|_| executor.submit(Gate::pass, (gate.path(),)).unwrap()).collect();
    match executor.try_submit(Gate::pass, (gate.path(),)) {
        Err(refused @ TrySubmitError::Full { slots: 4, .. }) => {
            assert!(refused.is_full());
            assert_eq!(refused.into_args().0, gate.path());
        }
        other => panic!("{other:?}"),
    }
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| executor.submit(Gate::pass, (gate.path(),)).unwrap());
        gate.open();
        tasks.push(blocked.join().unwrap());
    });
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let executor = Executor::builder().workers(1).memory_budget(8 << 20).build().unwrap();
    match executor.array::<u8>(9 << 20) {
        Err(ShareError::OutOfMemory { asked, left }) => {
            assert_eq!(asked, 9 << 20);
            assert!(left <= 8 << 20);
        }
        other => panic!("{other:?}"),
    }
    let half = executor.array::<u8>(5 << 20).unwrap();
    assert!(matches!(executor.array::<u8>(5 << 20), Err(ShareError::OutOfMemory { .. })));
    let refused = executor.try_submit(sum, (vec![1.0; 1 << 20],)).unwrap_err();
    assert_eq!(refused.into_args().0.len(), 1 << 20);
    assert!(matches!(
        executor.submit(sum, (vec![1.0; 1 << 20],)),
        Err(SubmitError::Arguments(ShareError::OutOfMemory { .. }))
    ));
    drop(half);
    check!(executor, sum, (vec![1.0; 600_000],), 600_000.0);
    // A result that does not fit is the task's error, and the worker goes on.
    let large = executor.submit(|| vec![1u8; 20 << 20], ()).unwrap().join();
    assert!(matches!(large, Err(TaskError::Result { error: ShareError::OutOfMemory { .. }, .. })));
    check!(executor, sum, (vec![1.0; 600_000],), 600_000.0);
    assert!(matches!(
        executor.submit(|n: usize| n, (1usize << 40,)),
        Err(SubmitError::Arguments(ShareError::Truncated { .. }))
    ));
}

#[test]
fn submitting_waits_for_memory_that_running_tasks_will_give_back() {
    let executor = Executor::builder().workers(2).memory_budget(16 << 20).build().unwrap();
    // 100 × 5 MiB through a budget of 16 MiB.
    let tasks: Vec<_> =
        (0..100).map(|n| executor.submit(sum, (vec![f64::from(n); 5 << 17],)).unwrap()).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n as f64 * f64::from(5 << 17));
    }
}

#[test]
fn memory_is_used_again_and_never_grows() {
    let executor = Executor::builder().workers(1).memory_budget(64 << 20).build().unwrap();
    for round in 0..50u64 {
        let array = executor.array_from(&vec![round; 1 << 20]).unwrap();
        let zeros = executor.array::<u64>(1 << 20).unwrap();
        assert!(zeros.iter().all(|z| *z == 0));
        let copy = executor.submit(|x: &[u64]| x.to_vec(), (&array,)).unwrap().join_view().unwrap();
        assert_eq!(copy[77].to_native(), round);
    }
}

#[test]
fn a_value_of_another_executor_is_refused() {
    let (one, other) = (executor(1), executor(1));
    let shared = one.share(&vec![1.0]).unwrap();
    let refused = other.submit(sum, (&shared,));
    assert!(matches!(refused, Err(SubmitError::Arguments(ShareError::Foreign))));
    assert_eq!(other.share(&vec![shared]).err(), Some(ShareError::Foreign));
}

#[test]
fn results_outlive_the_executor() {
    let executor = executor(1);
    let view = executor.submit(|| vec![5u64; 100_000], ()).unwrap().join_view().unwrap();
    let array = executor.array_from(&[1.0, 2.0]).unwrap();
    let late = executor.submit(|n: u64| vec![n; 1000], (3u64,)).unwrap();
    executor.shutdown().unwrap();
    assert_eq!(late.join().unwrap(), vec![3; 1000]);
    assert_eq!(view[99_999].to_native(), 5);
    assert_eq!(&array[..], [1.0, 2.0]);
}

/// Small values lie in ranges of addresses of which the next begins when one has no room for more
/// blocks. What lay between two was counted, for memory that nobody had touched.
#[test]
fn many_small_values_count_as_much_as_they_hold() {
    let executor = Executor::builder().workers(1).memory_budget(64 << 20).build().unwrap();
    let before = executor.stats().held_bytes;
    let values: Vec<_> = (0..20_000u64).map(|n| executor.share(&n).unwrap()).collect();
    let held = executor.stats().held_bytes - before;
    assert!((20_000 * 64..2 * 20_000 * 64).contains(&held), "{held} bytes");
    for (n, value) in values.iter().enumerate().step_by(997) {
        check!(executor, |x: u64| x, (value,), n as u64);
    }
}

/// The kilobytes on pages of 2 MiB in the mapping that holds an address.
fn huge_kilobytes(address: usize) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux");
    let holds = |line: &&str| {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let bound = |text: &str| usize::from_str_radix(text, 16).ok();
        range
            .and_then(|(from, to)| Some(bound(from)?..bound(to)?))
            .is_some_and(|r| r.contains(&address))
    };
    let lines = maps.lines().skip_while(|line| !holds(line));
    let huge = lines.filter_map(|line| line.strip_prefix("ShmemPmdMapped:")).next();
    let kilobytes = huge.expect("the mapping is there").trim().trim_end_matches("kB").trim();
    kilobytes.parse().expect("a number")
}

#[test]
fn memory_is_the_same_on_pages_of_either_size() {
    fn make(n: u64) -> Array<u64> {
        let mut array = wharf::array::<u64>(n as usize).unwrap();
        assert!(array.iter().all(|&x| x == 0), "an array starts with zeros");
        (0..n).for_each(|i| array[i as usize] = i);
        array.freeze()
    }
    fn is_right(x: &[u64]) -> bool {
        x.iter().enumerate().all(|(i, &x)| x == i as u64)
    }
    for huge in [true, false] {
        let executor = Executor::builder().workers(2).huge_pages(huge).build().unwrap();
        // Elements of 8 bytes: around one huge page, around several, and used again.
        for len in [262_143u64, 262_144, 262_145, 3 << 18, (9 << 18) + 5, 262_144, 3 << 18] {
            let mut array = executor.array::<u64>(len as usize).unwrap();
            assert!(array.iter().all(|&x| x == 0), "an array starts with zeros");
            (0..len).for_each(|i| array[i as usize] = i);
            let shared = executor.share(&array.to_vec()).unwrap();
            let array = array.freeze();
            check!(executor, is_right, (&array,), true);
            check!(executor, is_right, (&shared,), true);
            let result = executor.submit(make, (len,)).unwrap().join().unwrap();
            assert!(is_right(&result), "{len}, {huge}");
            check!(executor, is_right, (&result,), true);
        }
        let array = executor.array::<u64>(8 << 20).unwrap();
        let on_huge_pages = huge_kilobytes(array.as_ptr().addr());
        drop(array);
        if huge && on_huge_pages == 0 {
            eprintln!("skipped: this system gives no huge pages for shared memory");
        }
        assert!(huge || on_huge_pages == 0, "{on_huge_pages} kB, and nobody asked for them");
    }
}

/// How often this thread had to wait for a page that was there already, so far.
fn minor_faults() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to as many bytes as the system fills in.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) }, 0);
    // SAFETY: zeros are a value of this struct, too.
    unsafe { usage.assume_init() }.ru_minflt
}

/// Each page of 4 KiB of a first value was found when it was written, 256 faults a MiB.
#[test]
fn the_pages_of_new_memory_are_found_at_once() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(5), Some(14)) {
        eprintln!("skipped: Linux {release} finds pages one by one");
        return;
    }
    let executor = Executor::builder().workers(1).build().unwrap();
    // Without a whole huge page, and with a rest on either side of one at least.
    for len in [1 << 17, (1 << 18) - 1, (1 << 18) + (1 << 17), (5 << 18) - 3] {
        let mut array = executor.array_for_overwrite::<u64>(len).unwrap();
        if len > 1 << 18 && huge_kilobytes(array.as_ptr().addr()) == 0 {
            eprintln!("skipped: this system gives no huge pages for shared memory");
            continue;
        }
        let before = minor_faults();
        array.fill(1);
        let faults = minor_faults() - before;
        assert!(faults < 32, "{faults} faults for {len} numbers");
    }
}

#[test]
fn an_array_for_overwriting_is_left_as_its_memory_was() {
    const LEN: usize = 1 << 16;
    fn in_a_task() -> [bool; 2] {
        wharf::array_for_overwrite::<u64>(LEN).expect("memory").fill(7);
        let as_it_was = wharf::array_for_overwrite::<u64>(LEN).expect("memory");
        let as_it_was = as_it_was.iter().all(|&x| x == 7);
        [as_it_was, wharf::array::<u64>(LEN).expect("memory").iter().all(|&x| x == 0)]
    }
    let executor = Executor::builder().workers(1).build().unwrap();
    executor.array_for_overwrite::<u64>(LEN).unwrap().fill(7);
    assert!(executor.array_for_overwrite::<u64>(LEN).unwrap().iter().all(|&x| x == 7));
    assert!(executor.array::<u64>(LEN).unwrap().iter().all(|&x| x == 0));
    check!(executor, in_a_task, (), [true; 2]);
}
