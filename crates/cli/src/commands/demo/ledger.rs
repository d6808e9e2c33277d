//! The books of a demo: what was promised to each service, and what became of it.
//!
//! An event is promised to every service whose patterns match its type, before it is published. The summary then has something to be
//! checked against that the bus did not write.

use eventbus::{Event, EventType, Pattern};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// The books, shared by everything that publishes and handles.
pub(super) struct Ledger {
    books: Mutex<Books>,
    /// Counts what was settled.
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct Books {
    accounts: Vec<Account>,
    published: BTreeMap<String, u64>,
}

/// What a service was promised, and what became of it.
struct Account {
    service: &'static str,
    /// The name of its subscription on the bus.
    subscription: String,
    patterns: Vec<Pattern>,
    entries: HashMap<String, Entry>,
    outstanding: u64,
    handled: u64,
    given_up: u64,
    retried: u64,
    redriven: u64,
    repeated: u64,
    unexpected: u64,
}

/// An event of an account.
#[derive(Default)]
struct Entry {
    /// How often it was promised: once, and once more for each redrive.
    promised: u32,
    settled: u32,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Waiting,
    Handled,
    GivenUp,
}

/// The figures of a service now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) service: &'static str,
    pub(super) promised: u64,
    pub(super) handled: u64,
    pub(super) given_up: u64,
    pub(super) retried: u64,
    pub(super) lag: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { books: Mutex::default(), settled: watch::Sender::new(0) }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the account of a service. Returns its place.
    pub(super) fn open(&self, service: &'static str, subscription: String, patterns: Vec<Pattern>) -> usize {
        let mut books = self.books();
        books.accounts.push(Account::new(service, subscription, patterns));
        books.accounts.len() - 1
    }

    /// Promises an event that is about to be published. One that was promised before, such as by an earlier attempt, is not promised again.
    pub(super) fn promise(&self, event: &Event) {
        let mut books = self.books();
        let mut is_new = false;
        for account in books.accounts.iter_mut().filter(|account| account.wants(event.event_type())) {
            is_new |= account.promise(event.id());
        }
        if is_new {
            *books.published.entry(event.event_type().as_str().to_owned()).or_default() += 1;
        }
    }

    /// Takes back the promise of an event that could not be published.
    pub(super) fn withdraw(&self, event: &Event) {
        let mut books = self.books();
        let mut was_there = false;
        for account in &mut books.accounts {
            if account.entries.get(event.id()).is_some_and(|entry| entry.settled < entry.promised) {
                account.entries.remove(event.id());
                account.outstanding -= 1;
                was_there = true;
            }
        }
        if was_there && let Some(count) = books.published.get_mut(event.event_type().as_str()) {
            *count -= 1;
        }
    }

    /// Promises an event again that `place` gave up and that is about to be redriven.
    pub(super) fn promise_again(&self, place: usize, event: &Event) {
        let mut books = self.books();
        books.accounts[place].redriven += 1;
        for account in books.accounts.iter_mut().filter(|account| account.wants(event.event_type())) {
            account.promise_again(event.id());
        }
    }

    pub(super) fn retried(&self, place: usize) {
        self.books().accounts[place].retried += 1;
    }

    /// Notes what became of an event.
    pub(super) fn settle(&self, place: usize, id: &str, fate: Fate) {
        self.books().accounts[place].settle(id, fate);
        self.settled.send_modify(|settled| *settled += 1);
    }

    /// Waits until nothing is outstanding. `false` where nothing was settled for as long as `patience`.
    pub(super) async fn settled(&self, patience: Duration) -> bool {
        let mut changes = self.settled.subscribe();
        loop {
            changes.borrow_and_update();
            if self.books().accounts.iter().all(|account| account.outstanding == 0) {
                return true;
            }
            if !matches!(tokio::time::timeout(patience, changes.changed()).await, Ok(Ok(()))) {
                return false;
            }
        }
    }

    /// How many events of each type were published.
    pub(super) fn published(&self) -> BTreeMap<String, u64> {
        self.books().published.clone()
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        self.books().accounts.iter().map(Account::standing).collect()
    }

