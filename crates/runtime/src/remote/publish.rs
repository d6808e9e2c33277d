//! Publishing: one attempt after the other under the same id, until the server has the event or the publish timeout is over.

use super::{
    Broker,
    broker::{Stored, is_outage},
    core::{AGAIN, Core, Phase},
    in_flight::Place,
};
use eventbus_core::{Error, ErrorKind, Event, Receipt, Result};
use std::{pin::pin, sync::Arc};
use tokio::{sync::oneshot, time::Instant};

impl<B: Broker> Core<B> {
    /// Publishes an event and waits until the server has it.
    pub(super) async fn publish(&self, event: Event, inside: bool) -> Result<()> {
        let _awaited = self.in_flight.await_some(1);
        let published = async {
            match self.admit(event, inside)? {
                Some(event) => self.deliver(&event).await,
                None => Ok(()),
            }
        };
        published.await.map_err(|error| self.counts.refuse(error))
    }

    /// Checks an event and gives it its id. `None` where it waits for the start now.
    fn admit(&self, mut event: Event, inside: bool) -> Result<Option<Event>> {
        self.check_open(inside, "publish")?;
        event.check()?;
        event.mint();
        let (limit, size) = (self.broker.capabilities().max_payload, event.encode()?);
        if size > limit {
            return Err(about(Error::too_large(limit, size), &event));
        }
        if self.hold.is_active() { self.hold.keep(event) } else { Ok(Some(event)) }
    }

    async fn deliver(&self, event: &Event) -> Result<()> {
        self.deliver_until(self.deadline(), event).await
    }

    async fn deliver_until(&self, deadline: Instant, event: &Event) -> Result<()> {
        let attempt = || async { self.broker.send(event).await?.await };
        match self.until_reached(deadline, attempt).await {
            Ok(stored) => {
                self.counts.accepted(event.event_type(), stored);
                Ok(())
            }
            Err(error) => Err(about(error, event)),
        }
    }

