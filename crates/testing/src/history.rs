//! A history of what was published and what was handled, and the judgement on it: is anything lost, doubled or out of order?

use crate::observe::patience;
use async_trait::async_trait;
use eventbus_core::{Context, Error, Event, Handler, HandlerError};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// Records publishes and deliveries while a test breaks things, and judges them afterwards. Cheap to clone; clones are the same history.
///
/// Tell it of each publish [before](Self::publishing) and [after](Self::published); as a [`Handler`] it records what is delivered to it.
///
/// ```
/// use eventbus_core::*;
/// use eventbus_testing::{History, RecordingBus};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let (bus, history) = (RecordingBus::new(), History::new());
/// bus.subscribe(Subscribe::to("order.*"), Arc::new(history.clone())).await?;
/// for number in 0..10 {
///     let event = Event::json("order.placed", number)?.with_partition_key("o-1");
///     history.publish(&bus, event).await?;
/// }
/// history.until_handled().await;
/// history.judge().nothing_is_lost().nothing_came_twice().every_key_is_in_order();
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct History(Arc<(Mutex<Records>, Notify)>);

#[derive(Default)]
struct Records {
    /// Each event whose publish was begun, by its id.
    events: HashMap<String, Record>,
    /// Ids in the order in which publishing began.
    begun: usize,
    handled: usize,
    /// Acknowledged events that have not been handled.
    missing: usize,
    /// Ids that were delivered and never published.
    strangers: Vec<String>,
}

struct Record {
    /// Its place in the order of publishing.
    number: usize,
    key: Option<String>,
    acknowledged: bool,
    /// How often it was handled.
    handled: usize,
    /// Its place in the order of handling, of the first time.
    first: Option<usize>,
    highest_attempt: u32,
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Publishes an event and records how that went.
    ///
    /// # Errors
    /// Those of the publish. Whether the event was stored is then unknown: it may be delivered and need not be.
    pub async fn publish(&self, bus: &(impl eventbus_core::Bus + ?Sized), event: Event) -> Result<(), Error> {
        self.publishing(&event);
        let outcome = bus.publish(event.clone()).await;
        if outcome.is_ok() {
            self.published(&event);
        }
        outcome
    }

    /// A publish begins.
    pub fn publishing(&self, event: &Event) {
        let mut records = self.records();
        let number = records.begun;
        records.begun += 1;
        let key = event.ordering_key().map(str::to_owned);
        let record = Record { number, key, acknowledged: false, handled: 0, first: None, highest_attempt: 0 };
        records.events.entry(event.id().to_owned()).or_insert(record);
    }

    /// A publish was acknowledged.
    pub fn published(&self, event: &Event) {
        let mut records = self.records();
        if let Some(record) = records.events.get_mut(event.id()) {
            let missing = !std::mem::replace(&mut record.acknowledged, true) && record.handled == 0;
            records.missing += usize::from(missing);
        }
    }

    /// An event was handled, on this attempt.
    pub fn handled(&self, id: &str, attempt: u32) {
        let mut records = self.records();
        let place = records.handled;
        records.handled += 1;
        match records.events.get_mut(id) {
            Some(record) => {
                record.handled += 1;
                record.highest_attempt = record.highest_attempt.max(attempt);
                let found = record.first.is_none() && record.acknowledged;
                record.first.get_or_insert(place);
                records.missing -= usize::from(found);
            }
            None => records.strangers.push(id.to_owned()),
        }
        drop(records);
        self.0.1.notify_waiters();
    }

    /// How many publishes were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.records().events.values().filter(|record| record.acknowledged).count()
    }

    /// How many deliveries were handled, repeated ones too.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        self.records().handled
    }

    /// Waits until everything acknowledged has been handled. What does not come in time, the [judgement](Self::judge) tells.
    pub async fn until_handled(&self) {
        self.until_handled_within(patience()).await;
    }

    /// Waits until everything acknowledged has been handled, for so long at most.
    pub async fn until_handled_within(&self, patience: Duration) {
        let handled = async {
            loop {
                let notified = self.0.1.notified();
                if self.records().missing == 0 {
                    return;
                }
                notified.await;
            }
        };
        let _ = tokio::time::timeout(patience, handled).await;
    }

    /// Waits until so many deliveries have been handled.
    pub async fn until_deliveries(&self, count: usize) {
        let enough = async {
            loop {
                let notified = self.0.1.notified();
                if self.deliveries() >= count {
                    return;
                }
                notified.await;
            }
        };
        let _ = tokio::time::timeout(patience(), enough).await;
    }

    /// The judgement on everything so far.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        let records = self.records();
        let mut judgement = Judgement { strangers: records.strangers.clone(), ..Judgement::default() };
        let mut keys: HashMap<&str, Vec<(usize, usize, &str)>> = HashMap::new();
        for (id, record) in &records.events {
            judgement.acknowledged += usize::from(record.acknowledged);
            judgement.handled += usize::from(record.handled > 0);
            judgement.duplicates += record.handled.saturating_sub(1);
            judgement.highest_attempt = judgement.highest_attempt.max(record.highest_attempt);
            if record.acknowledged && record.handled == 0 {
                judgement.lost.push(id.clone());
            }
            if let Some(first) = record.first {
                keys.entry(record.key.as_deref().unwrap_or_default()).or_default().push((record.number, first, id));
            }
        }
        for (key, mut events) in keys {
            events.sort_unstable();
            for pair in events.windows(2) {
                let ((_, earlier, before), (_, later, after)) = (pair[0], pair[1]);
                if later < earlier {
                    judgement.out_of_order.push(format!("{key}: {after} was handled before {before}"));
                }
            }
        }
        judgement
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Handler for History {
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        self.handled(event.id(), ctx.attempt());
        Ok(())
    }

    fn name(&self) -> &str {
        "history"
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("deliveries", &self.deliveries()).finish_non_exhaustive()
    }
}

