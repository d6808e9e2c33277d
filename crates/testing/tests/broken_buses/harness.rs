//! A bus with one fault: everything is left to an in-process bus, but for what the fault changes.

use async_trait::async_trait;
use eventbus_core::{
    Bus, BusFuture, BusStats, Capabilities, Context, DeadLetter, DeadLetterFilter, DeadLetters, ErrorStream, Event, Handler, HandlerError,
    Health, Inbox, Plan, Receipt, ReplyTransport, Result, Subscribe, Subscription, SubscriptionControl, SubscriptionStats,
};
use eventbus_memory::{MemoryBuilder, MemoryBus};
use eventbus_testing::conformance::{self, Fixture, Setup, Verdict};
use std::{fmt, sync::Arc, time::Duration};

/// What is done differently. Left as it is, a method does what a sound bus does.
#[async_trait]
pub(crate) trait Fault: Send + Sync + 'static {
    fn build(&self, builder: MemoryBuilder) -> MemoryBuilder {
        builder
    }

    fn declare(&self, _capabilities: &mut Capabilities) {}

    /// Checks what is asked for against what is declared.
    fn accept(&self, asked: &Subscribe, capabilities: &Capabilities) -> Result<()> {
        Plan::new(asked.clone(), capabilities, "handler").map(|_| ())
    }

    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        bus.publish(event).await
    }

    async fn enqueue(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<Receipt> {
        self.publish(bus, event).await.map(|()| Receipt::ready(Ok(())))
    }

    async fn publish_all(&self, bus: &Arc<dyn Bus>, events: Vec<Event>) -> Vec<Result<()>> {
        let mut results = Vec::new();
        for event in events {
            results.push(self.publish(bus, event).await);
        }
        results
    }

    /// What is asked of the sound bus instead.
    fn ask(&self, asked: Subscribe, _plan: &Plan) -> Subscribe {
        asked
    }

    async fn subscribe(&self, bus: &Arc<dyn Bus>, asked: Subscribe, handler: Arc<dyn Handler>) -> Result<Subscription> {
        bus.subscribe(asked, handler).await
    }

    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        handler.handle(ctx, event).await
    }

    fn pause(&self, subscription: &Subscription) {
        subscription.pause();
    }

    async fn unsubscribe(&self, subscription: &Subscription) -> Result<()> {
        subscription.close().await
    }

    fn abandon(&self, subscription: &Subscription) {
        subscription.control().abandon();
    }

    async fn ended(&self, subscription: &Subscription) -> Result<()> {
        subscription.ended().await
    }

    fn figures(&self, _figures: &mut SubscriptionStats) {}

    fn totals(&self, _totals: &mut BusStats) {}

    async fn list(&self, letters: &dyn DeadLetters, filter: DeadLetterFilter) -> Result<Vec<DeadLetter>> {
        letters.list(filter).await
    }

    async fn redrive(&self, bus: &Arc<dyn Bus>, filter: DeadLetterFilter) -> Result<usize> {
        bus.dead_letters()?.redrive(filter).await
    }

    async fn remove(&self, letters: &dyn DeadLetters, filter: DeadLetterFilter) -> Result<usize> {
        letters.remove(filter).await
    }

    async fn reply(&self, bus: &Arc<dyn Bus>, address: &str, reply: Event) -> Result<()> {
        bus.replies()?.send(address, reply).await
    }

    /// Told of every inbox that is opened.
    fn opened(&self, _address: &str) {}

    fn errors(&self, bus: &Arc<dyn Bus>) -> ErrorStream {
        bus.errors()
    }

    async fn delete_group(&self, bus: &Arc<dyn Bus>, group: &str) -> Result<bool> {
        bus.delete_group(group).await
    }

    async fn close(&self, bus: &Arc<dyn Bus>) -> Result<()> {
        bus.close().await
    }
}

/// No fault at all.
pub(crate) struct Sound;

impl Fault for Sound {}

/// Asserts that a case fails on a bus with a fault, with words that hold `says`, and passes without the fault.
pub(crate) fn caught<F: Fault>(fault: impl Fn() -> F + Clone + Send + Sync + 'static, case: &str, says: &str) {
    caught_beside(|| Sound, fault, case, says);
}

/// The same where the bus that passes is no ordinary one.
pub(crate) fn caught_beside<S: Fault, F: Fault>(
    sound: impl Fn() -> S + Send + Sync + 'static,
    fault: impl Fn() -> F + Send + Sync + 'static,
    case: &str,
    says: &str,
) {
    let verdict = judge(Broken { fault: sound, patience: Duration::from_secs(30) }, case);
    assert_eq!(verdict, Verdict::Passed, "the bus without the fault");
    // Some faults show in that something never comes; those need no long wait.
    match judge(Broken { fault, patience: Duration::from_secs(2) }, case) {
        Verdict::Failed(how) => assert!(how.contains(says), "{case} failed, but says {how:?}"),
        other => panic!("{case} did not catch the fault: {other:?}"),
    }
}

fn judge(fixture: impl Fixture, case: &str) -> Verdict {
    let case = conformance::cases().iter().find(|known| known.name == case).expect("the suite has this case");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be built");
    let verdict = runtime.block_on(conformance::check(Arc::new(fixture), case));
    // What a broken bus left behind is not waited for.
    runtime.shutdown_background();
    verdict
}

/// Makes buses with a fault.
struct Broken<New> {
    fault: New,
    patience: Duration,
}

#[async_trait]
impl<F: Fault, New: Fn() -> F + Send + Sync + 'static> Fixture for Broken<New> {
    async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>> {
        let fault: Arc<dyn Fault> = Arc::new((self.fault)());
        let bus: Arc<dyn Bus> = Arc::new(fault.build(setup.in_process(MemoryBus::builder())).build()?);
        let mut capabilities = bus.capabilities().clone();
        fault.declare(&mut capabilities);
        Ok(Arc::new(BrokenBus { beside: Arc::new(Beside { fault, bus }), capabilities }))
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}

