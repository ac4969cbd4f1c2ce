//! Arguments and results of every kind.

use wharf::{
    ArchivedArray, ArchivedSerialized, ArchivedShared, Array, ArrayMut, AsSerialized, Backend,
    Executor, Serialized, ShareError, Shared,
};

use crate::{BACKENDS, executor};

#[derive(Debug, Clone, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Row {
    name: String,
    values: Vec<f64>,
    code: Option<u32>,
}

fn row() -> Row {
    Row { name: "pier".to_owned(), values: vec![1.0, 2.5], code: Some(7) }
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

pub fn every_primitive_goes_in_and_out(backend: Backend) {
    let executor = executor(backend);
    check!(executor, |x: u8| x, (u8::MAX,), u8::MAX);
    check!(executor, |x: u16| x, (u16::MAX,), u16::MAX);
    check!(executor, |x: u32| x, (u32::MAX,), u32::MAX);
    check!(executor, |x: u64| x, (u64::MAX,), u64::MAX);
    check!(executor, |x: u128| x, (u128::MAX,), u128::MAX);
    check!(executor, |x: i8| x, (i8::MIN,), i8::MIN);
    check!(executor, |x: i16| x, (i16::MIN,), i16::MIN);
    check!(executor, |x: i32| x, (i32::MIN,), i32::MIN);
    check!(executor, |x: i64| x, (i64::MIN,), i64::MIN);
    check!(executor, |x: i128| x, (i128::MIN,), i128::MIN);
    check!(executor, |x: f32| x, (f32::EPSILON,), f32::EPSILON);
    check!(executor, |x: f64| x, (f64::EPSILON,), f64::EPSILON);
    check!(executor, |x: bool| !x, (true,), false);
    check!(executor, |x: char| x, ('ß',), 'ß');
    check!(executor, |x: usize| x, (5usize,), 5usize);
    check!(executor, |x: isize| x, (-5isize,), -5isize);
    check!(executor, |(): ()| (), ((),), ());
}

pub fn every_kind_of_vector_and_text_is_a_slice(backend: Backend) {
    let executor = executor(backend);
    check!(executor, sum, (vec![1.0, 2.0],), 3.0);
    check!(executor, sum, (vec![0.5; 100_000],), 50_000.0);
    check!(executor, sum, (&executor.share(&vec![1.0, 2.0]).unwrap(),), 3.0);
    check!(executor, sum, (executor.share(&vec![1.0; 5000]).unwrap(),), 5000.0);
    check!(executor, sum, (&executor.array_from(&[1.0, 2.0]).unwrap(),), 3.0);
    check!(executor, sum, (executor.array_from(&[1.0, 2.0]).unwrap(),), 3.0);
    let mut built: ArrayMut<f64> = executor.array(70_000).unwrap();
    assert!(built.iter().all(|x| *x == 0.0), "an array starts with zeros");
    built[69_999] = 4.0;
    check!(executor, sum, (&built.freeze(),), 4.0);
    check!(executor, |x: &[u64]| x.iter().sum::<u64>(), (vec![1u64, 2],), 3);
    check!(executor, |x: &[i32]| x.len() as u64, (Vec::<i32>::new(),), 0);
    check!(executor, |x: &[u8]| x.to_vec(), (vec![1u8, 2],), vec![1, 2]);
    check!(executor, |x: &[bool]| x[1], (vec![false, true],), true);
    check!(executor, |x: u64| x, (&executor.share(&5u64).unwrap(),), 5);
    check!(executor, |x: u64| x, (executor.share(&5u64).unwrap(),), 5);
    check!(executor, |x: bool| x, (&executor.share(&true).unwrap(),), true);
    check!(
        executor,
        |x: &[[f32; 2]]| x[1][0],
        (&executor.array_from(&[[1f32, 2.0], [3.0, 4.0]]).unwrap(),),
        3.0
    );
    check!(executor, |s: &str| s.len() as u64, ("straße".to_owned(),), 7);
    let text = executor.share(&"kai".to_owned()).unwrap();
    check!(executor, |s: &str| s.to_owned(), (&text,), "kai");
    check!(executor, |s: &str| s.to_owned(), (text,), "kai");
}

pub fn one_value_is_the_argument_of_many_tasks(backend: Backend) {
    fn dot(x: &[f64], y: &[f64]) -> f64 {
        x.iter().zip(y).map(|(a, b)| a * b).sum()
    }
    let executor = executor(backend);
    let x = executor.share(&vec![1.0; 100_000]).unwrap();
    let y = executor.array_from(&vec![2.0; 100_000]).unwrap();
    let tasks = [(); 10].map(|()| executor.submit(dot, (&x, &y)).unwrap());
    tasks.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), 200_000.0));
}