    /// Publishes several events in their order.
    pub(super) async fn publish_all(&self, events: Vec<Event>, inside: bool) -> Vec<Result<()>> {
        let _awaited = self.in_flight.await_some(events.len());
        if !self.broker.takes_batches() {
            return self.publish_each(events, inside).await;
        }
        let mut results: Vec<Result<()>> = Vec::with_capacity(events.len());
        let (mut admitted, mut places) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for (place, event) in events.into_iter().enumerate() {
            results.push(match self.admit(event, inside) {
                Ok(Some(event)) => {
                    admitted.push(event);
                    places.push(place);
                    Ok(())
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            });
        }
        let outcomes = self.deliver_all(&admitted).await;
        for (place, outcome) in places.into_iter().zip(outcomes) {
            results[place] = outcome;
        }
        results.into_iter().map(|result| result.map_err(|error| self.counts.refuse(error))).collect()
    }

    /// Hands over one event after the other, so that the server is at work before the last one is written, and then waits for the answers.
    ///
    /// What cannot be sent is not overtaken: nothing after it is sent before it. But events are on their way together, and where the answer
    /// to one of them is lost or is that the server takes nothing now, those behind it may have been stored when it is sent again.
    async fn publish_each(&self, events: Vec<Event>, inside: bool) -> Vec<Result<()>> {
        let deadline = self.deadline();
        let mut over = pin!(tokio::time::sleep_until(deadline));
        let mut sent = Vec::with_capacity(events.len());
        let mut away = None;
        for event in events {
            sent.push(match self.admit(event, inside) {
                Ok(Some(event)) => {
                    let ack = match &away {
                        None => self.unless(over.as_mut(), self.broker.send(&event)).await,
                        Some(error) => Err(Error::clone(error)),
                    };
                    away = away.or_else(|| ack.as_ref().err().filter(|error| is_outage(error)).cloned());
                    Ok(Some((ack, event)))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            });
        }
        let mut results = Vec::with_capacity(sent.len());
        for sent in sent {
            let result = match sent {
                Ok(Some((Ok(ack), event))) => {
                    let answer = self.unless(over.as_mut(), ack).await;
                    self.conclude(&event, answer, deadline).await
                }
                Ok(Some((Err(error), event))) => self.conclude(&event, Err(error), deadline).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            results.push(result.map_err(|error| self.counts.refuse(error)));
        }
        results
    }

    /// Waits for an answer unless it is too late.
    async fn unless<T>(&self, over: impl Future<Output = ()>, answer: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            answer = answer => answer,
            () = over => Err(self.unknown()),
        }
    }

    /// Sends several events at once. What the server may take a little later is sent again, together and in the same order.
    pub(super) async fn deliver_all(&self, events: &[Event]) -> Vec<Result<()>> {
        let deadline = self.deadline();
        let mut answers = self.send_all_until(deadline, events).await;
        let mut failures = 0;
        loop {
            let left: Vec<usize> = (0..events.len()).filter(|place| answers[*place].as_ref().is_err_and(is_outage)).collect();
            let next = Instant::now() + AGAIN.delay(failures + 1, rand::random());
            if left.is_empty() || next >= deadline || self.phase() == Phase::Closed {
                break;
            }
            tokio::time::sleep_until(next).await;
            let again: Vec<Event> = left.iter().map(|place| events[*place].clone()).collect();
            let answered = self.send_all_until(deadline, &again).await;
            // What it takes in parts it takes.
            failures = if answered.iter().all(|answer| answer.as_ref().is_err_and(is_outage)) { failures + 1 } else { 0 };
            left.into_iter().zip(answered).for_each(|(place, answer)| answers[place] = answer);
        }
        let outcomes = events.iter().zip(answers).map(|(event, answer)| match answer {
            Ok(stored) => {
                self.counts.accepted(event.event_type(), stored);
                Ok(())
            }
            Err(error) if is_outage(&error) => Err(about(self.given_up(Some(error)), event)),
            Err(error) => Err(about(error, event)),
        });
        outcomes.collect()
    }

    async fn send_all_until(&self, deadline: Instant, events: &[Event]) -> Vec<Result<Stored>> {
        let sent = tokio::time::timeout_at(deadline, self.broker.send_all(events)).await;
        sent.unwrap_or_else(|_| events.iter().map(|_| Err(self.unknown())).collect())
    }

    /// What comes of the first answer to an event, which may be to send it again.
    async fn conclude(&self, event: &Event, answer: Result<Stored>, deadline: Instant) -> Result<()> {
        match answer {
            Ok(stored) => {
                self.counts.accepted(event.event_type(), stored);
                Ok(())
            }
            Err(error) if is_outage(&error) => self.deliver_until(deadline, event).await,
            Err(error) => Err(about(error, event)),
        }
    }
}

/// Without waiting for the acknowledgement.
impl<B: Broker> Core<B> {
    /// Hands an event over. Its place among the events in flight is free again when the server has it.
    pub(super) async fn enqueue(self: &Arc<Self>, event: Event, inside: bool) -> Result<Receipt> {
        let event = match self.admit(event, inside) {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(Receipt::ready(Ok(()))),
            Err(error) => return Err(self.counts.refuse(error)),
        };
        let deadline = self.deadline();
        let sent = tokio::time::timeout_at(deadline, async {
            let place = self.in_flight.enter(event.data().size_hint()).await.ok_or_else(|| Error::closed("enqueue"))?;
            // Here and not in the task, so that events leave in the order they were enqueued.
            Ok((place, self.broker.send(&event).await))
        });
        let (place, ack) = match sent.await {
            Ok(Ok(sent)) => sent,
            Ok(Err(error)) => return Err(self.counts.refuse(error)),
            Err(_) => return Err(self.counts.refuse(about(self.no_room(), &event))),
        };
        let (teller, told) = oneshot::channel();
        tokio::spawn(Arc::clone(self).acknowledge(event, deadline, ack, place, teller));
        Ok(Receipt::new(async move { told.await.unwrap_or_else(|_| Err(Error::closed("enqueue"))) }))
    }

    /// Waits for the acknowledgement, and sends again where it does not come.
    async fn acknowledge(
        self: Arc<Self>,
        event: Event,
        deadline: Instant,
        ack: Result<B::Ack>,
        place: Place,
        teller: oneshot::Sender<Result<()>>,
    ) {
        let first = async { ack?.await };
        let answer = match tokio::time::timeout_at(deadline, first).await {
            Ok(answer) => self.conclude(&event, answer, deadline).await,
            Err(_) => Err(about(self.unknown(), &event)),
        };
        let answer = answer.map_err(|error| self.counts.refuse(error));
        if let Err(Err(error)) = teller.send(answer) {
            self.settings.reporter.report(|| error.clone());
            self.in_flight.fail(error);
        }
        drop(place);
    }

    /// Waits until everything that was enqueued is acknowledged or has failed.
    pub(super) async fn flush(&self) -> Result<()> {
        self.check_not_closed("flush")?;
        drop(self.in_flight.until_none_enqueued().await);
        self.in_flight.take_failure().map_or(Ok(()), Err)
    }

    fn no_room(&self) -> Error {
        let (timeout, limit) = (self.settings.publish_timeout, self.settings.max_in_flight);
        Error::new(
            ErrorKind::Timeout,
            format!("no room within {timeout:?} among the events that wait for their acknowledgement, of which there may be {limit}"),
        )
    }

    fn unknown(&self) -> Error {
        let timeout = self.settings.publish_timeout;
        Error::new(
            ErrorKind::Unavailable,
            format!("the server did not acknowledge within {timeout:?}; whether it has the event is unknown"),
        )
    }
}

/// Names the event that an error is about.
fn about(error: Error, event: &Event) -> Error {
    error.with("event_type", event.event_type()).with("id", event.id())
}
