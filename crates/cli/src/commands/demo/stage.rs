//! Where a demo plays: services on a bus, events to them, and the books about both.

use super::{
    ledger::{Fate, Ledger},
    occurrence::{Asked, Occurrence},
};
use crate::{exit::with_causes, interrupt::Interrupt, run_id::RunId};
use eventbus::{
    Bus, BusExt as _, Capabilities, Context, DeadLetter, DeadLetterFilter, Error, ErrorKind, Event, Gather, Handler, HandlerError,
    IntoHandler, IntoResponder, Pattern, Reply, Retry, Subscribe, Subscription, Verdict, async_trait,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};

/// The attribute that tells events of this run from those of others on the same bus.
const RUN: &str = "demorun";
/// How many events may be published and not yet shown.
const AHEAD: usize = 256;
/// The first delay of a retry. Short, so that one sees what comes of it.
const BACKOFF: Duration = Duration::from_millis(20);

pub(super) struct Stage {
    bus: Arc<dyn Bus>,
    run: RunId,
    pub(super) ledger: Ledger,
    tell: mpsc::UnboundedSender<Occurrence>,
    room: Arc<Semaphore>,
    /// Asks for an early end.
    pub(super) stop: Interrupt,
    /// Whether what failed on purpose has been mended.
    mended: AtomicBool,
    /// What the services subscribed to.
    subscriptions: Mutex<Vec<Subscription>>,
}

/// A service to be: what it is called, what it gets, and how it takes it.
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) patterns: Vec<Pattern>,
    /// Whether its instances share the events; otherwise each gets all.
    pub(super) group: bool,
    pub(super) concurrency: usize,
    pub(super) attempts: u32,
}

impl Service {
    /// A service whose instances share the events.
    pub(super) fn new(name: &'static str, patterns: &[&'static str]) -> Self {
        let patterns = patterns.iter().map(|pattern| Pattern::new(*pattern).expect("the patterns of the demo keep the rules")).collect();
        Self { name, patterns, group: true, concurrency: 4, attempts: 4 }
    }

    /// One that gets everything by itself, in order.
    pub(super) fn alone(self) -> Self {
        Self { group: false, concurrency: 1, ..self }
    }
}

impl Stage {
    pub(super) fn new(bus: Arc<dyn Bus>, run: RunId, stop: Interrupt) -> (Arc<Self>, mpsc::UnboundedReceiver<Occurrence>) {
        let (tell, told) = mpsc::unbounded_channel();
        let (ledger, room) = (Ledger::new(), Arc::new(Semaphore::new(AHEAD)));
        (Arc::new(Self { bus, run, ledger, tell, room, stop, mended: AtomicBool::new(false), subscriptions: Mutex::default() }), told)
    }

    pub(super) fn run(&self) -> &RunId {
        &self.run
    }

    pub(super) fn bus(&self) -> &dyn Bus {
        &*self.bus
    }

    /// Whether services may fail on purpose, since the bus makes good for it.
    pub(super) fn may_fail(&self) -> bool {
        let Capabilities { redelivery, dead_letters, .. } = self.bus.capabilities();
        *redelivery && *dead_letters
    }

    pub(super) fn may_ask(&self) -> bool {
        self.bus.capabilities().requests
    }

    pub(super) fn is_mended(&self) -> bool {
        self.mended.load(SeqCst)
    }

    pub(super) fn mend(&self) {
        self.mended.store(true, SeqCst);
    }

    pub(super) fn tell(&self, occurrence: Occurrence) {
        // Where nobody listens any more, the demo is about to end.
        let _ = self.tell.send(occurrence);
    }

    /// Brings a service to the bus.
    pub(super) async fn serve<Arguments>(self: &Arc<Self>, service: Service, handler: impl IntoHandler<Arguments>) -> Result<(), Error> {
        self.place(service, Arc::new(handler.into_handler())).await
    }

    /// Brings a service that replies to requests.
    pub(super) async fn respond<Arguments, Kind>(
        self: &Arc<Self>,
        service: Service,
        responder: impl IntoResponder<Arguments, Kind>,
    ) -> Result<(), Error> {
        let name = service.name.to_owned();
        self.place(service, Arc::new(responder.into_responder(name))).await
    }

