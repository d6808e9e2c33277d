//! The fault suite: what servers, networks and processes do to a bus, and what must come of it.
//!
//! A backend says how to make a bus, and how to do harm behind its back, and gets one test for each fault:
//!
//! ```text
//! struct Nats;
//! #[async_trait]
//! impl Breakable for Nats { … }
//!
//! eventbus_testing::faults!(Nats);
//! ```
//!
//! Each case has a server of its own, which it kills, pauses or restarts, or a [`Proxy`](crate::servers::Proxy) that cuts it off. A case
//! proves that its fault happened, and a [`History`](crate::History) judges what was lost, doubled or out of order. The promises are those
//! of the delivery contract; the [conformance](mod@crate::conformance) suite checks them where nothing fails.

mod child;
mod connecting;
mod consuming;
mod fixture;
mod groups;
mod publishing;
mod run;

pub use self::{
    child::play,
    fixture::{Breakable, Server, Terms},
    run::run_case,
};

use self::run::Case;

/// Every case of the suite, for macros: calls `$callback!` with `$args` and the names by chapter.
#[macro_export]
#[doc(hidden)]
macro_rules! for_each_fault {
    ($callback:ident, $($args:tt)*) => {
        $crate::$callback! {
            [$($args)*]
            connecting {
                a_server_that_is_down_is_an_error_in_time
                a_server_that_comes_later_is_waited_for
                a_half_open_connection_is_noticed
                an_idle_subscription_survives_restarts
                a_stalled_connection_gets_going_again
            }
            publishing {
                an_answer_that_is_lost_is_no_second_event
                acknowledged_events_survive_the_death_of_the_server
                a_paused_server_times_publishes_out_and_keeps_their_order
                an_outage_does_not_pile_up_what_is_enqueued
            }
            consuming {
                a_handler_slower_than_its_lease_gets_one_delivery
                what_waits_in_a_buffer_is_not_delivered_again
                a_connection_that_breaks_while_events_are_read_loses_none
                what_a_broken_connection_swallowed_comes_first
                what_a_broken_connection_swallowed_of_a_member_that_left_comes_at_once
                what_is_tried_again_holds_no_key_up_when_a_connection_breaks
                poison_is_a_dead_letter_once_and_as_it_was_received
                poison_does_not_slow_the_rest
                a_close_gives_back_what_had_not_started
                subscriptions_come_and_go_and_leave_nothing
            }
            groups {
                what_a_killed_process_had_goes_to_others
                attempts_run_out_though_every_member_died
                two_processes_make_one_group
                a_group_deleted_behind_its_back_is_noticed
                a_wiped_server_is_noticed
            }
        }
    };
}

/// One test for each fault, for a fixture: `faults!(MyFixture)`.
///
/// The expression is evaluated for each test. Two fixtures in one file need a module each.
#[macro_export]
macro_rules! faults {
    ($fixture:expr) => {
        $crate::for_each_fault!(__fault_tests, $fixture);
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! __fault_tests {
    ([$fixture:expr] $($chapter:ident { $($case:ident)* })*) => {
        fn fixture_under_test() -> impl $crate::faults::Breakable {
            $fixture
        }

        /// The path of the test that child processes run.
        const CHILD: &str = concat!(module_path!(), "::child_process");

        #[test]
        #[ignore = "other tests run it as a process of its own"]
        fn child_process() {
            $crate::faults::play(&fixture_under_test());
        }

        $(mod $chapter {
            $(#[test]
            fn $case() {
                $crate::faults::run_case(super::fixture_under_test(), super::CHILD, concat!(stringify!($chapter), "::", stringify!($case)));
            })*
        })*
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! __fault_registry {
    ([] $($chapter:ident { $($case:ident)* })*) => {
        &[$($(Case {
            name: concat!(stringify!($chapter), "::", stringify!($case)),
            run: |story| Box::pin($chapter::$case(story)),
        },)*)*]
    };
}

/// The names of all cases, in the order of the chapters.
pub fn cases() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

const CASES: &[Case] = for_each_fault!(__fault_registry,);