pub fn structs_are_read_in_their_archived_form(backend: Backend) {
    fn describe(row: &ArchivedRow) -> String {
        format!("{} {} {:?}", row.name, row.values[1], row.code.as_ref().map(|c| c.to_native()))
    }
    fn same(row: &ArchivedRow) -> Row {
        rkyv::deserialize::<Row, rkyv::rancor::Error>(row).unwrap()
    }
    let executor = executor(backend);
    check!(executor, describe, (row(),), "pier 2.5 Some(7)");
    check!(executor, describe, (&executor.share(&row()).unwrap(),), "pier 2.5 Some(7)");
    check!(executor, same, (row(),), row());
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Model {
    table: Shared<Vec<Row>>,
    weights: Array<f64>,
    again: Vec<Shared<Vec<f64>>>,
}

pub fn shared_values_and_arrays_nest_in_arguments(backend: Backend) {
    fn read(model: &ArchivedModel) -> f64 {
        let table: &ArchivedShared<Vec<Row>> = &model.table;
        let weights: &ArchivedArray<f64> = &model.weights;
        let again = model.again.iter().flat_map(|v| v.iter().map(|x| x.to_native())).sum::<f64>();
        table[0].values[0].to_native() + weights.iter().sum::<f64>() + again
    }
    let executor = executor(backend);
    let inner = executor.share(&vec![10.0, 20.0]).unwrap();
    let model = Model {
        table: executor.share(&vec![row(); 1000]).unwrap(),
        weights: executor.array_from(&[100.0; 1000]).unwrap(),
        again: vec![inner.clone(), inner],
    };
    let shared = executor.share(&model).unwrap();
    drop(model);
    check!(executor, read, (&shared,), 100_061.0);
    check!(executor, |m: &ArchivedShared<Model>| read(m), (shared.clone(),), 100_061.0);
    assert_eq!((shared.weights.len(), shared.table.len()), (1000, 1000));
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Page {
    number: u64,
    #[rkyv(with = AsSerialized)]
    notes: serde_json::Value,
}

pub fn what_only_serde_knows_goes_both_ways(backend: Backend) {
    fn keys(Serialized(value): Serialized<serde_json::Value>) -> Serialized<Vec<String>> {
        let object = value.as_object().expect("an object");
        Serialized(object.keys().cloned().collect())
    }
    fn note(page: &ArchivedPage) -> Serialized<serde_json::Value> {
        let notes: &ArchivedSerialized<serde_json::Value> = &page.notes;
        let notes = notes.decode().expect("it decodes");
        Serialized(notes[page.number.to_native() as usize].clone())
    }
    let executor = executor(backend);
    let value = serde_json::json!({ "a": 1, "b": [2, null, { "c": 0.5 }] });
    assert_eq!(*executor.submit(keys, (Serialized(value),)).unwrap().join().unwrap(), ["a", "b"]);
    let notes = serde_json::json!([null, { "x": "y" }]);
    let found = executor.submit(note, (Page { number: 1, notes: notes.clone() },)).unwrap();
    assert_eq!(*found.join().unwrap(), notes[1]);
}

pub fn functions_have_up_to_eight_parameters(backend: Backend) {
    #[allow(clippy::too_many_arguments, reason = "that is the point")]
    fn eight(a: u8, b: u16, c: u32, d: u64, e: f32, f: f64, g: &str, h: &[u64]) -> f64 {
        let words = f64::from(a) + f64::from(b) + f64::from(c) + d as f64 + f64::from(e);
        words + f + g.len() as f64 + h[0] as f64
    }
    let executor = executor(backend);
    check!(executor, || 1u64, (), 1);
    let three = |a: u64, b: &str, c: &[f64]| a + b.len() as u64 + c.len() as u64;
    check!(executor, three, (1u64, "ab".to_owned(), vec![0.5; 3]), 6);
    let text = "seven77".to_owned();
    check!(executor, eight, (1u8, 2u16, 3u32, 4u64, 5f32, 6f64, text, vec![8u64]), 36.0);
}

pub fn generic_functions_are_tasks_of_their_own(backend: Backend) {
    fn twice<T: Copy + std::ops::Add<Output = T>>(x: T) -> T {
        x + x
    }
    fn power<const N: i32>(x: f64) -> f64 {
        x.powi(N)
    }
    let executor = executor(backend);
    check!(executor, twice::<u64>, (4u64,), 8);
    check!(executor, twice::<f64>, (4.5,), 9.0);
    check!(executor, power::<2>, (3.0,), 9.0);
    check!(executor, power::<3>, (3.0,), 27.0);
}

fn counted(n: u64) -> Vec<u64> {
    (0..n).collect()
}

pub fn results_of_any_size_are_decoded_viewed_and_passed_on(backend: Backend) {
    let executor = executor(backend);
    // Inside the slot, a small block, pages of its own, and many of them.
    for n in [0, 5, 1000, 20_000, 1 << 20] {
        let task = || executor.submit(counted, (n,)).unwrap();
        assert!(task().join().unwrap().into_iter().eq(0..n), "{n}");
        let view = task().join_view().unwrap();
        assert!(view.iter().map(|x| x.to_native()).eq(0..n), "{n}");
        let shared = task().into_shared().unwrap();
        drop(view);
        check!(
            executor,
            |x: &[u64]| x.iter().sum::<u64>(),
            (&shared,),
            n * n.saturating_sub(1) / 2
        );
    }
}

type Parts = (String, Vec<Array<f64>>, Option<Array<u8>>);

fn parts(n: u64) -> Result<Parts, ShareError> {
    let filled = |k: u64| {
        let mut array = wharf::array::<f64>(k as usize)?;
        assert!(array.iter().all(|x| *x == 0.0), "an array starts with zeros");
        array.fill(k as f64);
        Ok::<_, ShareError>(array.freeze())
    };
    let arrays = (1..=n).map(|k| filled(k * 1000)).collect::<Result<_, _>>()?;
    Ok((format!("{n} parts"), arrays, Some(wharf::array::<u8>(3)?.freeze())))
}

pub fn arrays_built_in_tasks_are_results_alone_and_inside_others(backend: Backend) {
    fn alone(n: u64) -> ArrayMut<u64> {
        let mut array = wharf::array_for_overwrite::<u64>(n as usize).expect("memory");
        array.iter_mut().zip(0..).for_each(|(x, n)| *x = n);
        array
    }
    let executor = executor(backend);
    for round in 0..3 {
        let array: Array<u64> = executor.submit(alone, (100_000u64,)).unwrap().join().unwrap();
        assert!(array.iter().copied().eq(0..100_000), "{round}");
        let (text, arrays, last) =
            executor.submit(parts, (12u64,)).unwrap().join().unwrap().unwrap();
        assert_eq!((text.as_str(), arrays.len(), last.map(|a| a.len())), ("12 parts", 12, Some(3)));
        for (array, k) in arrays.iter().zip(1..) {
            assert!(array.len() == k * 1000 && array.iter().all(|x| *x == array.len() as f64));
        }
    }
}

pub fn results_are_arguments_of_other_tasks(backend: Backend) {
    fn add(x: &[f64], y: &[f64]) -> ArrayMut<f64> {
        let mut sum = wharf::array::<f64>(x.len()).expect("memory");
        sum.iter_mut().zip(x.iter().zip(y)).for_each(|(sum, (x, y))| *sum = x + y);
        sum
    }
    let executor = executor(backend);
    let ones = executor.array_from(&vec![1.0; 10_000]).unwrap();
    let mut sums = vec![ones.clone()];
    // Each of the workers makes some and reads some of the other's.
    for _ in 0..4 {
        let last = sums.last().expect("there is one");
        let tasks = [(last, &ones), (last, last)].map(|args| executor.submit(add, args).unwrap());
        sums.extend(tasks.map(|task| task.join().unwrap()));
    }
    assert_eq!((sums.last().unwrap()[0], sums.last().unwrap()[9_999]), (16.0, 16.0));
    let shared = executor.submit(parts, (3u64,)).unwrap().into_shared().unwrap();
    type Archived = <Result<Parts, ShareError> as rkyv::Archive>::Archived;
    let read = |parts: &ArchivedShared<Result<Parts, ShareError>>| {
        let parts: &Archived = parts;
        parts.as_ref().map_or(0, |parts| parts.1.iter().map(|array| array.len()).sum()) as u64
    };
    check!(executor, read, (shared.clone(),), 6000);
}

pub fn results_outlive_the_executor(backend: Backend) {
    let kept = {
        let executor = executor(backend);
        let shared = executor.share(&counted(1000)).unwrap();
        let array = executor.array_from(&[7u64; 1000]).unwrap();
        let view = executor.submit(counted, (50_000u64,)).unwrap().join_view().unwrap();
        let parts = executor.submit(parts, (3u64,)).unwrap().join().unwrap().unwrap();
        let unasked = executor.submit(counted, (1000u64,)).unwrap();
        executor.shutdown().unwrap();
        (shared, array, view, parts, unasked)
    };
    let (shared, array, view, parts, unasked) = kept;
    assert!(shared.iter().map(|x| x.to_native()).eq(0..1000));
    assert!(array.iter().all(|x| *x == 7));
    assert!(view.iter().map(|x| x.to_native()).eq(0..50_000));
    assert!(parts.1[2].iter().all(|x| *x == 3000.0));
    assert!(unasked.join().unwrap().into_iter().eq(0..1000));
}

/// Numbers that only their bits tell apart, and sums that depend on the order of their terms.
#[test]
fn floating_point_results_are_equal_bit_by_bit() {
    fn odd_ones() -> Vec<f64> {
        let nan = f64::from_bits(0x7ff8_dead_beef_0001);
        vec![nan, -nan, -0.0, f64::MIN_POSITIVE / 3.0, f64::NEG_INFINITY, 0.1 + 0.2]
    }
    fn series(n: u64, seed: &[f64]) -> ArrayMut<f64> {
        let mut out = wharf::array::<f64>(n as usize).expect("memory");
        let mut last = seed.iter().sum::<f64>();
        for (x, k) in out.iter_mut().zip(1..) {
            last = (last * 1.000_000_1 + f64::from(k).sin() / f64::from(k).ln_1p()).tanh();
            *x = last;
        }
        out
    }
    let bits = |executor: &Executor| {
        let odd = executor.submit(odd_ones, ()).unwrap().join().unwrap();
        let seed = executor.array_from(&vec![0.1; 1001]).unwrap();
        let series = executor.submit(series, (10_000u64, &seed)).unwrap().join().unwrap();
        let total = executor.submit(sum, (&series,)).unwrap().join().unwrap();
        let numbers = odd.iter().chain(series.iter()).chain([&total]);
        numbers.map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let all = BACKENDS.map(|backend| bits(&executor(backend)));
    assert_eq!(all[0].len(), 10_007);
    assert!(all[0] == all[1] && all[1] == all[2]);
    assert_eq!(all[0][0], 0x7ff8_dead_beef_0001);
}
