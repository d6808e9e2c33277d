//! One job, and those who do it.

use std::{future::Future, pin::Pin};

/// What keeps a side from being measured.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What preparing or running may end in.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// One turn of a side: does the job with so many events, and returns the figure.
pub type Turn = Box<dyn FnMut(u64) -> Boxed<f64> + Send>;

/// How somebody does the job. It is prepared when its contest is run, and everything that it holds is gone before the next contest.
pub struct Side(Box<dyn FnOnce() -> Boxed<Turn> + Send>);

/// One job, our way to do it, and rivals.
pub struct Contest {
    /// What is measured, with slashes between its parts.
    pub name: String,
    /// What the figures are.
    pub unit: Unit,
    /// How many events a turn has.
    pub events: u64,
    /// How Eventbus does it.
    pub ours: Side,
    /// Who else does it.
    pub rivals: Vec<Rival>,
    /// Whether it takes too long for a quick look, however few events it has.
    pub is_slow: bool,
}

/// Somebody who does the same job.
pub struct Rival {
    /// Its name.
    pub name: String,
    /// The ratio that Eventbus means to reach.
    pub target: Option<f64>,
    /// How it does it.
    pub side: Side,
}

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Events in a second, until the last handler of each has run.
    EventsPerSecond,
    /// Deliveries in a second.
    DeliveriesPerSecond,
    /// Publishes in a second.
    PublishesPerSecond,
    /// Documents written or read in a second.
    OperationsPerSecond,
    /// Microseconds.
    Microseconds,
    /// Allocations for each event.
    Allocations,
    /// Processor instructions for each event.
    Instructions,
}

impl Unit {
    /// As it is written behind a figure.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events/s",
            Self::DeliveriesPerSecond => "deliveries/s",
            Self::PublishesPerSecond => "publishes/s",
            Self::OperationsPerSecond => "operations/s",
            Self::Microseconds => "µs",
            Self::Allocations => "allocations/event",
            Self::Instructions => "instructions/event",
        }
    }

    /// How much better ours is: above 1 where it is.
    #[must_use]
    pub fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Self::EventsPerSecond | Self::DeliveriesPerSecond | Self::PublishesPerSecond | Self::OperationsPerSecond => ours / theirs,
            Self::Microseconds | Self::Allocations | Self::Instructions => theirs / ours,
        }
    }
}

impl Side {
    /// A side that `prepare` makes ready.
    pub fn new<F>(prepare: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Turn>> + Send + 'static,
    {
        Self(Box::new(move || Box::pin(prepare())))
    }

    /// Makes it ready.
    ///
    /// # Errors
    /// What keeps it from being measured.
    pub async fn prepare(self) -> Result<Turn> {
        (self.0)().await
    }
}

/// A turn of a closure.
pub fn turn<F>(mut act: impl FnMut(u64) -> F + Send + 'static) -> Turn
where
    F: Future<Output = Result<f64>> + Send + 'static,
{
    Box::new(move |events| Box::pin(act(events)))
}

impl Contest {
    /// A contest without rivals yet.
    pub fn new(name: impl Into<String>, unit: Unit, events: u64, ours: Side) -> Self {
        Self { name: name.into(), unit, events, ours, rivals: Vec::new(), is_slow: false }
    }

    /// Adds a rival.
    #[must_use]
    pub fn against(mut self, name: impl Into<String>, target: impl Into<Option<f64>>, side: Side) -> Self {
        self.rivals.push(Rival { name: name.into(), target: target.into(), side });
        self
    }

    /// Leaves it out of a quick look.
    #[must_use]
    pub fn slow(self) -> Self {
        Self { is_slow: true, ..self }
    }

    /// How a rival does it.
    #[must_use]
    pub fn rival(self, name: &str) -> Option<Side> {
        self.rivals.into_iter().find(|rival| rival.name == name).map(|rival| rival.side)
    }

    /// Keeps the rivals whose line in the table contains `filter`. `None` where none is left.
    #[must_use]
    pub fn filtered(mut self, filter: Option<&str>) -> Option<Self> {
        let Some(filter) = filter else { return Some(self) };
        let name = self.name.clone();
        self.rivals.retain(|rival| format!("{name} {}", rival.name).contains(filter));
        (!self.rivals.is_empty()).then_some(self)
    }
}
