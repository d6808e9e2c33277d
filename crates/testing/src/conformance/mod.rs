//! The conformance suite: what every backend promises, as tests.
//!
//! A backend says how to make a bus of its own, and gets one test for each promise:
//!
//! ```no_run
//! use async_trait::async_trait;
//! use eventbus_core::{Bus, Result};
//! use eventbus_memory::MemoryBus;
//! use eventbus_testing::conformance::{Fixture, Setup};
//! use std::sync::Arc;
//!
//! struct InProcess;
//!
//! #[async_trait]
//! impl Fixture for InProcess {
//!     async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>> {
//!         let mut builder = MemoryBus::builder();
//!         if let Some(capacity) = setup.hold { builder = builder.hold(capacity); }
//!         if let Some(window) = setup.dedup_window { builder = builder.dedup_window(window); }
//!         if let Some(bytes) = setup.max_payload { builder = builder.max_payload(bytes); }
//!         if let Some(letters) = setup.max_dead_letters { builder = builder.max_dead_letters(letters); }
//!         builder = builder.publish_timeout(setup.publish_timeout).close_timeout(setup.close_timeout);
//!         Ok(Arc::new(builder.build()?))
//!     }
//! }
//!
//! eventbus_testing::conformance!(InProcess);
//! # fn main() {}
//! ```
//!
//! What a test needs is read from the bus's [`Capabilities`](eventbus_core::Capabilities). Where the bus says it cannot do something, the test of that promise is passed
//! over with a note, and another one checks that the bus refuses it by name. So a declaration that claims too much fails, and one that
//! claims too little does, too.
//!
//! [`stress`] runs all of it several times at once. [`cases`] and [`check`] are for a runner of your own, such as one that runs the suite
//! against a bus that is broken on purpose.

mod content;
mod dead_letters;
mod fixture;
mod lifecycle;
mod observability;
mod order;
mod pressure;
mod publish;
mod refusals;
mod requests;
mod retries;
mod routing;
mod run;
mod settlement;
mod story;

pub use self::{
    fixture::{Fixture, Setup},
    run::{Case, Verdict, cases, check, run_case, stress},
};