    async fn place(self: &Arc<Self>, service: Service, inner: Arc<dyn Handler>) -> Result<(), Error> {
        let Service { name, patterns, group, concurrency, attempts } = service;
        let capabilities = self.bus.capabilities();
        let subscription = format!("demo-{}-{name}", self.run);
        let place = self.ledger.open(name, subscription.clone(), patterns.clone());
        let mut subscribe = Subscribe::to(patterns).concurrency(concurrency);
        subscribe = if group && capabilities.groups { subscribe.group(subscription) } else { subscribe.name(subscription) };
        let attempts = if capabilities.redelivery { attempts } else { 1 };
        if attempts > 1 {
            subscribe = subscribe.retry(Retry::exponential(BACKOFF).max_attempts(attempts));
        }
        let watched = Watched { stage: Arc::clone(self), place, service: name, attempts, inner };
        let subscription = self.bus.subscribe(subscribe, Arc::new(watched)).await?;
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).push(subscription);
        Ok(())
    }

    /// Sends the services away, and takes their groups from the bus: no other run will join them.
    pub(super) async fn clear(&self) -> Result<(), Error> {
        let subscriptions = std::mem::take(&mut *self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner));
        let mut groups = BTreeSet::new();
        for subscription in subscriptions {
            groups.extend(subscription.stats().group);
            subscription.close().await?;
        }
        for group in groups {
            self.bus.delete_group(&group).await?;
        }
        Ok(())
    }

    /// Publishes an event from outside.
    pub(super) async fn publish(&self, event: Event) -> Result<(), Error> {
        // The semaphore is never closed.
        let room = Arc::clone(&self.room).acquire_owned().await.ok();
        let event = self.promised(event);
        let publishing = self.bus.publish(event.clone()).await;
        self.note(event, publishing, room)
    }

    /// Publishes what a service has to say about the event it is handling.
    pub(super) async fn follow(&self, ctx: &Context, event: Event) -> Result<(), Error> {
        let event = self.promised(event.caused_by(ctx.event()));
        let publishing = ctx.bus().publish(event.clone()).await;
        self.note(event, publishing, None)
    }

    /// Marks an event as one of this run, and promises it.
    fn promised(&self, event: Event) -> Event {
        let event = event.with_extension(RUN, self.run.to_string());
        self.ledger.promise(&event);
        event
    }

    fn note(&self, event: Event, publishing: Result<(), Error>, room: Option<tokio::sync::OwnedSemaphorePermit>) -> Result<(), Error> {
        match publishing {
            Ok(()) => self.tell(Occurrence::Published { event, _room: room }),
            Err(_) => self.ledger.withdraw(&event),
        }
        publishing
    }

    /// Asks several at once. At least `enough` of them must reply.
    pub(super) async fn ask(
        &self,
        question: String,
        event: Event,
        whom: &[&str],
        enough: usize,
        within: Duration,
        read: impl Fn(&Reply) -> String,
    ) -> Asked {
        let event = self.promised(event);
        // What did come is shown also where it is too little.
        let gather = Gather::from(whom.iter().copied()).at_least(1).timeout(within);
        let asked = match self.bus.request(event.clone(), gather).await {
            Ok(replies) => {
                let _ = self.note(event, Ok(()), None);
                let mut heard: Vec<_> = replies.iter().map(|reply| (reply.responder().to_owned(), read(reply))).collect();
                heard.sort();
                let fault = (heard.len() < enough).then(|| format!("only {} of at least {enough} replied", heard.len()));
                Asked { question, replies: heard, missing: replies.missing().to_vec(), fault }
            }
            Err(error) => {
                // Without a reply in time, the question was asked all the same.
                let asked = error.kind() == ErrorKind::Timeout;
                let _ = self.note(event, if asked { Ok(()) } else { Err(error.clone()) }, None);
                let missing = whom.iter().map(|name| (*name).to_owned()).collect();
                Asked { question, replies: Vec::new(), missing, fault: Some(with_causes(&error)) }
            }
        };
        self.tell(Occurrence::Asked(asked.clone()));
        asked
    }

    /// The dead letters of a subscription of this run.
    pub(super) async fn letters(&self, subscription: &str) -> Result<Vec<DeadLetter>, Error> {
        self.bus.dead_letters()?.list(DeadLetterFilter::all().of_subscription(subscription)).await
    }

    /// Publishes the event of a dead letter again.
    pub(super) async fn redrive(&self, place: usize, service: &'static str, letter: &DeadLetter) -> Result<usize, Error> {
        let event = letter.event.clone();
        self.ledger.promise_again(place, &event);
        let filter = DeadLetterFilter::all().of_subscription(&letter.subscription).of_event(event.id());
        let redriven = self.bus.dead_letters()?.redrive(filter).await?;
        self.tell(Occurrence::Redriven { service, event });
        Ok(redriven)
    }
}

/// A handler whose doings are written to the books.
struct Watched {
    stage: Arc<Stage>,
    place: usize,
    service: &'static str,
    attempts: u32,
    inner: Arc<dyn Handler>,
}

#[async_trait]
impl Handler for Watched {
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let Self { stage, place, service, attempts, inner } = self;
        if event.extension(RUN).is_none_or(|run| run.to_string() != stage.run.to_string()) {
            // Of another run on the same broker.
            return Ok(());
        }
        let outcome = inner.handle(ctx, event).await;
        let (service, event, attempt) = (*service, event.clone(), ctx.attempt());
        match &outcome {
            Ok(()) => {
                stage.ledger.settle(*place, event.id(), Fate::Handled);
                stage.tell(Occurrence::Handled { service, event, attempt });
            }
            Err(error) if error.verdict() == Verdict::Reject || attempt >= *attempts => {
                stage.ledger.settle(*place, event.id(), Fate::GivenUp);
                stage.tell(Occurrence::GivenUp { service, event, attempt, error: error.to_string() });
            }
            Err(error) => {
                stage.ledger.retried(*place);
                stage.tell(Occurrence::Retried { service, event, attempt, error: error.to_string() });
            }
        }
        outcome
    }

    fn name(&self) -> &str {
        self.service
    }
}
