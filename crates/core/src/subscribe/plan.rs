//! A subscription whose values have been checked: what a backend works with.

use super::{Batch, Ordering, Overflow, Retry, Start, Subscribe, check_duration};
use crate::{Capabilities, DeadLetterPolicy, Error, Pattern, Result, event_type::Excerpt};
use std::{fmt, ops::RangeInclusive, time::Duration};

/// A [`Subscribe`] whose values have been checked, with its defaults filled in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The patterns: at least one, sorted, none twice.
    pub patterns: Vec<Pattern>,
    /// The name for logs, metrics and dead letters.
    pub name: String,
    /// The group to join.
    pub group: Option<String>,
    /// Where to begin.
    pub start: Start,
    /// How many events are handled at once, from 1.
    pub concurrency: usize,
    /// In which order.
    pub ordering: Ordering,
    /// How many events may wait for a handler, from 1.
    pub buffer: usize,
    /// How many bytes of data may wait for a handler, from 1.
    pub buffer_bytes: usize,
    /// What happens when the buffer is full.
    pub overflow: Overflow,
    /// When a failed event is tried again.
    pub retry: Retry,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// What becomes of an event that was given up.
    pub dead_letter: DeadLetterPolicy,
    /// How many events a handler takes at once; `None` one.
    pub batch: Option<Batch>,
}

impl Plan {
    /// Checks a subscription against the rules of every backend and against what this backend can do.
    ///
    /// `handler` is the name that a subscription without name and group gets.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a value that breaks a rule; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported),
    /// naming option and backend, for what the backend cannot honour.
    pub fn new(subscribe: Subscribe, capabilities: &Capabilities, handler: &str) -> Result<Self> {
        let retries = subscribe.retry.as_ref().is_some_and(|retry| retry.allows_another(1));
        let stores = matches!(subscribe.dead_letter, Some(DeadLetterPolicy::Store));
        // A bad value is a bad value on every backend, whatever else it can do.
        let mut plan = Self::common(subscribe)?;
        let refuse = |option: &str| Err(Error::unsupported(option, capabilities.backend));
        if plan.group.is_some() && !capabilities.groups {
            return refuse("Subscribe::group");
        }
        match &plan.start {
            Start::New => {}
            Start::Earliest if !capabilities.replay => return refuse("Start::Earliest"),
            Start::Sequence(_) if !capabilities.replay_by_sequence => return refuse("Start::Sequence"),
            Start::Time(_) if !capabilities.replay_by_time => return refuse("Start::Time"),
            Start::Earliest | Start::Sequence(_) | Start::Time(_) => {}
        }
        if plan.overflow != Overflow::Block && !capabilities.drops {
            return refuse("Overflow::DropNewest and Overflow::DropOldest");
        }
        if retries && !capabilities.redelivery {
            return refuse("Subscribe::retry");
        }
        if stores && !capabilities.dead_letters {
            return refuse("DeadLetter::store");
        }
        if plan.name.is_empty() {
            handler.clone_into(&mut plan.name);
        }
        if !capabilities.redelivery {
            plan.retry = Retry::none();
        }
        Ok(plan)
    }

    /// The checks that need no backend.
    pub(super) fn common(subscribe: Subscribe) -> Result<Self> {
        let mut patterns = subscribe.patterns.map_err(|error| error.during("subscribe"))?;
        patterns.sort();
        patterns.dedup();
        if patterns.is_empty() {
            return invalid("patterns", "none", "a subscription needs at least one pattern");
        }
        if let Some(group) = &subscribe.group {
            check_name("group", group)?;
        }
        if let Some(name) = &subscribe.name {
            check_name("name", name)?;
        }
        within("concurrency", subscribe.concurrency, 1..=10_000)?;
        within("buffer", subscribe.buffer, 1..=10_000_000)?;
        within("buffer_bytes", subscribe.buffer_bytes, 1..=usize::MAX)?;
        if subscribe.timeout < Duration::from_millis(1) {
            return invalid("timeout", format_args!("{:?}", subscribe.timeout), "it must be at least 1 ms");
        }
        check_duration("timeout", subscribe.timeout)?;
        if let Start::Sequence(0) = subscribe.start {
            return invalid("Start::Sequence", 0, "sequences start at 1; for the oldest event use Start::Earliest");
        }
        let ordering = match (subscribe.ordering, subscribe.concurrency) {
            (Some(Ordering::Strict), more) if more > 1 => {
                return invalid("concurrency", more, "Ordering::Strict handles one event at a time; use PerKey or Unordered");
            }
            (Some(ordering), _) => ordering,
            (None, 1) => Ordering::Strict,
            (None, _) => Ordering::PerKey,
        };
        if let Some(batch) = subscribe.batch {
            within("batch max", batch.max, 1..=100_000)?;
            if batch.wait > Duration::from_secs(60) {
                return invalid("batch wait", format_args!("{:?}", batch.wait), "it must be at most a minute");
            }
        }
        let retry = subscribe.retry.unwrap_or_default();
        retry.check().map_err(|error| error.during("subscribe"))?;
        let dead_letter = subscribe.dead_letter.unwrap_or_default();
        if let DeadLetterPolicy::Publish(target) = &dead_letter
            && patterns.iter().any(|pattern| pattern.matches(target))
        {
            return invalid("dead_letter", target, "the subscription would get its own dead letters back");
        }
        Ok(Self {
            patterns,
            name: subscribe.name.or_else(|| subscribe.group.clone()).unwrap_or_default(),
            group: subscribe.group,
            start: subscribe.start,
            concurrency: subscribe.concurrency,
            ordering,
            buffer: subscribe.buffer,
            buffer_bytes: subscribe.buffer_bytes,
            overflow: subscribe.overflow,
            retry,
            timeout: subscribe.timeout,
            dead_letter,
            batch: subscribe.batch,
        })
    }
}