    pub(super) fn handled(&self, service: &str) -> u64 {
        self.books().accounts.iter().filter(|account| account.service == service).map(|account| account.handled).sum()
    }

    /// The subscriptions with their places, to look for their dead letters.
    pub(super) fn subscriptions(&self) -> Vec<(usize, &'static str, String)> {
        let books = self.books();
        books.accounts.iter().enumerate().map(|(place, account)| (place, account.service, account.subscription.clone())).collect()
    }

    /// How many events a service gave up and has not handled since.
    pub(super) fn given_up(&self, place: usize) -> u64 {
        self.books().accounts[place].given_up
    }

    /// Closes the account of a service, given the ids of the dead letters that the bus holds for it.
    pub(super) fn close(&self, place: usize, letters: &HashSet<String>) -> Closed {
        self.books().accounts[place].close(letters)
    }
}

impl Account {
    fn new(service: &'static str, subscription: String, patterns: Vec<Pattern>) -> Self {
        let entries = HashMap::new();
        let [outstanding, handled, given_up, retried, redriven, repeated, unexpected] = [0; 7];
        Self { service, subscription, patterns, entries, outstanding, handled, given_up, retried, redriven, repeated, unexpected }
    }

    fn wants(&self, event_type: &EventType) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(event_type))
    }

    fn promise(&mut self, id: &str) -> bool {
        if self.entries.contains_key(id) {
            return false;
        }
        self.entries.insert(id.to_owned(), Entry { promised: 1, ..Entry::default() });
        self.outstanding += 1;
        true
    }

    fn promise_again(&mut self, id: &str) {
        let entry = self.entries.entry(id.to_owned()).or_default();
        if entry.settled >= entry.promised {
            // It is promised once more than it was settled, however often that was.
            entry.promised = entry.settled + 1;
            self.outstanding += 1;
        }
    }

    fn settle(&mut self, id: &str, fate: Fate) {
        let Some(entry) = self.entries.get_mut(id) else {
            self.unexpected += 1;
            return;
        };
        entry.settled += 1;
        if entry.settled == entry.promised {
            self.outstanding -= 1;
        }
        self.repeated += u64::from(entry.fate == Fate::Handled && fate == Fate::Handled);
        // What was handled once is handled, also where a repetition of it fails.
        if entry.fate != Fate::Handled {
            self.given_up -= u64::from(entry.fate == Fate::GivenUp);
            self.given_up += u64::from(fate == Fate::GivenUp);
            self.handled += u64::from(fate == Fate::Handled);
            entry.fate = fate;
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            service: self.service,
            promised: self.entries.len() as u64,
            handled: self.handled,
            given_up: self.given_up,
            retried: self.retried,
            lag: self.outstanding,
        }
    }

    fn close(&self, letters: &HashSet<String>) -> Closed {
        let with = |fate, lettered| {
            self.entries.iter().filter(|(id, entry)| entry.fate == fate && letters.contains(*id) == lettered).count() as u64
        };
        let counts = [
            (with(Fate::Waiting, false), "neither handled nor dead-lettered"),
            (with(Fate::GivenUp, false), "given up, but not among the dead letters"),
            (with(Fate::Handled, true), "handled, and among the dead letters as well"),
            (self.unexpected, "handled that nobody had published"),
            (letters.iter().filter(|id| !self.entries.contains_key(*id)).count() as u64, "dead-lettered that nobody had published"),
        ];
        let service = self.service;
        let problem = |(count, what): &(u64, &str)| (*count > 0).then(|| format!("{service}: {count} {what}"));
        Closed {
            service,
            published: self.entries.len() as u64,
            handled: self.handled,
            dead_lettered: letters.len() as u64,
            retried: self.retried,
            redriven: self.redriven,
            repeated: self.repeated,
            problems: counts.iter().filter_map(problem).collect(),
        }
    }
}

/// What an account comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) service: &'static str,
    /// Events published that its patterns match.
    pub(super) published: u64,
    /// Of these, how many were handled.
    pub(super) handled: u64,
    /// The dead letters that the bus holds for it in the end.
    pub(super) dead_lettered: u64,
    /// Attempts that failed and were tried again.
    pub(super) retried: u64,
    /// Dead letters that were redriven.
    pub(super) redriven: u64,
    /// Times that it handled an event again.
    pub(super) repeated: u64,
    pub(super) problems: Vec<String>,
}

