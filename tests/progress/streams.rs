//! Progress of a map that is polled.

use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;

use super::common::{DEADLINE, executor};
use super::{check, double};

#[test]
fn a_stream_tells_of_its_beginning_and_of_every_result_in_the_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let executor = executor(2);
    for items in [0, 1, 100, 5000u64] {
        let mut seen = Vec::new();
        let mut map = executor.map(double, 0..items).progress(|progress| seen.push(progress));
        let all = async {
            let mut results = 0;
            while let Some(result) = poll_fn(|cx| Pin::new(&mut map).poll_next(cx)).await {
                assert_eq!(result.unwrap(), results * 2);
                results += 1;
            }
            results
        };
        let all = async { tokio::time::timeout(DEADLINE, all).await.expect("in time") };
        assert_eq!(runtime.block_on(all), items);
        drop(map);
        check(&seen, Some(items), items);
    }
}

/// A map that tells nobody may go to another thread, as it always could.
#[test]
fn a_map_without_an_observer_is_sent_to_another_thread() {
    let executor = executor(1);
    let map = executor.map(double, 0..10u64);
    let sum = move || map.map(Result::unwrap).sum::<u64>();
    let sum = std::thread::scope(|scope| scope.spawn(sum).join());
    assert_eq!(sum.unwrap(), 90);
}
