//! Every way to fail at every place in a worker.

use wharf::TaskError;

use super::faults::{End, FAULTS};
use super::places::{PLACES, Place};
use super::trial::{among_neighbours, check_end, trial};

fn place(name: &str) -> &'static Place {
    PLACES.iter().find(|place| place.name == name).expect("there is such a place")
}

/// All faults, one after the other, in the midst of neighbours.
fn check(name: &str) {
    let place = place(name);
    for (fault, end) in FAULTS {
        let name = format!("{fault} while {}", place.name);
        let end = (place.end)(*end);
        trial(&name, |executor| {
            let submit = |executor: &_| (place.submit)(executor, (*fault).to_owned());
            let outcome = among_neighbours(&name, executor, submit, |task| task());
            check_end(&name, end, place.task, outcome)
        });
    }
}

#[test]
fn a_fault_while_an_argument_is_decoded_costs_its_task() {
    check("decoding an argument");
}

#[test]
fn a_fault_while_a_parameter_looks_at_its_argument_costs_its_task() {
    check("looking at an argument");
}

#[test]
fn a_fault_of_a_running_task_costs_its_task() {
    check("running");
}

#[test]
fn a_fault_while_a_task_unwinds_costs_its_task() {
    check("unwinding");
}

#[test]
fn a_fault_while_an_argument_is_dropped_costs_its_task() {
    check("dropping an argument");
}

#[test]
fn a_fault_while_serde_encodes_the_result_costs_its_task() {
    check("encoding the result by serde");
}

#[test]
fn a_fault_while_the_result_is_counted_costs_its_task() {
    check("counting the result");
}

#[test]
fn a_fault_while_the_result_is_written_costs_its_task() {
    check("writing the result");
}

#[test]
fn a_fault_while_the_encoded_result_is_dropped_costs_its_task() {
    check("dropping the result");
}

#[test]
fn a_fault_while_a_thread_of_a_task_ends_costs_its_task() {
    check("ending a thread");
}

/// Nobody asks how the task ended; its arguments and its slot come back all the same.
#[test]
fn a_fault_of_a_task_whose_handle_was_dropped_costs_at_most_a_worker() {
    let place = place("running");
    for (fault, end) in FAULTS {
        let name = format!("{fault} without a handle");
        trial(&name, |executor| {
            let submit = |executor: &_| (place.submit)(executor, (*fault).to_owned());
            among_neighbours(&name, executor, submit, drop);
            u64::from(matches!(end, End::Dies(_)))
        });
    }
}

/// A task that fails before it has a result leaves as much room as one that returned it.
#[test]
fn failing_tasks_use_up_neither_slots_nor_memory() {
    const ROUNDS: usize = 800;
    let builder = wharf::Executor::builder().task_slots(16).memory_budget(64 << 20);
    super::trial::trial_of("many failures", builder, |executor| {
        let places =
            ["decoding an argument", "running", "counting the result", "writing the result"];
        for name in places.iter().cycle().take(ROUNDS) {
            let outcome = (place(name).submit)(executor, "panic".to_owned())();
            assert!(matches!(outcome, Err(TaskError::Panicked { .. })), "{name}: {outcome:?}");
        }
        0
    });
}
