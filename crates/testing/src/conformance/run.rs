//! Runs cases: one, all, or all of them several times at once.

use super::{CASES, Fixture, story::Story};
use crate::observe::TASK_PATIENCE;
use eventbus_core::{Error, ErrorKind};
use std::{
    any::Any,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// One promise, as a test.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Case {
    /// Its chapter and name, such as `order::a_retry_holds_back_its_successors`.
    pub name: &'static str,
    /// The line of the delivery contract that it is about.
    pub line: u8,
    #[doc(hidden)]
    pub run: fn(Story) -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {})", self.name, self.line)
    }
}

/// How a case came out of itself: it was done, or the bus says that it cannot do what the case needs. Failures are panics.
#[doc(hidden)]
#[derive(Debug)]
pub enum Outcome {
    Done,
    Skipped(String),
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The promise is kept.
    Passed,
    /// The bus declares that it cannot do what the case needs.
    Skipped(String),
    /// The promise is broken, with how.
    Failed(String),
}

/// All cases, in the order of the chapters.
#[must_use]
pub fn cases() -> &'static [Case] {
    CASES
}

/// Runs one case on the current Tokio runtime.
pub async fn check(fixture: Arc<dyn Fixture>, case: &Case) -> Verdict {
    // Unique over processes too, so that two runs against one server do not meet.
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let name = format!("t{:x}_{:x}_{:x}", since.as_micros(), std::process::id(), RUNS.fetch_add(1, Relaxed));
    let patience = fixture.patience();
    let limit = patience * 4;
    let story = Story::new(fixture, name);
    let mut task = tokio::spawn(TASK_PATIENCE.scope(patience, (case.run)(story)));
    match tokio::time::timeout(limit, &mut task).await {
        Ok(Ok(Outcome::Done)) => Verdict::Passed,
        Ok(Ok(Outcome::Skipped(why))) => Verdict::Skipped(why),
        Ok(Err(fault)) => Verdict::Failed(match fault.try_into_panic() {
            Ok(panic) => said(&*panic),
            Err(_) => "the test was cancelled".to_owned(),
        }),
        Err(_) => {
            task.abort();
            Verdict::Failed(format!("not done within {limit:?}"))
        }
    }
}

/// Runs one case by its name on a runtime of its own, as a `#[test]` does.
///
/// # Panics
/// Where the promise is broken, or there is no such case.
pub fn run_case(fixture: impl Fixture, name: &str) {
    let case = CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case {name:?}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be built");
    let verdict = runtime.block_on(check(Arc::new(fixture), case));
    runtime.shutdown_background();
    match verdict {
        Verdict::Passed => {}
        Verdict::Skipped(why) => eprintln!("passed over: {name}: {why}"),
        Verdict::Failed(how) => panic!("{name} (line {} of the delivery contract): {how}", case.line),
    }
}

/// Runs every case `copies` times, all at once, on the current Tokio runtime. Returns what failed, with how.
pub async fn stress(fixture: Arc<dyn Fixture>, copies: usize) -> Vec<(&'static str, String)> {
    let mut running = tokio::task::JoinSet::new();
    for case in CASES {
        for _ in 0..copies {
            let fixture = Arc::clone(&fixture);
            running.spawn(async move { (case.name, check(fixture, case).await) });
        }
    }
    let mut failed = Vec::new();
    while let Some(ended) = running.join_next().await {
        if let Ok((name, Verdict::Failed(how))) = ended {
            failed.push((name, how));
        }
    }
    failed
}

/// Skips a case where the backend lacks the setting that the case needs.
pub(super) fn unless_unsupported<T>(made: Result<T, Error>) -> Result<T, Outcome> {
    match made {
        Ok(made) => Ok(made),
        Err(error) if error.kind() == ErrorKind::Unsupported => Err(Outcome::Skipped(error.to_string())),
        Err(error) => panic!("the fixture could not make a bus: {error}"),
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "it panicked with no text".to_owned())
}
