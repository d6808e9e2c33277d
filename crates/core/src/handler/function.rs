//! Functions and closures as handlers.

use super::{Context, FromDelivery, Handler, HandlerError};
use crate::Event;
use async_trait::async_trait;
use std::{fmt, future::Future, marker::PhantomData};

/// Anything that can become a [`Handler`]: a handler itself, or an async function or closure whose arguments are
/// [`FromDelivery`] and which returns `()` or a `Result<(), E>`.
///
/// ```
/// use eventbus_core::{Context, Event, HandlerError, IntoHandler};
/// async fn log(event: Event) { println!("{}", event.id()); }
/// async fn bill(ctx: Context, event: Event) -> Result<(), HandlerError> {
///     if ctx.attempt() > 3 { return Err(HandlerError::reject("too often")); }
///     event.decode::<u64>()?;
///     Ok(())
/// }
/// let _ = (log.into_handler(), bill.into_handler());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not an async function over `Event`, `Context` and `Data<T>`",
    note = "a handler is `async fn(…)` or a closure returning a future, with at most four arguments out of `Event`, `Context` and `Data<T>`, all by value",
    note = "it returns `()` or `Result<(), E>`, and its future is `Send`: nothing like an `Rc` or a `MutexGuard` may live across an `.await`"
)]
pub trait IntoHandler<Arguments> {
    /// The handler it becomes.
    type Handler: Handler;

    /// Makes the handler.
    fn into_handler(self) -> Self::Handler;
}

/// Marks what is a [`Handler`] already.
#[derive(Debug)]
#[non_exhaustive]
pub struct Itself;

impl<H: Handler> IntoHandler<Itself> for H {
    type Handler = H;

    fn into_handler(self) -> H {
        self
    }
}

/// A function or closure as a [`Handler`]. Made by [`IntoHandler::into_handler`].
pub struct FnHandler<F, Arguments> {
    function: F,
    arguments: PhantomData<fn(Arguments)>,
}

impl<F, Arguments> FnHandler<F, Arguments> {
    fn new(function: F) -> Self {
        Self { function, arguments: PhantomData }
    }
}

impl<F, Arguments> fmt::Debug for FnHandler<F, Arguments> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FnHandler({})", function_name::<F>())
    }
}

/// The path of a function without what the compiler adds to closures.
fn function_name<F>() -> &'static str {
    let name = std::any::type_name::<F>();
    name.split("::{{closure}}").next().unwrap_or(name)
}

/// What a handler function may return.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "neither `()` nor a `Result<(), E>`",
    note = "return `()` or `Result<(), E>` where `E` is a `std::error::Error` or a `HandlerError`"
)]
pub trait IntoOutcome {
    /// The outcome of the delivery.
    ///
    /// # Errors
    /// What the handler returned as an error.
    fn into_outcome(self) -> Result<(), HandlerError>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<(), HandlerError> {
        Ok(())
    }
}

impl<E: Into<HandlerError>> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Result<(), HandlerError> {
        self.map_err(Into::into)
    }
}

macro_rules! functions {
    ($($argument:ident),*) => {
        #[async_trait]
        #[allow(non_snake_case, unused_variables)]
        impl<F, Output, $($argument,)*> Handler for FnHandler<F, ($($argument,)*)>
        where
            F: Fn($($argument),*) -> Output + Send + Sync + 'static,
            Output: Future<Output: IntoOutcome> + Send,
            $($argument: FromDelivery + 'static,)*
        {
            async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
                let output = {
                    $(let $argument = $argument::from_delivery(ctx, event)?;)*
                    (self.function)($($argument),*)
                };
                output.await.into_outcome()
            }

            fn name(&self) -> &str {
                function_name::<F>()
            }
        }

        impl<F, Output, $($argument,)*> IntoHandler<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Output + Send + Sync + 'static,
            Output: Future<Output: IntoOutcome> + Send,
            $($argument: FromDelivery + 'static,)*
        {
            type Handler = FnHandler<F, ($($argument,)*)>;

            fn into_handler(self) -> Self::Handler {
                FnHandler::new(self)
            }
        }
    };
}

functions!();
functions!(A);
functions!(A, B);
functions!(A, B, C);
functions!(A, B, C, D);

/// Anything that can become a handler of batches: an async function or closure over `Vec<Event>`, or over [`Context`] and
/// `Vec<Event>`, which returns one outcome for all (`()` or `Result<(), E>`) or one for each (`Vec<Result<(), HandlerError>>`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of batches",
    label = "not an async function over `Vec<Event>`",
    note = "it takes `Vec<Event>`, or `Context` and `Vec<Event>`, and returns `()`, `Result<(), E>` or `Vec<Result<(), HandlerError>>`"
)]
pub trait IntoBatchHandler<Arguments> {
    /// The handler it becomes.
    type Handler: Handler;

