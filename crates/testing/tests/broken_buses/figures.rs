//! Buses whose figures are wrong, or whose failures nobody hears of.

use crate::harness::{Fault, caught};
use eventbus_core::{Bus, BusStats, ErrorStream, Plan, Subscribe, SubscriptionStats};
use futures_core::Stream;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

struct Totals(fn(&mut BusStats));

impl Fault for Totals {
    fn totals(&self, totals: &mut BusStats) {
        (self.0)(totals);
    }
}

#[test]
fn a_bus_that_counts_a_publish_for_each_subscription() {
    caught(|| Totals(|totals| totals.published *= 2), "observability::the_figures_add_up", "left: (220, 1, 0)");
}

#[test]
fn a_bus_that_does_not_count_what_it_refused() {
    caught(|| Totals(|totals| totals.refused = 0), "observability::the_figures_add_up", "left: (110, 0, 0)");
}

#[test]
fn a_bus_that_takes_the_newest_event_for_the_oldest() {
    let swapped = || Totals(|totals| std::mem::swap(&mut totals.oldest_retained, &mut totals.newest_retained));
    caught(swapped, "observability::what_is_retained_is_measured", "the oldest is not the oldest");
}

struct Figures(fn(&mut SubscriptionStats));

impl Fault for Figures {
    fn figures(&self, figures: &mut SubscriptionStats) {
        (self.0)(figures);
    }
}

#[test]
fn a_bus_that_does_not_count_retries() {
    caught(|| Figures(|figures| figures.retried = 0), "observability::the_figures_of_failures_add_up", "left: (70, 20, 0, 20)");
}

#[test]
fn a_bus_that_does_not_say_what_it_dropped() {
    caught(|| Figures(|figures| figures.dropped = 0), "pressure::a_full_buffer_drops_the_newest", "what was dropped is counted");
}

#[test]
fn a_bus_whose_lag_leaves_out_what_is_in_a_handler() {
    let waiting_only = || Figures(|figures| figures.lag = figures.lag.map(|lag| lag - figures.in_flight.min(lag)));
    caught(waiting_only, "observability::lag_and_age_grow_and_shrink", "left: (Some(9), 1)");
}

struct KeepsFailuresToItself;

impl Fault for KeepsFailuresToItself {
    fn errors(&self, _: &Arc<dyn Bus>) -> ErrorStream {
        struct Nothing;
        impl Stream for Nothing {
            type Item = eventbus_core::Error;

            fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                Poll::Ready(None)
            }
        }
        ErrorStream::new(Nothing)
    }
}

#[test]
fn a_bus_that_keeps_failures_to_itself() {
    caught(|| KeepsFailuresToItself, "observability::failures_are_reported", "the failure is reported");
}

struct Unbounded;

impl Fault for Unbounded {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.buffer(1_000_000)
    }
}

#[test]
fn a_bus_whose_buffers_have_no_bound() {
    caught(|| Unbounded, "pressure::a_full_buffer_holds_publishers", "the buffer is full at 4");
}

struct DropsTheWrongEnd;

impl Fault for DropsTheWrongEnd {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.overflow(eventbus_core::Overflow::DropNewest)
    }
}

#[test]
fn a_bus_that_drops_the_wrong_end() {
    caught(|| DropsTheWrongEnd, "pressure::a_full_buffer_drops_the_oldest", "[0, 1, 2, 3]");
}