impl Closed {
    /// Whether what was published is what was handled plus what went to the dead letters.
    pub(super) fn adds_up(&self) -> bool {
        self.problems.is_empty() && self.published == self.handled + self.dead_lettered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(ids: &[&str]) -> Account {
        let mut account = Account::new("billing", "s".to_owned(), vec![Pattern::everything()]);
        for id in ids {
            account.promise(id);
        }
        account
    }

    fn letters(ids: &[&str]) -> HashSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn what_is_handled_or_a_dead_letter_adds_up() {
        let mut account = account(&["a", "b"]);
        account.settle("a", Fate::Handled);
        account.settle("b", Fate::GivenUp);
        let closed = account.close(&letters(&["b"]));
        assert!(closed.adds_up(), "{closed:?}");
        assert_eq!((closed.published, closed.handled, closed.dead_lettered), (2, 1, 1));
    }

    #[test]
    fn each_way_of_not_adding_up_is_named() {
        let fates = |fates: &[(&str, Fate)], held: &[&str]| {
            let mut account = account(&["a", "b"]);
            for (id, fate) in fates {
                account.settle(id, *fate);
            }
            let closed = account.close(&letters(held));
            assert!(!closed.adds_up(), "{closed:?}");
            closed.problems.join("; ")
        };
        let handled = ("a", Fate::Handled);
        assert_eq!(fates(&[handled], &[]), "billing: 1 neither handled nor dead-lettered");
        assert_eq!(fates(&[handled, ("b", Fate::GivenUp)], &[]), "billing: 1 given up, but not among the dead letters");
        assert_eq!(fates(&[handled, ("b", Fate::Handled)], &["b"]), "billing: 1 handled, and among the dead letters as well");
        assert_eq!(fates(&[handled, ("b", Fate::Handled), ("c", Fate::Handled)], &[]), "billing: 1 handled that nobody had published");
        assert_eq!(fates(&[handled, ("b", Fate::Handled)], &["c"]), "billing: 1 dead-lettered that nobody had published");
    }

    #[test]
    fn a_redriven_event_is_outstanding_until_it_is_settled_again() {
        let mut account = account(&["a"]);
        account.settle("a", Fate::GivenUp);
        assert_eq!(account.outstanding, 0);
        account.promise_again("a");
        assert_eq!(account.outstanding, 1);
        account.settle("a", Fate::Handled);
        assert_eq!(account.outstanding, 0);
        assert!(account.close(&letters(&[])).adds_up());
    }

    #[test]
    fn a_repetition_changes_nothing_but_its_count() {
        let mut account = account(&["a"]);
        account.settle("a", Fate::Handled);
        account.settle("a", Fate::Handled);
        account.settle("a", Fate::GivenUp);
        assert!(!account.promise("a"));
        let closed = account.close(&letters(&[]));
        assert!(closed.adds_up() && closed.repeated == 1, "{closed:?}");
    }

    #[test]
    fn what_could_not_be_published_is_not_owed() {
        let ledger = Ledger::new();
        let place = ledger.open("billing", "s".to_owned(), vec![Pattern::everything()]);
        let event = Event::json("a", 1).unwrap();
        ledger.promise(&event);
        ledger.withdraw(&event);
        assert_eq!(ledger.standings()[0].lag, 0);
        assert_eq!(ledger.published()["a"], 0);
        assert!(ledger.close(place, &HashSet::new()).adds_up());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_all_is_settled_or_nothing_moves() {
        let ledger = Ledger::new();
        let place = ledger.open("billing", "s".to_owned(), vec![Pattern::everything()]);
        let event = Event::json("a", 1).unwrap();
        ledger.promise(&event);
        assert!(!ledger.settled(Duration::from_secs(1)).await);
        ledger.settle(place, event.id(), Fate::Handled);
        assert!(ledger.settled(Duration::from_secs(1)).await);
    }
}