struct BrokenBus {
    beside: Arc<Beside>,
    capabilities: Capabilities,
}

/// The fault and the sound bus beside it.
struct Beside {
    fault: Arc<dyn Fault>,
    bus: Arc<dyn Bus>,
}

impl Bus for BrokenBus {
    fn publish(&self, event: Event) -> BusFuture<'_, Result<()>> {
        BusFuture::new(self.beside.fault.publish(&self.beside.bus, event))
    }

    fn enqueue(&self, event: Event) -> BusFuture<'_, Result<Receipt>> {
        BusFuture::new(self.beside.fault.enqueue(&self.beside.bus, event))
    }

    fn publish_all(&self, events: Vec<Event>) -> BusFuture<'_, Vec<Result<()>>> {
        BusFuture::new(self.beside.fault.publish_all(&self.beside.bus, events))
    }

    fn subscribe(&self, asked: Subscribe, handler: Arc<dyn Handler>) -> BusFuture<'_, Result<Subscription>> {
        BusFuture::new(async move {
            let fault = &self.beside.fault;
            fault.accept(&asked, &self.capabilities)?;
            let plan = Plan::new(asked.clone(), &Capabilities::all("any"), handler.name())?;
            let handler = Arc::new(BrokenHandler { fault: Arc::clone(fault), handler });
            let subscription = fault.subscribe(&self.beside.bus, fault.ask(asked, &plan), handler).await?;
            Ok(Subscription::new(BrokenControl { fault: Arc::clone(fault), subscription }))
        })
    }

    fn delete_group<'a>(&'a self, group: &'a str) -> BusFuture<'a, Result<bool>> {
        BusFuture::new(self.beside.fault.delete_group(&self.beside.bus, group))
    }

    fn start(&self) -> BusFuture<'_, Result<()>> {
        self.beside.bus.start()
    }

    fn dead_letters(&self) -> Result<&dyn DeadLetters> {
        self.beside.bus.dead_letters().map(|_| &*self.beside as &dyn DeadLetters)
    }

    fn replies(&self) -> Result<&dyn ReplyTransport> {
        self.beside.bus.replies().map(|_| &*self.beside as &dyn ReplyTransport)
    }

    fn flush(&self) -> BusFuture<'_, Result<()>> {
        self.beside.bus.flush()
    }

    fn health(&self) -> BusFuture<'_, Result<Health>> {
        self.beside.bus.health()
    }

    fn stats(&self) -> BusFuture<'_, Result<BusStats>> {
        BusFuture::new(async move {
            let mut totals = self.beside.bus.stats().await?;
            totals.subscriptions.iter_mut().for_each(|figures| self.beside.fault.figures(figures));
            self.beside.fault.totals(&mut totals);
            Ok(totals)
        })
    }

    fn errors(&self) -> ErrorStream {
        self.beside.fault.errors(&self.beside.bus)
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn close(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::new(self.beside.fault.close(&self.beside.bus))
    }
}

impl fmt::Debug for BrokenBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokenBus").finish_non_exhaustive()
    }
}

impl DeadLetters for Beside {
    fn list(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<Vec<DeadLetter>>> {
        BusFuture::new(async move { self.fault.list(self.bus.dead_letters()?, filter).await })
    }

    fn redrive(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<usize>> {
        BusFuture::new(self.fault.redrive(&self.bus, filter))
    }

    fn remove(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<usize>> {
        BusFuture::new(async move { self.fault.remove(self.bus.dead_letters()?, filter).await })
    }
}

impl ReplyTransport for Beside {
    fn open(&self) -> BusFuture<'_, Result<Inbox>> {
        BusFuture::new(async move {
            let inbox = self.bus.replies()?.open().await?;
            self.fault.opened(inbox.address());
            Ok(inbox)
        })
    }

    fn send<'a>(&'a self, address: &'a str, reply: Event) -> BusFuture<'a, Result<()>> {
        BusFuture::new(self.fault.reply(&self.bus, address, reply))
    }
}

struct BrokenHandler {
    fault: Arc<dyn Fault>,
    handler: Arc<dyn Handler>,
}

#[async_trait]
impl Handler for BrokenHandler {
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        // Responders send their replies on the bus of their context.
        let beside = Arc::new(Beside { fault: Arc::clone(&self.fault), bus: Arc::clone(ctx.bus()) });
        let capabilities = ctx.bus().capabilities().clone();
        let ctx = ctx.clone().with_bus(Arc::new(BrokenBus { beside, capabilities }));
        self.fault.handle(&self.handler, &ctx, event).await
    }

    fn name(&self) -> &str {
        self.handler.name()
    }

    async fn handle_batch(&self, ctx: &Context, events: &[Event]) -> Vec<Result<(), HandlerError>> {
        self.handler.handle_batch(ctx, events).await
    }
}

struct BrokenControl {
    fault: Arc<dyn Fault>,
    subscription: Subscription,
}

impl SubscriptionControl for BrokenControl {
    fn stats(&self) -> SubscriptionStats {
        let mut figures = self.subscription.stats();
        self.fault.figures(&mut figures);
        figures
    }

    fn pause(&self) {
        self.fault.pause(&self.subscription);
    }

    fn resume(&self) {
        self.subscription.resume();
    }

    fn close(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::new(self.fault.unsubscribe(&self.subscription))
    }

    fn abandon(&self) {
        self.fault.abandon(&self.subscription);
    }

    fn ended(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::new(self.fault.ended(&self.subscription))
    }
}
