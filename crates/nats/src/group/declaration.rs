//! What a group was declared as, kept with its consumer at the server.

use crate::{
    api::{AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy},
    filter, names,
};
use eventbus_core::{Error, ErrorKind, Plan, Result, Start};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most that the description of a consumer may have. All servers keep one; metadata only those from 2.10.
const DESCRIPTION: usize = 4096;

/// What all members of a group have to agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Declaration {
    #[serde(rename = "eventbus_group")]
    pub(crate) group: String,
    pub(crate) ordering: String,
    pub(crate) overflow: String,
    /// Sorted; or, where there are too many to be written out, their number and hash.
    pub(crate) patterns: Vec<String>,
    /// Tells a consumer from those of the same name before and after it.
    #[serde(default, rename = "eventbus_born")]
    pub(crate) born: String,
}

impl Declaration {
    pub(crate) fn of(plan: &Plan, group: &str) -> Self {
        let mut declaration = Self {
            group: group.to_owned(),
            ordering: format!("{:?}", plan.ordering),
            overflow: format!("{:?}", plan.overflow),
            // The two ways to write everything are one.
            patterns: plan
                .patterns
                .iter()
                .map(|pattern| if pattern.is_everything() { ">".to_owned() } else { pattern.to_string() })
                .collect(),
            born: format!("{:016x}", 0),
        };
        if declaration.written().len() > DESCRIPTION {
            let hash = names::hash(&declaration.patterns.join(" "));
            declaration.patterns = vec![format!("{} patterns with hash {hash:032x}", declaration.patterns.len())];
        }
        declaration
    }

    /// Reads what was kept. `None` for a consumer that is none of ours.
    pub(crate) fn read(info: &ConsumerInfo) -> Option<Self> {
        serde_json::from_str(&info.config.description).ok()
    }

