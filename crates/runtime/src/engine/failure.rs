//! Running a handler so that nothing it does can hurt the engine: panics are caught, time runs out.

use eventbus_core::{Context, Event, Handler, HandlerError, Verdict};
use std::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
    time::Duration,
};

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    Error(HandlerError),
    Panic(String),
    Timeout(Duration),
    /// A handler of batches returned another number of outcomes than there were events.
    Miscounted {
        outcomes: usize,
        events: usize,
    },
}

impl Failure {
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Error(error) => error.verdict(),
            Self::Panic(_) | Self::Timeout(_) | Self::Miscounted { .. } => Verdict::Retry,
        }
    }

    /// The same failure for another delivery of the same batch.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Error(error) => {
                let reason = error.to_string();
                Self::Error(match error.verdict() {
                    Verdict::Reject => HandlerError::reject(reason),
                    Verdict::RetryAfter(delay) => HandlerError::retry_after(reason, delay),
                    _ => HandlerError::retry(reason),
                })
            }
            Self::Panic(message) => Self::Panic(message.clone()),
            Self::Timeout(limit) => Self::Timeout(*limit),
            Self::Miscounted { outcomes, events } => Self::Miscounted { outcomes: *outcomes, events: *events },
        }
    }

    /// The kind, for metrics and spans.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Error(_) => "error",
            Self::Panic(_) => "panic",
            Self::Timeout(_) => "timeout",
            Self::Miscounted { .. } => "miscounted",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => fmt::Display::fmt(error, f),
            Self::Panic(message) => write!(f, "the handler panicked: {message}"),
            Self::Timeout(limit) => write!(f, "the handler did not finish within {limit:?}"),
            Self::Miscounted { outcomes, events } => write!(f, "the handler returned {outcomes} outcomes for {events} events"),
        }
    }
}

type Handling<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A handler that has been polled once.
pub(super) enum Begun<'a, T> {
    /// It was done at once, as handlers that wait for nothing are. No timer was set up for it.
    Done(Result<T, Failure>),
    Waiting(Waiting<'a, T>),
}

/// Begins to handle one event.
pub(super) fn begin<'a>(
    handler: &'a dyn Handler,
    ctx: &'a Context,
    event: &'a Event,
) -> impl Future<Output = Begun<'a, Result<(), HandlerError>>> + Send {
    begin_with(move || handler.handle(ctx, event))
}

/// Begins to handle a batch.
pub(super) fn begin_batch<'a>(
    handler: &'a dyn Handler,
    ctx: &'a Context,
    events: &'a [Event],
) -> impl Future<Output = Begun<'a, Vec<Result<(), HandlerError>>>> + Send {
    begin_with(move || handler.handle_batch(ctx, events))
}

fn begin_with<'a, T: 'a>(start: impl Fn() -> Handling<'a, T> + Send + 'a) -> impl Future<Output = Begun<'a, T>> + Send {
    poll_fn(move |cx| {
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let mut handling = start();
            match handling.as_mut().poll(cx) {
                // Dropping the future is the handler's code too, and may panic like the rest of it.
                Poll::Ready(value) => {
                    drop(handling);
                    Ok(value)
                }
                Poll::Pending => Err(handling),
            }
        }));
        Poll::Ready(match attempt {
            Ok(Ok(value)) => Begun::Done(Ok(value)),
            Ok(Err(handling)) => Begun::Waiting(Waiting(Some(handling))),
            Err(panic) => Begun::Done(Err(Failure::Panic(message(&*panic)))),
        })
    })
}

/// A handler that is waiting for something. Dropping it drops the handler's future, whatever that does.
pub(super) struct Waiting<'a, T>(Option<Handling<'a, T>>);

impl<T> Future for Waiting<'_, T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let Some(handling) = &mut self.0 else { return Poll::Pending };
        let polled = catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(match self.finish() {
                Ok(()) => Ok(value),
                Err(failure) => Err(failure),
            }),
            Err(panic) => {
                let _ = self.finish();
                Poll::Ready(Err(Failure::Panic(message(&*panic))))
            }
        }
    }
}

impl<T> Waiting<'_, T> {
    fn finish(&mut self) -> Result<(), Failure> {
        let handling = self.0.take();
        catch_unwind(AssertUnwindSafe(|| drop(handling))).map_err(|panic| Failure::Panic(message(&*panic)))
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// Drops what belongs to the user, whose code may panic.
pub(super) fn let_go<T>(theirs: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(theirs))) {
        tracing::error!(target: "eventbus", panic = message(&*panic), "a handler panicked while it was dropped");
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a value that is no text").to_owned()
}
