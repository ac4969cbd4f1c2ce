//! What goes wrong, and how it is told.

use wharf::{
    Array, Backend, BuildError, Executor, Serialized, ShareError, SubmitError, TaskError,
    TrySubmitError,
};

use crate::{BACKENDS, builder, executor};

const MIB: u64 = 1 << 20;

fn say_no(way: &str) -> u64 {
    panic!("no {way} today")
}
const SAYS_NO: u32 = line!() - 2;

fn reach_too_far(at: usize) -> u64 {
    [1u64, 2][std::hint::black_box(at)]
}
const TOO_FAR: u32 = line!() - 2;

fn fails(way: &str) -> u64 {
    match way {
        "text" => say_no(way),
        "number" => std::panic::panic_any(5u8),
        "index" => reach_too_far(way.len()),
        "caught" => {
            let caught = std::panic::catch_unwind(|| panic!("a first one"));
            assert!(caught.is_err());
            say_no("text")
        }
        "thread" => {
            let thread = std::thread::spawn(|| -> u64 { panic!("in a thread") });
            thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
        }
        other => panic!("no way to fail: {other}"),
    }
}

fn panic_of(executor: &Executor, way: &str) -> (String, String) {
    match executor.submit(fails, (way.to_owned(),)).unwrap().join() {
        Err(TaskError::Panicked { message, location, task, .. }) => {
            assert!(task.ends_with("fails"), "{task}");
            (message, location)
        }
        other => panic!("{way}: {other:?}"),
    }
}

pub fn a_panic_is_told_with_its_message_and_place(backend: Backend) {
    let executor = executor(backend);
    let here = |line: u32| format!("{}:{line}:", file!());
    for round in 0..3 {
        for (way, text, line) in [
            ("text", "no text today", Some(SAYS_NO)),
            ("number", "a panic with a payload that is no text", None),
            ("index", "index out of bounds: the len is 2 but the index is 5", Some(TOO_FAR)),
            ("caught", "no text today", Some(SAYS_NO)),
        ] {
            let (message, location) = panic_of(&executor, way);
            assert_eq!(message, text, "{round}");
            let place = line.map_or_else(|| format!("{}:", file!()), here);
            assert!(location.starts_with(&place), "{way}: {location}");
        }
        assert_eq!(panic_of(&executor, "thread").0, "in a thread");
        assert_eq!(executor.submit(|n: u64| n, (7u64,)).unwrap().join().unwrap(), 7);
    }
    let view = executor.submit(fails, ("text".to_owned(),)).unwrap().join_view();
    assert!(matches!(view, Err(TaskError::Panicked { .. })));
    let shared = executor.submit(fails, ("text".to_owned(),)).unwrap().into_shared();
    assert!(matches!(shared, Err(TaskError::Panicked { .. })));
}

pub fn a_typed_error_is_a_result(backend: Backend) {
    fn root(x: f64) -> Result<f64, String> {
        if x < 0.0 { Err(format!("{x} is negative")) } else { Ok(x.sqrt()) }
    }
    let executor = executor(backend);
    for (x, expected) in [(4.0, Ok(2.0)), (-4.0, Err("-4 is negative".to_owned()))] {
        assert_eq!(executor.submit(root, (x,)).unwrap().join().unwrap(), expected);
    }
}

/// Is encoded as text and decodes from none, or is not encoded at all.
#[derive(Debug)]
pub struct Odd {
    pub encodes: bool,
}

impl serde::Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let refuses = || serde::ser::Error::custom("it is odd");
        if self.encodes { to.serialize_str("odd") } else { Err(refuses()) }
    }
}

impl<'de> serde::Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("it was odd"))
    }
}

pub fn take_odd(_: u64, _: Serialized<Odd>) {}

pub fn make_odd(encodes: bool) -> Serialized<Odd> {
    Serialized(Odd { encodes })
}

pub fn what_does_not_decode_or_encode_says_so(backend: Backend) {
    let executor = executor(backend);
    let odd = |encodes| Serialized(Odd { encodes });
    let refused = executor.submit(take_odd, (1u64, odd(false)));
    let Err(SubmitError::Arguments(ShareError::Encode { cause })) = refused else {
        panic!("{refused:?}");
    };
    assert!(cause.contains("it is odd"), "{cause}");
    let failed = executor.submit(take_odd, (1u64, odd(true))).unwrap().join();
    let Err(TaskError::Decode { what, cause, .. }) = failed else { panic!("{failed:?}") };
    assert!(what == "argument 2" && cause.contains("it was odd"), "{what}: {cause}");
    let failed = executor.submit(make_odd, (false,)).unwrap().join();
    let Err(TaskError::Result { error: ShareError::Encode { cause }, .. }) = failed else {
        panic!("{failed:?}");
    };
    assert!(cause.contains("it is odd"), "{cause}");
    let failed = executor.submit(make_odd, (true,)).unwrap().join();
    let Err(TaskError::Decode { what, cause, .. }) = failed else { panic!("{failed:?}") };
    assert!(what == "the result" && cause.contains("it was odd"), "{what}: {cause}");
    let large = usize::MAX;
    let cut = executor.submit(|n: usize| n, (large,));
    let is_cut = |error: &ShareError| matches!(error, ShareError::Truncated { .. });
    assert!(matches!(&cut, Err(SubmitError::Arguments(error)) if is_cut(error)), "{cut:?}");
    let cut = executor.submit(|n: u64| n as usize, (u64::MAX,)).unwrap().join();
    assert!(matches!(&cut, Err(TaskError::Result { error, .. }) if is_cut(error)), "{cut:?}");
}