    /// Makes the handler.
    fn into_batch_handler(self) -> Self::Handler;
}

/// A function or closure over batches as a [`Handler`]. Made by [`IntoBatchHandler::into_batch_handler`].
pub struct BatchFn<F, Arguments>(FnHandler<F, Arguments>);

impl<F, Arguments> fmt::Debug for BatchFn<F, Arguments> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a handler of batches may return.
#[diagnostic::on_unimplemented(
    message = "a handler of batches cannot return `{Self}`",
    note = "return `()`, `Result<(), E>` or `Vec<Result<(), HandlerError>>`, one for each event in their order"
)]
pub trait IntoBatchOutcome {
    /// One outcome for each of `count` events.
    fn into_outcomes(self, count: usize) -> Vec<Result<(), HandlerError>>;
}

impl IntoBatchOutcome for () {
    fn into_outcomes(self, count: usize) -> Vec<Result<(), HandlerError>> {
        std::iter::repeat_with(|| Ok(())).take(count).collect()
    }
}

impl<E: Into<HandlerError>> IntoBatchOutcome for Result<(), E> {
    /// An error is that of every event of the batch.
    fn into_outcomes(self, count: usize) -> Vec<Result<(), HandlerError>> {
        let Err(error) = self else { return ().into_outcomes(count) };
        let error = error.into();
        let reason = error.to_string();
        let again = |verdict| match verdict {
            super::Verdict::Retry => HandlerError::retry(reason.clone()),
            super::Verdict::RetryAfter(delay) => HandlerError::retry_after(reason.clone(), delay),
            super::Verdict::Reject => HandlerError::reject(reason.clone()),
        };
        (0..count).map(|_| Err(again(error.verdict()))).collect()
    }
}

impl IntoBatchOutcome for Vec<Result<(), HandlerError>> {
    fn into_outcomes(self, _: usize) -> Self {
        self
    }
}

/// The outcome of a batch of one.
fn only(mut outcomes: Vec<Result<(), HandlerError>>) -> Result<(), HandlerError> {
    match (outcomes.len(), outcomes.pop()) {
        (1, Some(outcome)) => outcome,
        (count, _) => Err(HandlerError::retry(format!("the handler returned {count} outcomes for 1 event"))),
    }
}

#[async_trait]
impl<F, Output> Handler for BatchFn<F, (Vec<Event>,)>
where
    F: Fn(Vec<Event>) -> Output + Send + Sync + 'static,
    Output: Future<Output: IntoBatchOutcome> + Send,
{
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        only(self.handle_batch(ctx, std::slice::from_ref(event)).await)
    }

    fn name(&self) -> &str {
        function_name::<F>()
    }

    async fn handle_batch(&self, _: &Context, events: &[Event]) -> Vec<Result<(), HandlerError>> {
        let output = (self.0.function)(events.to_vec());
        output.await.into_outcomes(events.len())
    }
}

#[async_trait]
impl<F, Output> Handler for BatchFn<F, (Context, Vec<Event>)>
where
    F: Fn(Context, Vec<Event>) -> Output + Send + Sync + 'static,
    Output: Future<Output: IntoBatchOutcome> + Send,
{
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        only(self.handle_batch(ctx, std::slice::from_ref(event)).await)
    }

    fn name(&self) -> &str {
        function_name::<F>()
    }

    async fn handle_batch(&self, ctx: &Context, events: &[Event]) -> Vec<Result<(), HandlerError>> {
        let output = (self.0.function)(ctx.clone(), events.to_vec());
        output.await.into_outcomes(events.len())
    }
}

impl<H: Handler> IntoBatchHandler<Itself> for H {
    type Handler = H;

    fn into_batch_handler(self) -> H {
        self
    }
}

impl<F, Output> IntoBatchHandler<(Vec<Event>,)> for F
where
    F: Fn(Vec<Event>) -> Output + Send + Sync + 'static,
    Output: Future<Output: IntoBatchOutcome> + Send,
{
    type Handler = BatchFn<F, (Vec<Event>,)>;

    fn into_batch_handler(self) -> Self::Handler {
        BatchFn(FnHandler::new(self))
    }
}

impl<F, Output> IntoBatchHandler<(Context, Vec<Event>)> for F
where
    F: Fn(Context, Vec<Event>) -> Output + Send + Sync + 'static,
    Output: Future<Output: IntoBatchOutcome> + Send,
{
    type Handler = BatchFn<F, (Context, Vec<Event>)>;

    fn into_batch_handler(self) -> Self::Handler {
        BatchFn(FnHandler::new(self))
    }
}
