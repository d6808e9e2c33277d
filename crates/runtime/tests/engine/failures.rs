//! A backend that cannot be reached for a while, or never again.

use crate::script::{Script, unreachable};
use eventbus_core::{Error, ErrorKind, Subscribe};
use eventbus_runtime::Reporter;
use eventbus_testing::Probe;
use std::{future::poll_fn, pin::Pin, time::Duration};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// The next failure that was reported.
async fn reported(errors: &mut eventbus_core::ErrorStream) -> Error {
    poll_fn(|cx| futures_core::Stream::poll_next(Pin::new(errors), cx)).await.expect("the reporter is open")
}

#[tokio::test(start_paused = true)]
async fn fetching_goes_on_after_a_failure_that_can_pass() {
    let (script, reporter) = (Script::new(), Reporter::new());
    let mut errors = reporter.listen();
    let engine = script.run_reporting(Subscribe::to("a"), Probe::new(), reporter);
    let since = Instant::now();
    for _ in 0..5 {
        script.bring(Err(unreachable()));
    }
    script.bring_numbers(0..1);
    script.acked(1).await;
    assert!(since.elapsed() >= SECOND, "five failures are no reason to hammer a server: {:?}", since.elapsed());
    assert!(since.elapsed() <= SECOND * 30, "and none to be gone for long: {:?}", since.elapsed());
    let error = reported(&mut errors).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("fetch") && error.to_string().contains("scripted"), "{error}");
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_pass_ends_the_subscription_and_says_why() {
    let (script, reporter) = (Script::new(), Reporter::new());
    let mut errors = reporter.listen();
    let probe = Probe::new();
    let engine = script.run_reporting(Subscribe::to("a"), probe.clone(), reporter);
    script.bring_numbers(0..2);
    script.acked(2).await;
    script.bring(Err(Error::new(ErrorKind::Denied, "the account may not read this stream")));
    let error = engine.ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("scripted"), "it names the subscription: {error}");
    assert_eq!(reported(&mut errors).await.kind(), ErrorKind::Denied);
    assert!(engine.has_ended() && script.state().ended);
    assert_eq!(engine.stop(Instant::now() + SECOND).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_settled_when_the_backend_is_back() {
    let (script, reporter) = (Script::new(), Reporter::new());
    let mut errors = reporter.listen();
    script.state().settle_faults = 4;
    let probe = Probe::new();
    let engine = script.run_reporting(Subscribe::to("a"), probe.clone(), reporter);
    script.bring_numbers(0..10);
    assert_eq!(script.acked(10).await, (0..10).collect::<Vec<_>>());
    assert_eq!(probe.count(), 10, "nothing is handled twice for that");
    assert_eq!(engine.stats().acked, 10);
    let error = reported(&mut errors).await;
    assert!(error.to_string().contains("settle"), "{error}");
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_close_does_not_wait_for_a_backend_that_stays_away() {
    let script = Script::new();
    script.state().settle_faults = usize::MAX;
    let probe = Probe::new();
    let engine = script.run(Subscribe::to("a"), probe.clone());
    script.bring_numbers(0..1);
    probe.wait(1).await;
    let since = Instant::now();
    let closed = engine.stop(since + SECOND * 5).await;
    assert!(since.elapsed() <= SECOND * 7, "{:?}", since.elapsed());
    let error = closed.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("unsettled=1"), "what was not settled is not hidden: {error}");
}
