//! A channel for each subscriber: `tokio::sync::mpsc` and `flume`.
//!
//! With one subscriber the value itself is sent; several share it.

use super::{BUFFER, Topology};
use crate::{
    contest::{Result, Side, Turn, turn},
    traffic::{Numbers, Tally, Tick, per_second},
};
use std::{borrow::Borrow, future::Future, sync::Arc};

/// The job as it is done with `tokio::sync::mpsc`.
pub(super) fn mpsc(topology: Topology) -> Side {
    Side::new(move || async move {
        if topology.subscribers == 1 { channels::<Tokio<Tick>>(topology) } else { channels::<Tokio<Arc<Tick>>>(topology) }
    })
}

/// The job as it is done with `flume`.
pub(super) fn flume(topology: Topology) -> Side {
    Side::new(move || async move {
        if topology.subscribers == 1 { channels::<Flume<Tick>>(topology) } else { channels::<Flume<Arc<Tick>>>(topology) }
    })
}

/// A kind of channel.
trait Channel: Clone + Send + Sync + 'static {
    type Item: Borrow<Tick> + Clone + From<Tick> + Send + Sync + 'static;

    /// Makes a channel, and a task that gives `handle` what comes.
    fn open(handle: impl Fn(Self::Item) + Send + 'static) -> Self;

    fn send(&self, item: Self::Item) -> impl Future<Output = Result<()>> + Send;
}

fn channels<C: Channel>(Topology { publishers, subscribers }: Topology) -> Result<Turn> {
    let tally = Tally::new(subscribers);
    let open = |subscriber| {
        let tally = Arc::clone(&tally);
        C::open(move |item| tally.note(subscriber, item.borrow().number()))
    };
    let senders: Vec<C> = (0..subscribers).map(open).collect();
    Ok(turn(move |events| {
        let (senders, tally) = (senders.clone(), Arc::clone(&tally));
        async move {
            let publish = |numbers: Numbers| {
                let senders = senders.clone();
                async move {
                    for number in numbers {
                        let item = C::Item::from(Tick::new(number));
                        for sender in &senders[1..] {
                            sender.send(item.clone()).await?;
                        }
                        senders[0].send(item).await?;
                    }
                    Ok(())
                }
            };
            Ok(per_second(events, tally.round(publishers, events, publish).await?))
        }
    }))
}

struct Tokio<T>(tokio::sync::mpsc::Sender<T>);

impl<T> Clone for Tokio<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Borrow<Tick> + Clone + From<Tick> + Send + Sync + 'static> Channel for Tokio<T> {
    type Item = T;

    fn open(handle: impl Fn(T) + Send + 'static) -> Self {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(BUFFER);
        tokio::spawn(async move {
            while let Some(item) = receiver.recv().await {
                handle(item);
            }
        });
        Self(sender)
    }

    async fn send(&self, item: T) -> Result<()> {
        Ok(self.0.send(item).await?)
    }
}

struct Flume<T>(flume::Sender<T>);

impl<T> Clone for Flume<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Borrow<Tick> + Clone + From<Tick> + Send + Sync + 'static> Channel for Flume<T> {
    type Item = T;

    fn open(handle: impl Fn(T) + Send + 'static) -> Self {
        let (sender, receiver) = flume::bounded(BUFFER);
        tokio::spawn(async move {
            while let Ok(item) = receiver.recv_async().await {
                handle(item);
            }
        });
        Self(sender)
    }

    async fn send(&self, item: T) -> Result<()> {
        Ok(self.0.send_async(item).await?)
    }
}