fn invalid<T>(option: &str, value: impl fmt::Display, rule: &str) -> Result<T> {
    Err(Error::invalid(format!("{option} {value}: {rule}")).during("subscribe"))
}

fn within(option: &str, value: usize, range: RangeInclusive<usize>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    invalid(option, value, &format!("it must be {} to {}", range.start(), range.end()))
}

fn check_name(option: &str, name: &str) -> Result<()> {
    let rule = if name.trim().is_empty() {
        "it must not be empty or blank"
    } else if name.len() > 255 {
        "it may have at most 255 bytes"
    } else if name.chars().any(char::is_control) {
        "it must not hold control characters"
    } else {
        return Ok(());
    };
    invalid(option, Excerpt(name), rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeadLetter, ErrorKind, EventType, Timestamp};

    fn plan(subscribe: Subscribe) -> Result<Plan> {
        Plan::new(subscribe, &Capabilities::all("test"), "handler")
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let plan = plan(Subscribe::to("a")).unwrap();
        assert_eq!((plan.name.as_str(), plan.group, plan.start), ("handler", None, Start::New));
        assert_eq!((plan.ordering, plan.concurrency, plan.buffer, plan.overflow), (Ordering::Strict, 1, 1024, Overflow::Block));
        assert_eq!((plan.timeout, plan.retry.attempts(), plan.dead_letter), (Duration::from_secs(30), Some(5), DeadLetterPolicy::Store));
    }

    #[test]
    fn concurrency_without_an_ordering_means_per_key() {
        assert_eq!(plan(Subscribe::to("a").concurrency(2)).unwrap().ordering, Ordering::PerKey);
        assert_eq!(plan(Subscribe::to("a").concurrency(2).ordering(Ordering::Unordered)).unwrap().ordering, Ordering::Unordered);
    }

    #[test]
    fn patterns_are_sorted_and_stand_once() {
        let plan = plan(Subscribe::to(["b", "a.*", "b"]).and(">").and("*")).unwrap();
        let patterns: Vec<_> = plan.patterns.iter().map(Pattern::as_str).collect();
        assert_eq!(patterns, [">", "a.*", "b"]);
    }

    #[test]
    fn a_name_is_the_given_one_else_the_group_else_the_handler() {
        assert_eq!(plan(Subscribe::to("a").group("g").name("n")).unwrap().name, "n");
        assert_eq!(plan(Subscribe::to("a").group("g")).unwrap().name, "g");
    }

    #[test]
    fn bad_values_are_refused_by_name_value_and_rule() {
        let day = Duration::from_secs(24 * 60 * 60);
        for (subscribe, name) in [
            (Subscribe::to("a..b"), "a..b"),
            (Subscribe::to([""; 0]), "at least one pattern"),
            (Subscribe::to("a").and("*b"), "*b"),
            (Subscribe::to("a").group(""), "group"),
            (Subscribe::to("a").group("  "), "group"),
            (Subscribe::to("a").group("a\nb"), "group"),
            (Subscribe::to("a").group("g".repeat(256)), "group"),
            (Subscribe::to("a").name(""), "name"),
            (Subscribe::to("a").concurrency(0), "concurrency 0"),
            (Subscribe::to("a").concurrency(10_001), "concurrency 10001"),
            (Subscribe::to("a").concurrency(2).ordering(Ordering::Strict), "Strict"),
            (Subscribe::to("a").buffer(0), "buffer 0"),
            (Subscribe::to("a").buffer(usize::MAX), "buffer"),
            (Subscribe::to("a").buffer_bytes(0), "buffer_bytes 0"),
            (Subscribe::to("a").timeout(Duration::ZERO), "timeout"),
            (Subscribe::to("a").timeout(31 * day), "timeout"),
            (Subscribe::to("a").timeout(Duration::MAX), "timeout"),
            (Subscribe::to("a").retry(Retry::fixed(Duration::ZERO)), "retry"),
            (Subscribe::to("a").batch(0, Duration::ZERO), "batch"),
            (Subscribe::to("a").batch(1, day), "batch"),
            (Subscribe::to("a").from(Start::Sequence(0)), "Sequence"),
            (Subscribe::to("a.>").dead_letter(DeadLetter::publish(EventType::from_static("a.dead"))), "own dead letters"),
        ] {
            let error = subscribe.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(plan(subscribe).unwrap_err().to_string(), error.to_string());
        }
    }

    #[test]
    fn what_a_backend_cannot_do_is_refused_by_option_and_backend() {
        let nothing = Capabilities::none("pigeon");
        for (subscribe, option) in [
            (Subscribe::to("a").group("g"), "Subscribe::group"),
            (Subscribe::to("a").from(Start::Earliest), "Start::Earliest"),
            (Subscribe::to("a").from(Start::Sequence(1)), "Start::Sequence"),
            (Subscribe::to("a").from(Start::Time(Timestamp::now())), "Start::Time"),
            (Subscribe::to("a").overflow(Overflow::DropOldest), "DropOldest"),
            (Subscribe::to("a").retry(Retry::default()), "Subscribe::retry"),
            (Subscribe::to("a").dead_letter(DeadLetter::store()), "DeadLetter::store"),
        ] {
            let error = Plan::new(subscribe, &nothing, "h").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(option) && error.to_string().contains("pigeon"), "{error}");
        }
        assert_eq!(Plan::new(Subscribe::to("a"), &nothing, "h").unwrap().retry, Retry::none());
    }
}