    fn written(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// # Errors
    /// [`ErrorKind::Conflict`], naming the differences, where a consumer was declared as something else.
    pub(crate) fn check(&self, found: &ConsumerInfo) -> Result<()> {
        let conflict =
            |message: String| Err(Error::new(ErrorKind::Conflict, message).with("group", &self.group).with("consumer", &found.name));
        let Some(theirs) = Self::read(found) else {
            return conflict("a consumer of the group's name exists that was not made by a bus; it was left as it is".to_owned());
        };
        let mut differences = Vec::new();
        for (name, wanted, found) in [
            ("group", &self.group, &theirs.group),
            ("ordering", &self.ordering, &theirs.ordering),
            ("overflow", &self.overflow, &theirs.overflow),
            ("patterns", &self.patterns.join(","), &theirs.patterns.join(",")),
        ] {
            if wanted != found {
                differences.push(format!("{name}: wanted {wanted}, found {found}"));
            }
        }
        let config = &found.config;
        if config.ack_policy != AckPolicy::Explicit {
            differences.push(format!("ack_policy: wanted explicit, found {:?}", config.ack_policy));
        }
        if config.max_deliver > 0 {
            differences.push(format!("max_deliver: wanted none, found {}", config.max_deliver));
        }
        if differences.is_empty() {
            return Ok(());
        }
        conflict(format!("the group exists with another declaration and was left as it is: {}", differences.join("; ")))
    }

    /// The consumer to be made.
    pub(crate) fn consumer(&self, deliver: DeliverPolicy, subjects: Vec<String>, lease: Duration) -> ConsumerConfig {
        let name = names::consumer(&self.group);
        let made_now = Self { born: format!("{:016x}", rand::random::<u64>()), ..self.clone() };
        let config = ConsumerConfig {
            durable_name: Some(name.clone()),
            name,
            description: made_now.written(),
            deliver,
            ack_policy: AckPolicy::Explicit,
            ack_wait: lease,
            // The bus counts attempts, so that what ran out of them is found and buried.
            max_deliver: -1,
            // What waits to be tried again counts as pending: a limit would let poison stop the rest.
            max_ack_pending: -1,
            filter_subject: String::new(),
            filter_subjects: Vec::new(),
            inactive_threshold: Duration::ZERO,
            num_replicas: 0,
            mem_storage: false,
            headers_only: false,
        };
        config.with_filters(subjects)
    }
}

/// Where a plan begins, as a consumer is told.
pub(crate) fn beginning(start: &Start) -> DeliverPolicy {
    match start {
        Start::Earliest => DeliverPolicy::All,
        Start::Sequence(sequence) => DeliverPolicy::ByStartSequence { opt_start_seq: *sequence },
        Start::Time(time) => DeliverPolicy::ByStartTime { opt_start_time: time.to_string() },
        _ => DeliverPolicy::New,
    }
}

/// Whether a consumer is asked for exactly what the patterns want, or for more.
///
/// # Errors
/// [`ErrorKind::Conflict`] where it is asked for something else.
pub(crate) fn is_exact(prefix: &str, plan: &Plan, found: &ConsumerInfo) -> Result<bool> {
    let filters = found.config.filters();
    let mut exact = filter::subjects(prefix, &plan.patterns, true);
    exact.sort();
    if filters == exact {
        // What overlaps in part was widened.
        return Ok(filter::is_narrow(&plan.patterns));
    }
    let mut wide = filter::subjects(prefix, &plan.patterns, false);
    wide.sort();
    let all = format!("{prefix}.>");
    if filters.is_empty() || filters == wide || filters == [all] {
        return Ok(false);
    }
    let message = format!("its consumer is asked for {}, which is not what the patterns want", filters.join(","));
    Err(Error::new(ErrorKind::Conflict, message).with("consumer", &found.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::{Capabilities, Ordering, Subscribe};

    fn plan(subscribe: Subscribe) -> Plan {
        Plan::new(subscribe, &Capabilities::all("nats"), "h").unwrap()
    }

    fn info(config: &ConsumerConfig) -> ConsumerInfo {
        let place = serde_json::json!({ "consumer_seq": 0, "stream_seq": 0 });
        let figures = serde_json::json!({
            "name": config.name, "created": "2026-01-01T00:00:00Z", "config": config, "delivered": place, "ack_floor": place,
            "num_ack_pending": 0, "num_waiting": 0, "num_pending": 0
        });
        serde_json::from_value(figures).unwrap()
    }

    #[test]
    fn a_group_is_the_same_in_other_words_and_another_with_other_settings() {
        let declared = |subscribe: Subscribe| Declaration::of(&plan(subscribe), "g");
        let first = declared(Subscribe::to(["a.*", "b"]));
        let kept = info(&first.consumer(DeliverPolicy::New, Vec::new(), Duration::from_secs(30)));
        declared(Subscribe::to(["b", "a.*", "b"]).buffer(7)).check(&kept).unwrap();
        for (other, name) in [
            (declared(Subscribe::to("a.*")), "patterns: wanted a.*, found a.*,b"),
            (declared(Subscribe::to(["a.*", "b"]).ordering(Ordering::Unordered)), "ordering: wanted Unordered, found Strict"),
            (Declaration::of(&plan(Subscribe::to(["a.*", "b"])), "G"), "group"),
        ] {
            let error = other.check(&kept).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(declared(Subscribe::to("*")), declared(Subscribe::to(">")));
    }

    #[test]
    fn many_patterns_are_kept_by_their_hash() {
        let patterns = |n: usize| (0..n).map(|number| format!("{}.n{number}", "long".repeat(20))).collect::<Vec<_>>();
        let declared = |n: usize| Declaration::of(&plan(Subscribe::to(patterns(n))), "g");
        let kept = declared(100).consumer(DeliverPolicy::New, Vec::new(), Duration::from_secs(30));
        assert!(kept.description.len() <= DESCRIPTION, "{}", kept.description.len());
        declared(100).check(&info(&kept)).unwrap();
        assert!(declared(101).check(&info(&kept)).is_err());
    }

    #[test]
    fn a_strangers_consumer_is_a_conflict() {
        let mut consumer =
            Declaration::of(&plan(Subscribe::to("a")), "g").consumer(DeliverPolicy::New, Vec::new(), Duration::from_secs(30));
        consumer.description = "somebody's".to_owned();
        assert!(Declaration::of(&plan(Subscribe::to("a")), "g").check(&info(&consumer)).is_err());
    }

    #[test]
    fn what_the_server_filters_need_not_be_filtered_again() {
        let found = |subjects: &[&str]| {
            let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
            info(&Declaration::of(&plan(Subscribe::to("a")), "g").consumer(DeliverPolicy::New, subjects, Duration::from_secs(30)))
        };
        for (patterns, filters, expected) in [
            (&["a.*"][..], &["p.a.*"][..], Some(true)),
            (&["a.x", "a.y"], &["p.a.x", "p.a.y"], Some(true)),
            (&["a.x", "a.y"], &["p.a.>"], Some(false)),
            (&["a.x", "b.y"], &[], Some(false)),
            (&["a.*", "*.b"], &[], Some(false)),
            (&[">"], &[], Some(true)),
            (&["a.x"], &["p.>"], Some(false)),
            (&["a.x", "a.y"], &["p.a.x"], None),
        ] {
            let exact = is_exact("p", &plan(Subscribe::to(patterns)), &found(filters)).ok();
            assert_eq!(exact, expected, "{patterns:?} {filters:?}");
        }
    }
}
