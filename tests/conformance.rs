//! The same results, errors and types whatever runs the tasks: one suite over each backend.
//!
//! A behaviour is a function of the backend, in one of the modules; `suite!` makes a test of it for
//! each. What cannot be the same is in `conformance/differences.rs`, a test for each row of the
//! table at `Backend`; `conformance/variable.rs` is about `WHARF_BACKEND`.

mod common;
#[macro_use]
#[path = "common/sizes.rs"]
mod sizes;

#[path = "conformance/differences.rs"]
mod differences;
#[path = "conformance/ends.rs"]
mod ends;
#[path = "conformance/errors.rs"]
mod errors;
#[path = "conformance/life.rs"]
mod life;
#[path = "conformance/loops.rs"]
mod loops;
#[path = "conformance/maps.rs"]
mod maps;
#[path = "conformance/nesting.rs"]
mod nesting;
#[path = "conformance/values.rs"]
mod values;
#[path = "conformance/variable.rs"]
mod variable;
#[path = "conformance/watching.rs"]
mod watching;

use wharf::{Backend, Builder, Executor};

const BACKENDS: [Backend; 3] = [Backend::Processes, Backend::Threads, Backend::Sequential];

fn builder(backend: Backend) -> Builder {
    Executor::builder().backend(backend).workers(2)
}

fn executor(backend: Backend) -> Executor {
    builder(backend).build().expect("an executor can be built")
}

macro_rules! suite {
    ($($module:ident: $($behaviour:ident)+;)+) => {
        suite!(processes Processes $($($module $behaviour)+)+);
        suite!(threads Threads $($($module $behaviour)+)+);
        suite!(sequential Sequential $($($module $behaviour)+)+);
    };
    ($name:ident $backend:ident $($module:ident $behaviour:ident)+) => {
        mod $name {
            $(
                #[test]
                fn $behaviour() {
                    super::$module::$behaviour(wharf::Backend::$backend);
                }
            )+
        }
    };
}

suite! {
    values:
        every_primitive_goes_in_and_out
        every_kind_of_vector_and_text_is_a_slice
        one_value_is_the_argument_of_many_tasks
        structs_are_read_in_their_archived_form
        shared_values_and_arrays_nest_in_arguments
        what_only_serde_knows_goes_both_ways
        functions_have_up_to_eight_parameters
        generic_functions_are_tasks_of_their_own
        results_of_any_size_are_decoded_viewed_and_passed_on
        arrays_built_in_tasks_are_results_alone_and_inside_others
        results_are_arguments_of_other_tasks
        results_outlive_the_executor;
    errors:
        a_panic_is_told_with_its_message_and_place
        a_typed_error_is_a_result
        what_does_not_decode_or_encode_says_so
        what_does_not_fit_is_refused_with_the_numbers
        values_of_another_executor_are_refused
        an_on_start_that_fails_is_an_error_of_build
        a_setting_out_of_range_is_an_error;
    ends:
        a_task_can_be_waited_for_in_every_way
        a_full_table_gives_the_arguments_back
        a_submitter_waits_for_a_slot
        finished_tasks_make_room_before_they_are_joined
        a_long_queue_of_short_tasks_comes_to_its_end
        a_dropped_handle_gives_slot_and_memory_back
        a_failure_that_nobody_asks_for_gives_its_memory_back
        numbers_that_nobody_asks_for_make_room
        what_was_submitted_is_run_before_the_end
        results_stay_valid_after_a_kill
        a_task_over_its_deadline_has_the_error
        a_task_that_has_ended_cannot_be_cancelled;
    life:
        on_start_has_run_before_the_first_task
        several_executors_do_not_mind_each_other
        many_threads_submit_to_one_executor
        the_statistics_count_every_task
        memory_comes_back_and_is_used_again
        the_number_of_workers_can_be_changed
        workers_that_leave_are_replaced_and_no_task_notices;
    loops:
        arrays_are_filled_and_updated_in_place
        a_reduction_is_the_same_to_the_bit_on_every_backend
        a_panic_in_a_loop_names_its_elements;
    maps:
        a_map_has_each_result_in_order_however_it_is_cut
        a_map_takes_constants_once_and_items_of_every_kind
        results_of_a_map_may_be_of_every_kind
        an_error_of_a_map_arrives_at_its_items_place
        a_map_is_collected_up_to_its_first_error
        a_panic_of_a_maps_input_reaches_the_caller_and_harms_nothing
        a_map_never_draws_past_its_window
        a_map_that_is_dropped_early_gives_everything_back
        constants_of_a_map_that_cannot_be_stored_are_one_error
        maps_nest_in_tasks_and_in_each_other;
    watching:
        progress_is_told_from_the_beginning_to_the_end
        the_statistics_tell_of_bytes_and_times;
    nesting:
        a_task_may_not_build_an_executor_unless_it_is_allowed
        executors_nest_in_any_combination
        a_task_may_use_an_executor_that_is_nested_in_it;
}
