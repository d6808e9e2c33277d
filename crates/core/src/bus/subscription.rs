//! The handle of a running subscription.

use crate::{BusFuture, Result, SubscriptionStats};
use std::{fmt, sync::Arc};

/// A running subscription. Dropping it detaches: the handler lives as long as the bus. For unsubscribe-on-drop see
/// [`into_guard`](Self::into_guard).
pub struct Subscription(Arc<dyn SubscriptionControl>);

/// What a backend offers for a running subscription.
pub trait SubscriptionControl: Send + Sync {
    /// The figures of the subscription.
    fn stats(&self) -> SubscriptionStats;

    /// Starts no more handlers and stops fetching, until resumed.
    fn pause(&self);

    /// Goes on after a pause.
    fn resume(&self);

    /// Ends the subscription: handlers in flight finish, until the bus's close deadline. What has not started goes back to the group; of a
    /// subscription without a group in process it is delivered first. Closing again waits for the same end.
    fn close(&self) -> BusFuture<'_, Result<()>>;

    /// Ends the subscription without waiting.
    fn abandon(&self);

    /// Resolves when the subscription has ended: `Ok` after a close, otherwise why it could not go on.
    fn ended(&self) -> BusFuture<'_, Result<()>>;
}

impl Subscription {
    /// Wraps what a backend offers.
    pub fn new(control: impl SubscriptionControl + 'static) -> Self {
        Self(Arc::new(control))
    }

    /// The figures of the subscription. Those that only a server knows are as it last told them.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        self.0.stats()
    }

    /// Starts no more handlers until [`resume`](Self::resume). Handlers in flight finish; its buffer fills.
    pub fn pause(&self) {
        self.0.pause();
    }

    /// Goes on after a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.0.resume();
    }

    /// Ends the subscription and waits for its handlers.
    ///
    /// A group stays, with what had not started. A subscription without a group is gone; in process, what it had been promised is
    /// delivered first.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout) where handlers did not finish within the bus's close deadline, or why the subscription had
    /// ended before.
    pub async fn close(&self) -> Result<()> {
        self.0.close().await
    }

    /// Waits until the subscription has ended by itself or by a close.
    ///
    /// # Errors
    /// Why the subscription could not go on.
    pub async fn ended(&self) -> Result<()> {
        self.0.ended().await
    }

    /// A handle that ends the subscription when it is dropped, without waiting for handlers in flight.
    pub fn into_guard(self) -> SubscriptionGuard {
        SubscriptionGuard(self)
    }

    /// What the backend offers.
    #[must_use]
    pub fn control(&self) -> &Arc<dyn SubscriptionControl> {
        &self.0
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("name", &self.stats().name).finish_non_exhaustive()
    }
}

/// Ends its subscription when it is dropped. Made by [`Subscription::into_guard`].
#[derive(Debug)]
#[must_use = "dropping the guard ends the subscription"]
pub struct SubscriptionGuard(Subscription);

impl std::ops::Deref for SubscriptionGuard {
    type Target = Subscription;

    fn deref(&self) -> &Subscription {
        &self.0
    }
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        self.0.0.abandon();
    }
}
