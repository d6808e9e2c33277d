//! A bus for the time of one command: connected at its begin, closed at its end.

use crate::{
    exit::{Outcome, with_causes},
    interrupt::Interrupt,
    output::Output,
};
use eventbus::Bus;
use std::{future::Future, io::Write as _, sync::Arc, time::Duration};

/// How long an interrupted command waits for the bus to close. Whoever interrupts does not want to wait for long.
const HASTY_CLOSE: Duration = Duration::from_secs(5);

/// A connected bus.
pub(crate) struct Session {
    bus: Arc<dyn Bus>,
    interrupt: Interrupt,
}

impl Session {
    /// Connects.
    pub(crate) async fn open(url: &str, out: &Output, interrupt: &Interrupt) -> Outcome<Self> {
        let bus = interrupt.or(eventbus::connect(url)).await??;
        if out.is_verbose() {
            tokio::spawn(tell_failures(Arc::clone(&bus)));
        }
        Ok(Self { bus, interrupt: interrupt.clone() })
    }

    /// Connects for a command whose use lies with other processes. Where the bus lives in this process, a warning says why there are none.
    pub(crate) async fn open_shared(url: &str, out: &mut Output, interrupt: &Interrupt, why: &str) -> Outcome<Self> {
        let session = Self::open(url, out, interrupt).await?;
        if is_in_process(&*session.bus) {
            out.warn(format_args!(
                "{} lives and ends with its own process: {why}\n  \
                 between processes: name a server with --url or EVENTBUS_URL, such as nats://localhost or redis://localhost\n  \
                 within one process: see `eventbus demo`, `eventbus bench`, `eventbus doctor` and `eventbus validate`",
                shown_url(url)
            ));
        }
        Ok(session)
    }

    /// A session on a bus that was made by hand, for tests.
    #[cfg(test)]
    pub(crate) fn of(bus: Arc<dyn Bus>) -> Self {
        Self { bus, interrupt: Interrupt::never() }
    }

    pub(crate) fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// Does the work of a command, or stops it when the user wants an end, and closes the bus.
    pub(crate) async fn run<T>(self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let outcome = self.interrupt.or(work).await.flatten();
        self.end(outcome).await
    }

    /// Closes the bus after work that minds interrupts itself.
    pub(crate) async fn end<T>(self, outcome: Outcome<T>) -> Outcome<T> {
        let closing = self.bus.close();
        if outcome.is_err() {
            // The first failure is the one to tell.
            let _ = tokio::time::timeout(HASTY_CLOSE, closing).await;
            return outcome;
        }
        self.interrupt.or(closing).await??;
        outcome
    }
}

/// Whether the bus is this process's own, so that nobody else publishes or subscribes there.
pub(crate) fn is_in_process(bus: &dyn Bus) -> bool {
    bus.capabilities().backend == "memory"
}

/// Prints what fails in the background.
async fn tell_failures(bus: Arc<dyn Bus>) {
    let mut failures = bus.errors();
    drop(bus);
    while let Some(failure) = failures.next().await {
        // Where standard error cannot be written, there is nowhere to say so.
        let _ = writeln!(std::io::stderr(), "{}", with_causes(&failure));
    }
}

/// A URL as it may be shown: without user, password and parameters.
pub(crate) fn shown_url(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Failure;

    #[test]
    fn a_shown_url_has_no_secrets() {
        assert_eq!(shown_url("memory:?strict=true"), "memory:");
        assert_eq!(shown_url("nats://u:hunter2@host:4222/orders?token=x"), "nats://host:4222/orders");
        assert_eq!(shown_url("nats://u:p@ss@host"), "nats://host");
        assert_eq!(shown_url("redis://host/0"), "redis://host/0");
    }

    #[tokio::test]
    async fn a_session_closes_its_bus_after_success_and_after_failure() {
        let (out, _) = crate::output::Captured::output(false);
        for outcome in [Ok(()), Err(Failure::failed("x"))] {
            let expected = outcome.is_ok();
            let session = Session::open("memory:", &out, &Interrupt::never()).await.unwrap();
            let bus = Arc::clone(session.bus());
            assert_eq!(session.run(async { outcome }).await.is_ok(), expected);
            assert!(bus.health().await.is_err());
        }
    }

    #[tokio::test]
    async fn an_interrupt_stops_the_work_and_closes_the_bus() {
        let (out, _) = crate::output::Captured::output(false);
        let interrupt = Interrupt::never();
        let session = Session::open("memory:", &out, &interrupt).await.unwrap();
        let bus = Arc::clone(session.bus());
        interrupt.trigger();
        assert!(matches!(session.run(std::future::pending::<Outcome<()>>()).await, Err(Failure::Interrupted)));
        assert!(bus.health().await.is_err());
    }

    #[tokio::test]
    async fn a_bus_of_this_process_is_explained_where_it_is_of_little_use() {
        let (mut out, said) = crate::output::Captured::output(false);
        let session = Session::open_shared("memory:?strict=true", &mut out, &Interrupt::never(), "nobody receives it").await.unwrap();
        session.end(Ok(())).await.unwrap();
        for part in ["memory: lives", "nobody receives it", "--url", "eventbus demo"] {
            assert!(said.stderr().contains(part), "{}", said.stderr());
        }
    }
}
