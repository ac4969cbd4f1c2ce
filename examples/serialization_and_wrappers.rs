//! Values that cannot be archived, sent by full serialization.
//!
//! ```text
//! cargo run --example serialization_and_wrappers
//! cargo run --example serialization_and_wrappers --features postcard
//! ```
//!
//! Most types derive rkyv's traits and lie in shared memory as they are. `Serialized` is for the
//! rest: types of somebody else's that serde knows. Each part asserts what it prints.

use std::collections::BTreeMap;
use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wharf::{
    AsSerialized, Codec, CodecError, Executor, MessagePack, Serialized, ShareError, SubmitError,
    TaskError,
};

use elsewhere::{Limit, Order, Percent, Reading};

/// Stands for somebody else's crate: its types know serde and nothing else, and cannot be changed.
mod elsewhere {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    /// rkyv cannot archive it: neither `serde_json::Value` nor what `flatten` collects.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Order {
        pub id: u64,
        pub limit: Limit,
        /// Lies beside `id` and `limit` in every format, under names that only the data knows.
        #[serde(flatten)]
        pub more: BTreeMap<String, serde_json::Value>,
    }

    /// A number or a text, without a name that says which: the reader has to look at it.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    pub enum Limit {
        Price(f64),
        Rule(String),
    }

    /// A plain type that just lacks rkyv's derives.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Reading {
        pub sensor: String,
        pub celsius: Vec<f32>,
    }

    /// Writes any number, but reads only 0 to 100.
    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
    #[serde(into = "u8", try_from = "u8")]
    pub struct Percent(pub u8);

    impl From<Percent> for u8 {
        fn from(percent: Percent) -> Self {
            percent.0
        }
    }

    impl TryFrom<u8> for Percent {
        type Error = String;

        fn try_from(number: u8) -> Result<Self, String> {
            if number <= 100 { Ok(Self(number)) } else { Err(format!("{number} is above 100 %")) }
        }
    }
}

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    // One worker, so that a process that died and was replaced would be noticed.
    let executor = Executor::builder().workers(1).build()?;
    send_and_return(&executor)?;
    choose_postcard(&executor)?;
    choose_own_codec(&executor)?;
    wrap_one_field(&executor)?;
    fail_to_decode(&executor)?;
    executor.shutdown()?;
    println!("all of it as expected");
    Ok(())
}

fn order() -> Order {
    let more = [
        ("tags", serde_json::json!(["fast", "fragile"])),
        ("ship to", serde_json::json!({ "city": "Reykjavík", "floor": 3 })),
    ];
    let more = more.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Order { id: 7, limit: Limit::Rule("best".to_owned()), more }
}

// Part one: an argument and a result that only serde knows.

/// Takes the wrapper apart in the parameter: `order` is an ordinary, owned `Order`.
fn describe(Serialized(order): Serialized<Order>) -> String {
    let limit = match order.limit {
        Limit::Price(price) => format!("at {price}"),
        Limit::Rule(rule) => format!("at the {rule} price"),
    };
    format!("order {} {limit}, floor {}", order.id, order.more["ship to"]["floor"])
}

/// Returns the wrapper: the result travels the same way back.
fn raise(Serialized(mut order): Serialized<Order>, price: f64) -> Serialized<Order> {
    order.limit = Limit::Price(price);
    order.more.insert("raised".to_owned(), serde_json::Value::Bool(true));
    Serialized(order)
}

fn send_and_return(executor: &Executor) -> Result<(), Failure> {
    println!("# an argument and a result of somebody else's type");
    let order = order();
    let text = executor.submit(describe, (Serialized(order.clone()),))?.join()?;
    println!("the task saw: {text}");
    assert_eq!(text, "order 7 at the best price, floor 3");

    let raised = executor.submit(raise, (Serialized(order.clone()), 12.5))?.join()?;
    println!("the task returned: {:?} and {:?}", raised.limit, raised.more["raised"]);
    assert_eq!(raised.limit, Limit::Price(12.5));
    let Order { id, more, .. } = raised.into_inner();
    assert_eq!((id, &more["tags"]), (order.id, &order.more["tags"]));
    println!(
        "as MessagePack, the default, the order took {} bytes\n",
        bytes::<MessagePack>(&order)?
    );
    Ok(())
}

/// How long a value is in a codec.
fn bytes<C: Codec>(value: &impl Serialize) -> Result<usize, CodecError> {
    C::encode(value).map(|bytes| bytes.len())
}

// Part two: other codecs. The codec is part of the type, so that both ends agree at compile time.

fn reading() -> Reading {
    Reading { sensor: "roof".to_owned(), celsius: (0..100).map(|i| i as f32 / 4.0).collect() }
}

fn mean<C: Codec>(Serialized(reading): Serialized<Reading, C>) -> f32 {
    reading.celsius.iter().sum::<f32>() / reading.celsius.len() as f32
}

#[cfg(feature = "postcard")]
fn choose_postcard(executor: &Executor) -> Result<(), Failure> {
    use wharf::Postcard;
    println!("# the codec Postcard");
    let wrapped = Serialized::<Reading, Postcard>::new(reading());
    let found = executor.submit(mean::<Postcard>, (wrapped,))?.join()?;
    assert_eq!(found, 12.375);
    let (short, long) = (bytes::<Postcard>(&reading())?, bytes::<MessagePack>(&reading())?);
    assert!(short < long);
    println!("the mean is {found}; {short} bytes, in MessagePack {long}");

    // Postcard writes no names and no types, so nothing can be read that has to be looked at first.
    let wrapped = Serialized::<Order, Postcard>::new(order());
    match executor.submit(|order: Serialized<Order, Postcard>| order.id, (wrapped,)) {
        Err(SubmitError::Arguments(ShareError::Encode { cause })) => {
            println!("an Order is not for Postcard, and submit says so: {cause}\n");
        }
        other => return Err(format!("Postcard took an untagged enum: {other:?}").into()),
    }
    Ok(())
}

