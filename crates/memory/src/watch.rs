//! Waiting until what was published has been handled.

use crate::core::Core;
use std::{
    future::poll_fn,
    task::{Poll, Waker},
};

/// Waits until `is_over`, which is asked again whenever somebody has handled all or is gone.
pub(crate) async fn until(core: &Core, is_over: impl Fn() -> bool) {
    let mut watch = Watch { core, number: None };
    poll_fn(|cx| {
        // Before the question, so that the last step is not missed.
        watch.begin(cx.waker());
        if is_over() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A place among those who wait. It is given up also where the wait is, since its waker would otherwise stay for as long as there is something
/// to handle, and keep its task in memory.
struct Watch<'a> {
    core: &'a Core,
    number: Option<u64>,
}

impl Watch<'_> {
    fn begin(&mut self, waker: &Waker) {
        drop(self.end());
        self.number = Some(self.core.broker().watch(waker));
    }

    /// Returns a waker that was not used, to be dropped without the lock.
    fn end(&mut self) -> Option<Waker> {
        let number = self.number.take()?;
        self.core.broker().unwatch(number)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        drop(self.end());
    }
}