/// What a [`History`] comes to. The methods panic where a promise was broken, and name a few of the events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Judgement {
    /// Publishes that were acknowledged.
    pub acknowledged: usize,
    /// Events that were handled at least once.
    pub handled: usize,
    /// The ids of acknowledged events that were never handled.
    pub lost: Vec<String>,
    /// Deliveries beyond the first of each event.
    pub duplicates: usize,
    /// Pairs of events of one key that were handled the other way round, in words.
    pub out_of_order: Vec<String>,
    /// Ids that were handled and never published.
    pub strangers: Vec<String>,
    /// The highest attempt that was handled.
    pub highest_attempt: u32,
}

impl Judgement {
    /// Everything acknowledged was handled, and nothing that nobody published.
    ///
    /// # Panics
    /// Where that is not so.
    #[track_caller]
    pub fn nothing_is_lost(&self) -> &Self {
        let Self { acknowledged, lost, .. } = self;
        assert!(lost.is_empty(), "{} of {acknowledged} acknowledged events are lost, such as {:?}", lost.len(), few(lost));
        assert!(self.strangers.is_empty(), "events were handled that nobody published, such as {:?}", few(&self.strangers));
        self
    }

    /// No event was handled twice.
    ///
    /// # Panics
    /// Where that is not so.
    #[track_caller]
    pub fn nothing_came_twice(&self) -> &Self {
        assert_eq!(self.duplicates, 0, "deliveries were repeated");
        self
    }

    /// At most so many deliveries were repeated.
    ///
    /// # Panics
    /// Where that is not so.
    #[track_caller]
    pub fn came_twice_at_most(&self, times: usize) -> &Self {
        assert!(self.duplicates <= times, "{} deliveries were repeated, of which there may be {times}", self.duplicates);
        self
    }

    /// Within each key, events were handled in the order in which they were published. Repeated deliveries do not count.
    ///
    /// # Panics
    /// Where that is not so.
    #[track_caller]
    pub fn every_key_is_in_order(&self) -> &Self {
        let wrong = &self.out_of_order;
        assert!(wrong.is_empty(), "{} pairs of events are out of order, such as {:?}", wrong.len(), few(wrong));
        self
    }
}

fn few(ids: &[String]) -> &[String] {
    &ids[..ids.len().min(5)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &str) -> Event {
        Event::json("a", 1).unwrap().with_partition_key(key)
    }

    fn published(history: &History, key: &str) -> Event {
        let event = event(key);
        history.publishing(&event);
        history.published(&event);
        event
    }

    #[test]
    fn a_clean_history_is_in_order() {
        let history = History::new();
        let [a, b, c] = ["x", "y", "x"].map(|key| published(&history, key));
        // Keys may overtake each other.
        for event in [&b, &a, &c] {
            history.handled(event.id(), 1);
        }
        let judgement = history.judge();
        judgement.nothing_is_lost().nothing_came_twice().every_key_is_in_order();
        assert_eq!((judgement.acknowledged, judgement.handled), (3, 3));
    }

    #[test]
    fn what_is_missing_doubled_turned_round_or_strange_is_seen() {
        let history = History::new();
        let [a, b, c] = ["x", "x", "x"].map(|key| published(&history, key));
        for id in [c.id(), a.id(), a.id(), "stranger"] {
            history.handled(id, 2);
        }
        let judgement = history.judge();
        assert_eq!((judgement.lost, judgement.duplicates, judgement.highest_attempt), (vec![b.id().to_owned()], 1, 2));
        assert_eq!((judgement.out_of_order.len(), judgement.strangers.len()), (1, 1));
    }

    #[tokio::test]
    async fn an_unknown_outcome_may_come_and_need_not() {
        let history = History::new();
        let [came, lost] = [event("x"), event("x")];
        history.publishing(&came);
        history.publishing(&lost);
        history.handled(came.id(), 1);
        history.until_handled().await;
        history.judge().nothing_is_lost();
    }

    #[tokio::test]
    async fn a_delivery_may_be_faster_than_the_acknowledgement() {
        let history = History::new();
        let event = event("x");
        history.publishing(&event);
        history.handled(event.id(), 1);
        history.published(&event);
        history.until_handled().await;
        history.judge().nothing_is_lost();
    }
}