#[cfg(not(feature = "postcard"))]
fn choose_postcard(_: &Executor) -> Result<(), Failure> {
    println!("# the codec Postcard: add `--features postcard` to see it\n");
    Ok(())
}

/// A codec of this program's own: any serde format becomes one in two lines.
enum Json {}

impl Codec for Json {
    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

fn choose_own_codec(executor: &Executor) -> Result<(), Failure> {
    println!("# a codec of one's own: JSON");
    let wrapped = Serialized::<Reading, Json>::new(reading());
    let found = executor.submit(mean::<Json>, (wrapped,))?.join()?;
    assert_eq!(found, 12.375);
    println!("the mean is {found}; {} bytes", bytes::<Json>(&reading())?);

    // Different codecs for different arguments of one task, and a third for its result.
    fn label(
        Serialized(order): Serialized<Order, Json>,
        Serialized(reading): Serialized<Reading>,
    ) -> Serialized<BTreeMap<String, u64>, Json> {
        Serialized(BTreeMap::from([(reading.sensor, order.id)]))
    }
    let args = (Serialized::<_, Json>::new(order()), Serialized::<_>::new(reading()));
    let labels = executor.submit(label, args)?.join()?;
    println!("a task with JSON and MessagePack arguments returned {labels:?}");
    assert_eq!(labels["roof"], 7);

    // What the format cannot hold is refused here, before there is a task.
    let nested = BTreeMap::from([(vec![1_u8], 2_u8)]);
    let task = |map: Serialized<BTreeMap<Vec<u8>, u8>, Json>| map.len() as u64;
    match executor.submit(task, (Serialized::<_, Json>::new(nested),)) {
        Err(SubmitError::Arguments(ShareError::Encode { cause })) => {
            println!("JSON has no such map, and submit says so: {cause}\n");
        }
        other => return Err(format!("JSON took a list as a key: {other:?}").into()),
    }
    Ok(())
}

// Part three: one field of a struct of this program's own.

/// Archived, and read in place, but for one field.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Shipment {
    weights_kg: Vec<f64>,
    #[rkyv(with = AsSerialized)]
    order: Order,
}

/// Sums `weights_kg` where it lies, and decodes `order` only where it is needed.
fn freight(shipment: &ArchivedShipment, price: f64) -> Result<(f64, u64), String> {
    let cost = shipment.weights_kg.iter().map(|kg| kg.to_native() * price).sum();
    let order = shipment.order.decode().map_err(|error| error.to_string())?;
    Ok((cost, order.id))
}

fn encoded_bytes(shipment: &ArchivedShipment) -> u64 {
    shipment.order.as_bytes().len() as u64
}

fn wrap_one_field(executor: &Executor) -> Result<(), Failure> {
    println!("# one field with AsSerialized");
    let shipment = Shipment { weights_kg: vec![1.5; 10_000], order: order() };
    let shipment = executor.share(&shipment)?;
    let (cost, id) = executor.submit(freight, (&shipment, 2.0))?.join()??;
    assert_eq!((cost, id), (30_000.0, 7));
    let bytes = executor.submit(encoded_bytes, (&shipment,))?.join()?;
    println!("the freight of order {id} is {cost}; of the struct, {bytes} bytes are MessagePack\n");
    Ok(())
}

// Part four: a value that does not decode.

fn halve(Serialized(percent): Serialized<Percent>) -> (u8, u32) {
    (percent.0 / 2, std::process::id())
}

fn double(Serialized(percent): Serialized<Percent>) -> Serialized<Percent> {
    Serialized(Percent(percent.0 * 2))
}

fn fail_to_decode(executor: &Executor) -> Result<(), Failure> {
    println!("# a value that does not decode");
    let (half, worker) = executor.submit(halve, (Serialized(Percent(80)),))?.join()?;
    assert_eq!((half, vec![worker]), (40, executor.worker_pids()));

    // Written here without complaint, refused in the worker: the function is not called.
    let refused = executor.submit(halve, (Serialized(Percent(130)),))?.join();
    print_refusal(refused.err(), "argument 1")?;
    // A result that this process refuses is the same error, of "the result".
    let refused = executor.submit(double, (Serialized(Percent(65)),))?.join();
    print_refusal(refused.err(), "the result")?;

    let (half, same) = executor.submit(halve, (Serialized(Percent(50)),))?.join()?;
    assert_eq!((half, same, executor.stats().deaths), (25, worker, 0));
    println!("the next task went through, in the same worker {worker}\n");
    Ok(())
}

fn print_refusal(error: Option<TaskError>, expected: &str) -> Result<(), Failure> {
    match error {
        Some(ref error @ TaskError::Decode { ref what, ref cause, .. }) => {
            println!("refused: {error}");
            assert_eq!(what, expected);
            assert!(cause.contains("130 is above 100 %"), "{cause}");
            Ok(())
        }
        other => Err(format!("130 % was taken: {other:?}").into()),
    }
}
