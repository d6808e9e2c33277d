//! Layers around handlers, in the spirit of tower: a layer turns a handler into another that does something before, after or instead.

use eventbus_core::Handler;
use std::fmt;

/// Wraps a handler in another.
///
/// A layer around a handler of batches has to hand [`Handler::handle_batch`] on, too. Where it writes only `handle`, as the one below does, its
/// handler gets the events of a batch one by one.
///
/// ```
/// use eventbus_core::{Context, Event, Handler, HandlerError, IntoHandler, async_trait};
/// use eventbus_runtime::{HandlerExt, Layer};
///
/// /// Lets only events of one tenant through.
/// struct OnlyTenant(&'static str);
///
/// struct OnlyTenantHandler<H> { tenant: &'static str, inner: H }
///
/// impl<H: Handler> Layer<H> for OnlyTenant {
///     type Handler = OnlyTenantHandler<H>;
///     fn layer(&self, inner: H) -> Self::Handler {
///         OnlyTenantHandler { tenant: self.0, inner }
///     }
/// }
///
/// #[async_trait]
/// impl<H: Handler> Handler for OnlyTenantHandler<H> {
///     async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
///         if event.metadata().tenant_id.as_deref() != Some(self.tenant) { return Ok(()); }
///         self.inner.handle(ctx, event).await
///     }
///     fn name(&self) -> &str { self.inner.name() }
/// }
///
/// async fn bill(event: Event) { println!("{}", event.id()); }
/// let handler = bill.into_handler().layered(&OnlyTenant("acme"));
/// ```
pub trait Layer<H: Handler> {
    /// The handler it makes.
    type Handler: Handler;

    /// Wraps `inner`.
    fn layer(&self, inner: H) -> Self::Handler;
}

/// Two layers as one: `outer` around what `inner` makes.
#[derive(Debug, Clone, Copy)]
pub struct Stack<Inner, Outer> {
    inner: Inner,
    outer: Outer,
}

impl<Inner, Outer> Stack<Inner, Outer> {
    /// `outer` around what `inner` makes.
    pub const fn new(inner: Inner, outer: Outer) -> Self {
        Self { inner, outer }
    }
}

impl<H: Handler, Inner: Layer<H>, Outer: Layer<Inner::Handler>> Layer<H> for Stack<Inner, Outer> {
    type Handler = Outer::Handler;

    fn layer(&self, inner: H) -> Self::Handler {
        self.outer.layer(self.inner.layer(inner))
    }
}

/// A function from a handler to a handler, as a layer. Made by [`layer_fn`].
#[derive(Clone, Copy)]
pub struct LayerFn<F>(F);

impl<F> fmt::Debug for LayerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayerFn")
    }
}

/// Makes a layer of a function from a handler to a handler.
pub const fn layer_fn<F>(function: F) -> LayerFn<F> {
    LayerFn(function)
}

impl<H: Handler, Out: Handler, F: Fn(H) -> Out> Layer<H> for LayerFn<F> {
    type Handler = Out;

    fn layer(&self, inner: H) -> Out {
        (self.0)(inner)
    }
}

/// Layering for every handler.
pub trait HandlerExt: Handler + Sized {
    /// This handler within a layer. The layer added last is the outermost.
    fn layered<L: Layer<Self>>(self, layer: &L) -> L::Handler {
        layer.layer(self)
    }
}

impl<H: Handler> HandlerExt for H {}
