//! A server in a few lines, which does what a test tells it to.

use eventbus_core::{Capabilities, DeadLetter, DeadLetterReason, Error, ErrorKind, Event, Health, Plan, ReplyTransport, Result};
use eventbus_runtime::{
    Backlog, Buried, Fetched, Progress, Reporter, Run, Settled, Source,
    remote::{Broker, Figures, LetterStore, RemoteBus, RemoteSettings, Stored},
};
use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::watch;

/// What happens to the next event that is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Next {
    /// It cannot even be sent.
    NotSent(ErrorKind),
    /// It is stored.
    Stored,
    /// It is stored, and the answer is lost.
    AnswerLost,
    /// It is refused.
    Refused(ErrorKind),
    /// No answer comes.
    Silence,
}

#[derive(Default)]
pub(crate) struct Server {
    pub(crate) next: VecDeque<Next>,
    pub(crate) log: Vec<Event>,
    pub(crate) attempts: usize,
    pub(crate) letters: BTreeMap<u64, DeadLetter>,
    pub(crate) republished: Vec<u64>,
    pub(crate) pages: usize,
    pub(crate) closed: usize,
    /// Whether subscriptions get an event that can never be settled.
    pub(crate) never_settles: bool,
}

#[derive(Clone)]
pub(crate) struct Script {
    server: Arc<Mutex<Server>>,
    /// Acknowledgements wait until this is open.
    acks: watch::Sender<bool>,
    capabilities: Arc<Capabilities>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { server: Arc::default(), acks: watch::Sender::new(true), capabilities: Arc::new(Capabilities::all("script")) }
    }

    pub(crate) fn bus(&self, change: impl FnOnce(&mut RemoteSettings)) -> RemoteBus<Self> {
        let mut settings = RemoteSettings {
            publish_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(10),
            hold: None,
            max_in_flight: 100,
            max_in_flight_bytes: 1024 * 1024,
            reporter: Reporter::new(),
        };
        change(&mut settings);
        RemoteBus::new(self.clone(), settings)
    }

    pub(crate) fn will(&self, next: impl IntoIterator<Item = Next>) {
        self.server().next.extend(next);
    }

    pub(crate) fn hold_acks(&self) {
        self.acks.send_replace(false);
    }

    pub(crate) fn release_acks(&self) {
        self.acks.send_replace(true);
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.server().log.iter().map(|event| *event.decode::<u64>().unwrap()).collect()
    }

    pub(crate) fn bury(&self, place: u64, event: Event, subscription: &str) {
        let letter = DeadLetter::new(event, DeadLetterReason::Exhausted, "always", 5, subscription);
        self.server().letters.insert(place, letter);
    }
}

fn fault(kind: ErrorKind) -> Error {
    Error::new(kind, "as the script says")
}

impl Broker for Script {
    type Source = Nothing;
    type Ack = Pin<Box<dyn Future<Output = Result<Stored>> + Send>>;
    type Letters = Self;

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, event: &Event) -> Result<Self::Ack> {
        let mut server = self.server();
        server.attempts += 1;
        let next = server.next.pop_front();
        if let Some(Next::NotSent(kind)) = next {
            return Err(fault(kind));
        }
        let seen = server.log.iter().any(|stored| (stored.source(), stored.id()) == (event.source(), event.id()));
        if !seen && matches!(next, None | Some(Next::Stored | Next::AnswerLost)) {
            server.log.push(event.clone());
        }
        drop(server);
        let mut acks = self.acks.subscribe();
        Ok(Box::pin(async move {
            let _ = acks.wait_for(|open| *open).await;
            match next {
                Some(Next::AnswerLost) => Err(fault(ErrorKind::Unavailable)),
                Some(Next::Refused(kind)) => Err(fault(kind)),
                Some(Next::Silence) => pending().await,
                Some(Next::NotSent(_) | Next::Stored) | None if seen => Ok(Stored::Duplicate),
                Some(Next::NotSent(_) | Next::Stored) | None => Ok(Stored::New),
            }
        }))
    }

    async fn subscribe(&self, _plan: &Plan) -> Result<Nothing> {
        let once = self.server().never_settles.then(|| Event::json("a", 1)).transpose()?;
        Ok(Nothing { progress: Progress::default(), once: Mutex::new(once) })
    }

    async fn leave(&self, _source: &Nothing) {}

    async fn delete_group(&self, _group: &str) -> Result<bool> {
        Ok(false)
    }

    fn letters(&self) -> Option<&Self> {
        Some(self)
    }

    fn replies(&self) -> Option<&dyn ReplyTransport> {
        None
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::default())
    }

    async fn figures(&self) -> Result<Figures> {
        Ok(Figures::default())
    }

    async fn close(&self) {
        self.server().closed += 1;
    }
}

impl LetterStore for Script {
    type Place = u64;

    async fn page(&self, after: Option<&u64>, max: usize) -> Result<Vec<(u64, DeadLetter)>> {
        let mut server = self.server();
        server.pages += 1;
        let from = after.map_or(0, |after| after + 1);
        Ok(server.letters.range(from..).take(max).map(|(place, letter)| (*place, letter.clone())).collect())
    }

    async fn republish(&self, place: &u64, _letter: &DeadLetter) -> Result<()> {
        let mut server = self.server();
        if let Some(Next::Refused(kind)) = server.next.pop_front() {
            return Err(fault(kind));
        }
        server.republished.push(*place);
        Ok(())
    }

    async fn remove(&self, place: &u64) -> Result<bool> {
        Ok(self.server().letters.remove(place).is_some())
    }
}

/// A source that never has anything, or one event that cannot be settled.
pub(crate) struct Nothing {
    progress: Progress,
    once: Mutex<Option<Event>>,
}

impl Source for Nothing {
    type Token = ();

    async fn fetch(&self, _max: usize) -> Result<Fetched<()>> {
        let once = self.once.lock().unwrap().take();
        match once {
            Some(event) => Ok(Fetched::Run(Run::one(event, (), 1))),
            None => pending().await,
        }
    }

    async fn settle(&self, _settled: &mut Vec<Settled<()>>) -> Result<()> {
        Err(fault(ErrorKind::Unavailable))
    }

    async fn bury(&self, _buried: &Buried<()>) -> Result<()> {
        Ok(())
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn backlog(&self) -> Backlog {
        Backlog::default()
    }
}
