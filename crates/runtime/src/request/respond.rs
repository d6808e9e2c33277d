//! The responder's side: a handler whose value is sent back.

use super::{REPLY_ERROR, REPLY_TO, REPLY_TYPE, RESPONDER};
use eventbus_core::{Context, Event, FromDelivery, Handler, HandlerError, Result, async_trait};
use serde::Serialize;
use std::{fmt, future::Future, marker::PhantomData};

/// An async function or closure that replies to requests: its arguments are those of any handler, and it returns any `Serialize`, or a
/// `Result` of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not reply to requests",
    label = "not an async function over `Event`, `Context` and `Data<T>` that returns a value",
    note = "it returns any `Serialize`, or a `Result` of it whose error is a `std::error::Error` or a `HandlerError`"
)]
pub trait IntoResponder<Arguments, Kind> {
    /// The handler it becomes.
    type Handler: Handler;

    /// Makes the handler that replies under `name`.
    fn into_responder(self, name: String) -> Self::Handler;
}

/// What a responder may return: with [`Plain`] any `Serialize`, with [`Fallible`] a `Result` of it.
#[diagnostic::on_unimplemented(message = "a responder cannot reply with `{Self}`", note = "return any `Serialize`, or a `Result` of it")]
pub trait IntoReply<Kind>: Send {
    /// The reply, or why there is none.
    ///
    /// # Errors
    /// What the responder returned, or that its value has no JSON form.
    fn into_reply(self) -> std::result::Result<Event, HandlerError>;
}

/// Marks a value that is the reply.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plain;

/// Marks a `Result` whose value is the reply.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fallible;

impl<T: Serialize + Send> IntoReply<Plain> for T {
    fn into_reply(self) -> std::result::Result<Event, HandlerError> {
        Ok(Event::json(REPLY_TYPE, self)?)
    }
}

impl<T: Serialize + Send, E: Into<HandlerError> + Send> IntoReply<Fallible> for std::result::Result<T, E> {
    fn into_reply(self) -> std::result::Result<Event, HandlerError> {
        Ok(Event::json(REPLY_TYPE, self.map_err(Into::into)?)?)
    }
}

/// A function that replies to requests, as a handler. Made by [`IntoResponder::into_responder`].
pub struct Responder<F, Arguments, Kind> {
    name: String,
    function: F,
    kind: PhantomData<fn(Arguments, Kind)>,
}

impl<F, Arguments, Kind> fmt::Debug for Responder<F, Arguments, Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F, Arguments, Kind> Responder<F, Arguments, Kind> {
    /// Sends a reply to whoever asked, if somebody did.
    async fn reply(&self, ctx: &Context, request: &Event, reply: std::result::Result<Event, HandlerError>) -> Result<()> {
        let Some(address) = request.extension(REPLY_TO).map(ToString::to_string) else { return Ok(()) };
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => Event::builder(REPLY_TYPE).extension(REPLY_ERROR, printable(&error.to_string())).build()?,
        };
        let reply = reply.caused_by(request).with_source(request.source()).with_extension(RESPONDER, self.name.as_str());
        ctx.bus().replies()?.send(&address, reply).await
    }
}

/// A text as an attribute may hold it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

macro_rules! responders {
    ($($argument:ident),*) => {
        #[async_trait]
        #[allow(non_snake_case, unused_variables)]
        impl<F, Output, Kind, $($argument,)*> Handler for Responder<F, ($($argument,)*), Kind>
        where
            F: Fn($($argument),*) -> Output + Send + Sync + 'static,
            Output: Future<Output: IntoReply<Kind>> + Send,
            Kind: 'static,
            $($argument: FromDelivery + 'static,)*
        {
            /// A failure is an answer too: the requester learns of it, and the request is not tried again.
            async fn handle(&self, ctx: &Context, event: &Event) -> std::result::Result<(), HandlerError> {
                let reply = async {
                    let output = {
                        $(let $argument = $argument::from_delivery(ctx, event)?;)*
                        (self.function)($($argument),*)
                    };
                    output.await.into_reply()
                };
                let reply = reply.await;
                self.reply(ctx, event, reply).await?;
                Ok(())
            }

            fn name(&self) -> &str {
                &self.name
            }
        }

        impl<F, Output, Kind, $($argument,)*> IntoResponder<($($argument,)*), Kind> for F
        where
            F: Fn($($argument),*) -> Output + Send + Sync + 'static,
            Output: Future<Output: IntoReply<Kind>> + Send,
            Kind: 'static,
            $($argument: FromDelivery + 'static,)*
        {
            type Handler = Responder<F, ($($argument,)*), Kind>;

            fn into_responder(self, name: String) -> Self::Handler {
                Responder { name, function: self, kind: PhantomData }
            }
        }
    };
}

responders!();
responders!(A);
responders!(A, B);
responders!(A, B, C);