/// Every case of the suite, for macros: calls `$callback!` with `$args` and the names by chapter.
///
/// The number before each name is the line of the delivery contract that it is about.
#[macro_export]
#[doc(hidden)]
macro_rules! for_each_conformance_case {
    ($callback:ident, $($args:tt)*) => {
        $crate::$callback! {
            [$($args)*]
            publish {
                1 an_accepted_event_is_delivered
                1 every_event_of_a_batch_has_a_result
                1 an_enqueued_event_is_acknowledged_and_delivered
                2 an_id_is_kept_on_every_delivery_and_in_the_dead_letter
                2 an_id_that_was_not_given_is_unique_and_stable
                3 the_same_source_and_id_is_stored_once
                3 the_same_id_of_another_source_is_another_event
                3 after_the_window_an_id_is_accepted_again
                3 without_a_window_the_same_event_is_delivered_twice
                4 a_payload_over_the_limit_is_refused_and_the_next_publish_works
                4 a_payload_at_the_limit_passes
                4 an_invalid_event_is_refused_by_name
                4 names_are_judged_the_same_everywhere
                4 a_closed_bus_refuses_everything
                5 publishing_waits_for_room_and_then_fails
                5 a_publish_that_waits_goes_on_when_there_is_room
            }
            routing {
                6 everyone_without_a_group_gets_every_event
                6 members_of_a_group_share_the_events
                6 groups_are_independent
                6 every_member_of_a_group_gets_work
                6 types_do_not_mix
                6 patterns_match_as_documented
                6 many_publishers_and_subscribers_miss_nothing
                6 many_types_at_once_miss_nothing
                6 a_subscriber_without_history_sees_only_what_follows
                7 a_group_resumes_where_it_stopped
                7 a_group_keeps_its_place_through_many_members
                7 what_members_give_back_keeps_its_order
                7 what_an_abandoned_member_had_goes_to_another
                7 a_deleted_group_begins_anew
                7 a_group_with_members_is_not_deleted
                8 earliest_replays_what_is_retained
                8 a_sequence_replays_from_there
                8 a_time_replays_from_there
                8 replay_and_new_events_come_in_order_and_once
                8 joining_a_group_never_moves_it
                8 a_group_made_twice_at_once_is_one_group
                8 another_declaration_is_a_conflict_and_changes_nothing
                9 overlapping_patterns_deliver_once
            }
            order {
                10 strict_keeps_the_order_of_awaited_publishes
                10 strict_runs_one_handler_at_a_time
                10 per_key_keeps_the_order_of_each_key
                10 per_key_falls_back_to_the_subject
                10 keys_run_beside_each_other
                10 unordered_runs_handlers_at_once_up_to_the_concurrency
                10 a_backlog_keeps_every_handler_busy
                10 a_retry_holds_back_its_successors
                10 a_retry_holds_back_only_its_key
                10 a_dead_letter_lets_its_successors_go
            }
            settlement {
                11 an_event_is_acknowledged_after_its_handler
                11 an_acknowledged_event_does_not_come_back
                11 an_event_in_a_dropped_delivery_comes_back
                13 a_batch_is_settled_one_by_one
                13 a_batch_with_the_wrong_number_of_outcomes_loses_nothing
                16 a_handler_that_never_returns_runs_out_of_time
                16 a_slow_handler_within_its_time_gets_one_delivery
                16 a_late_result_settles_nothing
                16 a_delivery_that_is_over_is_cancelled
            }
            retries {
                12 attempts_begin_at_one_and_grow
                12 attempts_grow_from_member_to_member
                13 a_failing_handler_hurts_no_neighbour
                13 a_panicking_handler_is_retried_and_its_neighbours_are_not
                13 a_panic_while_dropping_a_handler_is_survived
                13 many_failures_do_not_starve_the_rest
                13 backoff_is_never_early
                13 a_handler_may_choose_the_delay
                17 no_retry_is_hot
            }
            dead_letters {
                14 after_the_last_attempt_the_event_is_a_dead_letter
                14 a_rejected_event_is_a_dead_letter_at_once
                14 a_dead_letter_tells_its_story
                14 a_dead_letter_is_filtered_and_removed
                14 redriving_delivers_again_under_the_same_id
                14 two_redrives_at_once_deliver_once
                14 a_redrive_of_what_fails_again_ends
                14 no_pattern_matches_dead_letters
                14 a_dead_letter_can_be_published_under_a_type
                14 a_discarded_event_is_counted_and_gone
                14 a_dead_letter_that_cannot_be_stored_keeps_its_event
                15 poison_goes_to_the_dead_letters_and_its_neighbours_are_delivered
            }
            pressure {
                18 a_full_buffer_holds_publishers
                18 a_full_buffer_drops_the_newest
                18 a_full_buffer_drops_the_oldest
                18 a_buffer_is_bounded_in_bytes
                18 a_slow_subscription_delays_no_other
                18 a_paused_subscription_gets_nothing_until_it_is_resumed
            }
            lifecycle {
                19 closing_lets_handlers_finish
                19 closing_delivers_what_was_accepted
                19 closing_keeps_the_deadline
                19 closing_twice_and_at_once_is_harmless
                19 while_it_closes_only_handlers_publish
                19 a_handler_may_close_the_bus
                19 closing_one_subscription_leaves_the_others
                19 a_closed_subscription_finishes_what_it_began
                19 a_dropped_subscription_goes_on
                19 a_dropped_guard_ends_its_subscription
                19 a_dropped_stream_ends_its_subscription
                20 a_subscription_that_ends_says_so
                21 a_held_bus_delivers_in_order_at_its_start
                21 a_full_hold_refuses
                21 starting_a_bus_that_is_not_held_does_nothing
            }
            observability {
                23 trace_and_correlation_survive_redelivery
                23 a_malformed_trace_never_costs_an_event
                23 what_a_handler_publishes_is_caused_by_its_event
                24 the_figures_add_up
                24 the_figures_of_failures_add_up
                24 what_is_retained_is_measured
                24 lag_and_age_grow_and_shrink
                24 failures_are_reported
                24 health_answers
            }
            content {
                4 every_kind_of_data_arrives_byte_for_byte
                4 numbers_keep_their_text
                4 odd_metadata_and_extensions_arrive
                4 a_thousand_attributes_arrive_or_are_refused
                4 every_attribute_arrives
                2 a_typed_event_arrives_as_its_type
            }
            requests {
                6 replies_of_all_responders_are_gathered
                6 enough_replies_will_do_and_the_missing_are_named
                6 too_few_replies_are_a_timeout_that_names_the_missing
                6 a_responder_that_fails_answers_with_its_error
                6 requests_at_once_do_not_mix
                6 replies_are_no_events
            }
            refusals {
                6 groups_are_refused_where_there_are_none
                8 replay_is_refused_where_there_is_none
                18 dropping_is_refused_where_it_cannot_be
                14 dead_letters_are_refused_where_there_are_none
                12 retries_are_refused_where_there_are_none
                6 requests_are_refused_where_there_are_none
                19 bad_settings_are_refused_when_subscribing
            }
        }
    };
}

/// One test for each promise of the suite, for a fixture: `conformance!(MyFixture)`.
///
/// The expression is evaluated for each test. Two fixtures in one file need a module each.
#[macro_export]
macro_rules! conformance {
    ($fixture:expr) => {
        $crate::for_each_conformance_case!(__conformance_tests, $fixture);
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_tests {
    ([$fixture:expr] $($chapter:ident { $($line:literal $case:ident)* })*) => {
        fn fixture_under_test() -> impl $crate::conformance::Fixture {
            $fixture
        }
        $(mod $chapter {
            $(#[test]
            fn $case() {
                $crate::conformance::run_case(super::fixture_under_test(), concat!(stringify!($chapter), "::", stringify!($case)));
            })*
        })*
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_registry {
    ([] $($chapter:ident { $($line:literal $case:ident)* })*) => {
        &[$($($crate::conformance::Case {
            name: concat!(stringify!($chapter), "::", stringify!($case)),
            line: $line,
            run: |test| Box::pin($chapter::$case(test)),
        },)*)*]
    };
}

/// All cases, for the runner.
static CASES: &[Case] = crate::for_each_conformance_case!(__conformance_registry,);
