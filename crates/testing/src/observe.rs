//! Watching handlers, and holding them.

use async_trait::async_trait;
use eventbus_core::{Context, Event, Handler, HandlerError};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

/// How long a probe waits before it gives up, where nobody says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// How long probes wait in this task before they give up.
    pub(crate) static TASK_PATIENCE: Duration;
}

/// How long to wait in this task for what should happen.
pub(crate) fn patience() -> Duration {
    TASK_PATIENCE.try_with(|patience| *patience).unwrap_or(PATIENCE)
}

/// One delivery as a [`Probe`] saw it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Seen {
    /// The event.
    pub event: Event,
    /// Which attempt it was.
    pub attempt: u32,
    /// Its position in the backend's log, where it has one.
    pub sequence: Option<u64>,
    /// When its handler began.
    pub at: Instant,
}

impl Seen {
    /// The id of the event.
    #[must_use]
    pub fn id(&self) -> &str {
        self.event.id()
    }

    /// The data, where it is a number.
    ///
    /// # Panics
    /// Where it is not.
    #[must_use]
    pub fn number(&self) -> u64 {
        *self.event.decode().expect("the data of a numbered event is a number")
    }
}

type Behaviour = dyn Fn(Context, Event) -> Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send>> + Send + Sync;

/// A handler that remembers its deliveries and lets a test wait for them. Cheap to clone; clones share what they saw.
///
/// ```
/// use eventbus_core::*;
/// use eventbus_testing::{Probe, RecordingBus};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let (bus, probe) = (RecordingBus::new(), Probe::new());
/// bus.subscribe(Subscribe::to("order.*"), Arc::new(probe.clone())).await?;
/// bus.publish(Event::json("order.placed", 7)?).await?;
/// let seen = probe.wait(1).await;
/// assert_eq!((seen[0].number(), seen[0].attempt), (7, 1));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Probe {
    seen: Arc<(Mutex<Vec<Seen>>, Notify)>,
    behaviour: Arc<Behaviour>,
}

impl Probe {
    /// A probe that acknowledges everything.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|_, _| async { Ok(()) })
    }

    /// A probe that does this with each event after noting it.
    pub fn with<Fut>(behaviour: impl Fn(Context, Event) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        Self { seen: Arc::default(), behaviour: Arc::new(move |ctx, event| Box::pin(behaviour(ctx, event))) }
    }

    /// A probe whose handlers wait at a gate and then acknowledge.
    #[must_use]
    pub fn held(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::with(move |_, _| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(())
            }
        })
    }

    /// A probe that notes deliveries together with this one, and does something else with them.
    pub fn also<Fut>(&self, behaviour: impl Fn(Context, Event) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        Self { seen: Arc::clone(&self.seen), ..Self::with(behaviour) }
    }

    /// What was delivered so far, in the order handlers began.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().clone()
    }

    /// How many deliveries there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// The ids of what was delivered, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.lock().iter().map(|seen| seen.id().to_owned()).collect()
    }

    /// The numbers of what was delivered, in order.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        self.lock().iter().map(Seen::number).collect()
    }

    /// Waits for this many deliveries and returns all that there were by then.
    ///
    /// # Panics
    /// Where they do not come within half a minute, showing what came. In a case of the [conformance](mod@crate::conformance) suite, its
    /// fixture says how long.
    #[track_caller]
    pub fn wait(&self, count: usize) -> impl Future<Output = Vec<Seen>> + Send + '_ {
        self.wait_within(count, patience())
    }

    /// Waits for this many deliveries for so long. A paused clock makes a long wait short: the time to give is that of the clock.
    ///
    /// # Panics
    /// Where they do not come in time, showing what came.
    #[track_caller]
    pub fn wait_within(&self, count: usize, patience: Duration) -> impl Future<Output = Vec<Seen>> + Send + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let enough = async {
                loop {
                    let notified = self.seen.1.notified();
                    if self.count() >= count {
                        return;
                    }
                    notified.await;
                }
            };
            if tokio::time::timeout(patience, enough).await.is_err() {
                panic!("at {caller}: waited {patience:?} for {count} deliveries, got {}: {:?}", self.count(), self.seen());
            }
            self.seen()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Handler for Probe {
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        self.lock().push(Seen { event: event.clone(), attempt: ctx.attempt(), sequence: ctx.sequence(), at: Instant::now() });
        self.seen.1.notify_waiters();
        (self.behaviour)(ctx.clone(), event.clone()).await
    }

    fn name(&self) -> &str {
        "probe"
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("seen", &self.count()).finish_non_exhaustive()
    }
}

/// Holds handlers until the test lets them pass. Cheap to clone; clones are the same gate.
///
/// ```
/// use eventbus_core::*;
/// use eventbus_testing::{Gate, Probe, RecordingBus, settle};
/// use std::{sync::Arc, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let (bus, gate) = (RecordingBus::new(), Gate::new());
/// let inside = gate.clone();
/// let held = Probe::with(move |_, _| {
///     let gate = inside.clone();
///     async move {
///         gate.pass().await;
///         Ok(())
///     }
/// });
/// let subscription = bus.subscribe(Subscribe::to("order.*"), Arc::new(held.clone())).await?;
/// bus.publish(Event::json("order.placed", 1)?).await?;
/// held.wait(1).await;
/// assert_eq!((subscription.stats().in_flight, subscription.stats().acked), (1, 0));
/// gate.open();
/// settle(&bus, Duration::from_secs(5)).await?;
/// assert_eq!(subscription.stats().acked, 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A gate that is shut.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Waits to be let through.
    pub async fn pass(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }

    /// Lets this many through, now or when they come.
    pub fn let_through(&self, count: usize) {
        self.0.add_permits(count);
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.0.close();
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
