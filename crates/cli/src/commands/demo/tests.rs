//! The demo on buses that do less than they should, or less than others.

use super::*;
use crate::{exit::Exit, output::Captured};
use eventbus::{
    Bus, BusFuture, BusStats, Capabilities, DeadLetters, Error, ErrorStream, Event, Handler, Health, Receipt, ReplyTransport, Result,
    Subscribe, Subscription,
};
use std::sync::atomic::AtomicU64;

/// A bus in this process with a fault.
#[derive(Debug)]
struct Odd {
    inner: Arc<dyn Bus>,
    capabilities: Capabilities,
    fault: Fault,
    published: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It offers nothing but delivery.
    Plain,
    /// It accepts an event and loses it.
    Loses,
    /// It delivers everything twice.
    Repeats,
}

impl Odd {
    async fn bus(fault: Fault) -> Arc<dyn Bus> {
        let inner = eventbus::connect("memory:?dedup_window=0s").await.unwrap();
        let capabilities = if fault == Fault::Plain { Capabilities::none("plain") } else { inner.capabilities().clone() };
        Arc::new(Self { inner, capabilities, fault, published: AtomicU64::new(0) })
    }
}

impl Bus for Odd {
    fn publish(&self, event: Event) -> BusFuture<'_, Result<()>> {
        match self.fault {
            Fault::Loses if self.published.fetch_add(1, Relaxed) == 10 => BusFuture::ready(Ok(())),
            Fault::Repeats => BusFuture::new(async move {
                self.inner.publish(event.clone()).await?;
                self.inner.publish(event).await
            }),
            _ => self.inner.publish(event),
        }
    }

    fn enqueue(&self, event: Event) -> BusFuture<'_, Result<Receipt>> {
        self.inner.enqueue(event)
    }

    fn publish_all(&self, events: Vec<Event>) -> BusFuture<'_, Vec<Result<()>>> {
        self.inner.publish_all(events)
    }

    fn subscribe(&self, subscribe: Subscribe, handler: Arc<dyn Handler>) -> BusFuture<'_, Result<Subscription>> {
        match eventbus::Plan::new(subscribe.clone(), &self.capabilities, handler.name()) {
            Ok(_) => self.inner.subscribe(subscribe, handler),
            Err(error) => BusFuture::ready(Err(error)),
        }
    }

    fn delete_group<'a>(&'a self, group: &'a str) -> BusFuture<'a, Result<bool>> {
        self.inner.delete_group(group)
    }

    fn start(&self) -> BusFuture<'_, Result<()>> {
        self.inner.start()
    }

    fn dead_letters(&self) -> Result<&dyn DeadLetters> {
        if self.capabilities.dead_letters { self.inner.dead_letters() } else { Err(Error::unsupported("dead letters", "plain")) }
    }

    fn replies(&self) -> Result<&dyn ReplyTransport> {
        if self.capabilities.requests { self.inner.replies() } else { Err(Error::unsupported("requests", "plain")) }
    }

    fn flush(&self) -> BusFuture<'_, Result<()>> {
        self.inner.flush()
    }

    fn health(&self) -> BusFuture<'_, Result<Health>> {
        self.inner.health()
    }

    fn stats(&self) -> BusFuture<'_, Result<BusStats>> {
        self.inner.stats()
    }

    fn errors(&self) -> ErrorStream {
        self.inner.errors()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn close(&self) -> BusFuture<'_, Result<()>> {
        self.inner.close()
    }
}

async fn shown(fault: Fault, input: Option<&str>, json: bool) -> (Exit, Captured) {
    let session = Session::of(Odd::bus(fault).await);
    let (mut out, said) = Captured::output(json);
    let exit = show(&session, "odd:", input.map(Lines::of_text), None, &mut out, &Interrupt::never()).await.unwrap();
    session.end(Ok(())).await.unwrap();
    (exit, said)
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_can_do_less_is_asked_for_less() {
    for input in [None, Some("{\"type\":\"a\"}\n")] {
        let (exit, said) = shown(Fault::Plain, input, false).await;
        assert_eq!(exit, Exit::Done, "{}", said.stdout());
        for part in ["left out: nothing failed on purpose", "left out: nothing was asked", "it adds up"] {
            assert!(said.stdout().contains(part), "{part}: {}", said.stdout());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_loses_an_event_is_found_out() {
    let (exit, said) = shown(Fault::Loses, None, false).await;
    assert_eq!(exit, Exit::Failed);
    assert!(said.stdout().contains("audit: 1 neither handled nor dead-lettered"), "{}", said.stdout());
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_repeats_events_loses_none() {
    let (exit, said) = shown(Fault::Repeats, None, true).await;
    assert_eq!(exit, Exit::Done, "{}", said.stdout());
    let summary: serde_json::Value = serde_json::from_str(said.stdout().lines().last().unwrap()).unwrap();
    let audit = summary["services"].as_array().unwrap().iter().find(|service| service["service"] == "audit").unwrap();
    assert!(audit["repeated"].as_u64() >= Some(80), "{audit}");
}

#[tokio::test(start_paused = true)]
async fn an_early_end_settles_what_was_published() {
    let session = Session::of(eventbus::connect("memory:").await.unwrap());
    let (mut out, said) = Captured::output(false);
    let interrupt = Interrupt::never();
    interrupt.trigger();
    let outcome = show(&session, "memory:", None, None, &mut out, &interrupt).await;
    assert!(matches!(outcome, Err(Failure::Interrupted)));
    assert!(said.stdout().contains("ended early") && said.stdout().contains("it adds up"), "{}", said.stdout());
}