fn zeros(n: u64) -> Vec<u8> {
    vec![0; n as usize]
}

fn array_of(n: u64) -> Result<Array<u8>, ShareError> {
    Ok(wharf::array::<u8>(n as usize)?.freeze())
}

pub fn what_does_not_fit_is_refused_with_the_numbers(backend: Backend) {
    let budget = 8 * MIB;
    let executor = builder(backend).memory_budget(budget).build().unwrap();
    let numbers = |error: &ShareError, asked: u64| match error {
        ShareError::OutOfMemory { asked: at, left } => *at >= asked && *left <= budget,
        _ => false,
    };
    let large = 9 * MIB;
    let array = executor.array::<u8>(large as usize).map(drop).unwrap_err();
    assert!(numbers(&array, large), "{array}");
    let shared = executor.share(&zeros(large)).map(drop).unwrap_err();
    assert!(numbers(&shared, large), "{shared}");
    let refused = executor.submit(|x: &[u8]| x.len() as u64, (zeros(large),)).unwrap_err();
    assert!(matches!(&refused, SubmitError::Arguments(e) if numbers(e, large)), "{refused}");
    let refused = executor.try_submit(|x: &[u8]| x.len() as u64, (zeros(large),)).unwrap_err();
    assert!(matches!(&refused, TrySubmitError::Refused { .. }), "{refused}");
    assert_eq!(refused.into_args().0.len() as u64, large);
    let failed = executor.submit(zeros, (large,)).unwrap().join().unwrap_err();
    let told = matches!(&failed, TaskError::Result { error, .. } if numbers(error, large));
    assert!(told, "{failed}");
    let inside = executor.submit(array_of, (large,)).unwrap().join().unwrap().unwrap_err();
    assert!(numbers(&inside, large), "{inside}");
    // And all of it can be had afterwards.
    let fits = executor.submit(array_of, (4 * MIB,)).unwrap().join().unwrap().unwrap();
    assert_eq!(fits.len() as u64, 4 * MIB);
    drop(executor.array::<u8>(3 * MIB as usize).unwrap());
}

pub fn values_of_another_executor_are_refused(backend: Backend) {
    let (here, there) = (executor(backend), executor(backend));
    let array = there.array_from(&[1.0]).unwrap();
    let shared = there.share(&vec![1.0]).unwrap();
    let len = |x: &[f64]| x.len() as u64;
    for refused in [here.submit(len, (&array,)), here.submit(len, (&shared,))] {
        let foreign = matches!(refused, Err(SubmitError::Arguments(ShareError::Foreign)));
        assert!(foreign, "{refused:?}");
    }
    let result = there.submit(zeros, (100_000u64,)).unwrap().into_shared().unwrap();
    let refused = here.submit(|x: &[u8]| x.len() as u64, (&result,));
    assert!(matches!(refused, Err(SubmitError::Arguments(ShareError::Foreign))), "{refused:?}");
}

pub fn an_on_start_that_fails_is_an_error_of_build(backend: Backend) {
    fn start(way: &str) {
        fails(way);
    }
    let built = builder(backend).on_start(start, ("text".to_owned(),)).build();
    let Err(BuildError::OnStart { cause, .. }) = built else { panic!("{built:?}") };
    let place = format!("panicked at {}:{}:", file!(), SAYS_NO);
    assert!(cause.starts_with(&place) && cause.ends_with("no text today"), "{cause}");
    let odd = |encodes| (2u64, Serialized(Odd { encodes }));
    let built = builder(backend).on_start(take_odd, odd(true)).build();
    let Err(BuildError::OnStart { cause, .. }) = built else { panic!("{built:?}") };
    assert!(cause.starts_with("argument 2 does not decode") && cause.contains("it was odd"));
    let built = builder(backend).on_start(take_odd, odd(false)).build();
    assert!(matches!(built, Err(BuildError::OnStartArguments(_))), "{built:?}");
}

pub fn a_setting_out_of_range_is_an_error(backend: Backend) {
    for (built, name) in [
        (builder(backend).workers(0), "workers"),
        (builder(backend).workers(1025), "workers"),
        (builder(backend).task_slots(0), "task_slots"),
        (builder(backend).memory_budget(1), "memory_budget"),
        (builder(backend).workers_max(1), "workers_max"),
    ] {
        let built = built.build();
        let named = matches!(built, Err(BuildError::Setting { setting, .. }) if setting == name);
        assert!(named, "{name}: {built:?}");
    }
}

/// The same texts, word by word.
#[test]
fn errors_say_the_same() {
    let texts = |backend: Backend| {
        let executor = builder(backend).memory_budget(8 * MIB).build().unwrap();
        let on_start = builder(backend).on_start(|| assert_eq!(1, 2), ()).build();
        let text = |way: &str| executor.submit(fails, (way.to_owned(),)).unwrap().join();
        [
            text("text").unwrap_err().to_string(),
            text("index").unwrap_err().to_string(),
            executor.submit(make_odd, (true,)).unwrap().join().unwrap_err().to_string(),
            executor.submit(make_odd, (false,)).unwrap().join().unwrap_err().to_string(),
            executor.submit(|n: usize| n, (usize::MAX,)).unwrap_err().to_string(),
            on_start.map(drop).unwrap_err().to_string().replace("worker 1", "worker 0"),
            executor.resize(5000).unwrap_err().to_string(),
        ]
    };
    let all = BACKENDS.map(texts);
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
}
