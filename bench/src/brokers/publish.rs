//! Publishing: awaited one by one, by many at once, and in batches.

use crate::{
    contest::{Result, Side, turn},
    traffic::per_second,
};
use std::{future::Future, ops::Range, time::Instant};

/// How many go in one batch.
pub const BATCH: u64 = 500;

/// How many publish at once.
const AT_ONCE: u64 = 512;

/// Somebody who publishes samples.
pub trait Publish: Clone + Send + Sync + 'static {
    /// Publishes the sample with this number, and waits until the server has it.
    fn one(&self, number: u64) -> impl Future<Output = Result<()>> + Send;

    /// Publishes several, and waits until the server has all of them.
    fn many(&self, numbers: Range<u64>) -> impl Future<Output = Result<()>> + Send {
        async move {
            for number in numbers {
                self.one(number).await?;
            }
            Ok(())
        }
    }
}

/// Each is awaited before the next.
pub fn one_by_one<P: Publish, F: Future<Output = Result<P>> + Send + 'static>(open: impl FnOnce() -> F + Send + 'static) -> Side {
    side(open, |publisher, events| async move {
        for number in 0..events {
            publisher.one(number).await?;
        }
        Ok(())
    })
}

/// 512 tasks publish, each one by one.
pub fn concurrently<P: Publish, F: Future<Output = Result<P>> + Send + 'static>(open: impl FnOnce() -> F + Send + 'static) -> Side {
    side(open, |publisher, events| async move {
        let publish = |first: u64| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                for number in (first..events).step_by(AT_ONCE as usize) {
                    publisher.one(number).await?;
                }
                Result::<()>::Ok(())
            })
        };
        let publishing: Vec<_> = (0..AT_ONCE.min(events)).map(publish).collect();
        for publisher in publishing {
            publisher.await??;
        }
        Ok(())
    })
}

/// 500 at a time.
pub fn in_batches<P: Publish, F: Future<Output = Result<P>> + Send + 'static>(open: impl FnOnce() -> F + Send + 'static) -> Side {
    side(open, |publisher, events| async move {
        for first in (0..events).step_by(BATCH as usize) {
            publisher.many(first..(first + BATCH).min(events)).await?;
        }
        Ok(())
    })
}

fn side<P, F, D>(open: impl FnOnce() -> F + Send + 'static, publish: impl Fn(P, u64) -> D + Send + Sync + Copy + 'static) -> Side
where
    P: Publish,
    F: Future<Output = Result<P>> + Send + 'static,
    D: Future<Output = Result<()>> + Send + 'static,
{
    Side::new(move || async move {
        let publisher = open().await?;
        Ok(turn(move |events| {
            let publisher = publisher.clone();
            async move {
                let since = Instant::now();
                tokio::spawn(publish(publisher, events)).await??;
                Ok(per_second(events, since.elapsed()))
            }
        }))
    })
}
