//! The bus on JetStream: events in a stream, groups as its consumers.

use crate::{
    BACKEND,
    acks::Ack,
    api::{Api, ConsumerInfo, DeliverPolicy, StreamInfo, found, reason},
    atomic,
    config::NatsConfig,
    group::{Declaration, Grounds, GroupSource, Members, ReleasedCounts},
    health,
    letters::Letters,
    link::Link,
    names,
    publish::{Limits, Outgoing, Publisher, unsupported},
    reader::ReaderSource,
    stream,
};
use eventbus_core::{Capabilities, Error, ErrorKind, Event, GroupStats, Plan, Result, Timestamp, cloudevents::nats};
use eventbus_runtime::remote::{Figures, Stored};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// A stream on a server.
pub(crate) struct JetStream {
    link: Link,
    grounds: Grounds,
    limits: Limits,
    atomic: bool,
    members: Members,
}

impl JetStream {
    /// Finds or makes the stream, and learns what the server can do.
    pub(crate) async fn open(link: Link, config: &NatsConfig) -> Result<(Self, Capabilities)> {
        let info = link.client.try_server_info().unwrap_or_default();
        let is_before = |minor| health::is_before(&info.version, 2, minor);
        if config.atomic && is_before(12) {
            return Err(unsupported("atomic", &format!("it needs nats-server 2.12, and this is {}", info.version)));
        }
        let api = Api::new(link.clone());
        let StreamInfo { config: events, .. } = stream::open(&api, config).await?;
        let publisher = Publisher::open(link.clone(), config.publish_timeout).await?;
        let limits = Limits::of(link.client.max_payload(), config.max_payload);
        let most = config.stream.max_dead_letters;
        let letters = Letters::new(
            api.clone(),
            publisher.clone(),
            &events,
            &config.prefix,
            most.unwrap_or(stream::MAX_DEAD_LETTERS),
            link.client.max_payload(),
        );
        letters.check(most).await?;
        let capabilities = capabilities(&limits, events.duplicate_window, config);
        let grounds = Grounds {
            released: ReleasedCounts::new(api.clone(), publisher.clone(), &events, &config.prefix),
            api,
            publisher,
            stream: events.name,
            prefix: config.prefix.as_str().into(),
            filters: !is_before(10),
            lease: config.lease_or_default(),
            confirmed_acks: config.confirmed_acks,
            letters: Arc::new(letters),
        };
        Ok((Self { link, grounds, limits, atomic: config.atomic, members: Members::default() }, capabilities))
    }

    pub(crate) fn letters(&self) -> &Letters {
        &self.grounds.letters
    }

    fn message(&self, event: &Event) -> Result<Outgoing> {
        let message = Outgoing::new(&self.grounds.prefix, event)?.with_id(&nats::message_id(event));
        message.check_size(self.limits.message)?;
        Ok(message)
    }

    pub(crate) async fn send(&self, event: &Event) -> Result<Ack> {
        self.grounds.publisher.send(self.message(event)?).await
    }

    /// Whether several events are stored all or none.
    pub(crate) fn is_atomic(&self) -> bool {
        self.atomic
    }

    /// Sends several events, all of which are stored or none.
    pub(crate) async fn send_all_or_none(&self, events: &[Event]) -> Vec<Result<Stored>> {
        let messages: Result<Vec<Outgoing>> = events.iter().map(|event| self.message(event)).collect();
        let stored = match messages {
            Ok(messages) => atomic::publish(&self.link, &self.grounds.api, &self.grounds.stream, messages).await,
            Err(error) => Err(error),
        };
        events.iter().map(|_| stored.clone().map(|()| Stored::New)).collect()
    }

    pub(crate) async fn read(&self, plan: &Plan) -> Result<ReaderSource> {
        self.link.check()?;
        ReaderSource::begin(self.grounds.clone(), plan).await
    }

    pub(crate) async fn join(&self, plan: &Plan, group: &str) -> Result<GroupSource> {
        self.link.check()?;
        let source = GroupSource::join(self.grounds.clone(), plan, group).await?;
        self.members.add(group, source.lag());
        Ok(source)
    }

    pub(crate) async fn leave(&self, source: &GroupSource) {
        source.leave().await;
        self.members.remove(source.group(), source.lag());
    }

    pub(crate) async fn delete_group(&self, group: &str) -> Result<bool> {
        let (api, stream, name) = (&self.grounds.api, &self.grounds.stream, names::consumer(group));
        let Some(info) = found(api.consumer(stream, &name).await, &[reason::NO_CONSUMER])? else { return Ok(false) };
        let conflict = |message: &'static str| Err(Error::new(ErrorKind::Conflict, message).with("consumer", &info.name));
        if Declaration::read(&info).is_none_or(|declaration| declaration.group != group) {
            return conflict("a consumer of the group's name exists that was not made by a bus");
        }
        if info.num_waiting > 0 {
            return conflict("the group has members that wait for events; it can be deleted when they have left");
        }
        let deleted = found(api.delete_consumer(stream, &name).await, &[reason::NO_CONSUMER])?.is_some();
        self.grounds.released.forget(&name).await?;
        Ok(deleted)
    }

    pub(crate) async fn warnings(&self) -> Result<Vec<String>> {
        health::warnings(&self.grounds.api, &self.grounds.stream).await
    }

    pub(crate) async fn figures(&self) -> Result<Figures> {
        let stream = self.grounds.api.stream(&self.grounds.stream).await?;
        let letters = self.grounds.letters.info().await?;
        let mut groups = Vec::new();
        let asked = Instant::now();
        for consumer in self.grounds.api.consumers(&self.grounds.stream).await? {
            if let Some(declaration) = Declaration::read(&consumer) {
                groups.push(self.group_stats(declaration.group, asked, &consumer).await?);
            }
        }
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Figures {
            retained: Some(stream.state.messages),
            retained_bytes: Some(stream.state.bytes),
            retained_since: stream.state.since(),
            dead_letters: Some(letters.map_or(0, |letters| letters.state.messages)),
            groups,
        })
    }

    async fn group_stats(&self, name: String, asked: Instant, consumer: &ConsumerInfo) -> Result<GroupStats> {
        let mut stats = GroupStats::default();
        stats.lag = consumer.num_pending + consumer.num_ack_pending;
        // Of members elsewhere, the server knows those that wait for events at this moment.
        stats.members = self.members.tell(&name, asked, stats.lag).max(consumer.num_waiting);
        stats.name = name;
        stats.in_flight = consumer.num_ack_pending;
        stats.redelivered = Some(consumer.num_redelivered);
        if stats.lag > 0 {
            stats.oldest_unacknowledged = self.oldest_of(consumer).await?;
        }
        Ok(stats)
    }

    /// How long the first event has waited that a group has not settled.
    async fn oldest_of(&self, consumer: &ConsumerInfo) -> Result<Option<Duration>> {
        let mut subjects = consumer.config.filters();
        if subjects.is_empty() {
            subjects.push(format!("{}.>", self.grounds.prefix));
        }
        let begins = match consumer.config.deliver {
            DeliverPolicy::ByStartSequence { opt_start_seq } => opt_start_seq,
            _ => 1,
        };
        let next = (consumer.ack_floor.stream_seq + 1).max(begins);
        let mut oldest: Option<Duration> = None;
        for subject in subjects {
            let message = self.grounds.api.next_message(&self.grounds.stream, next, &subject).await;
            if let Some(message) = found(message, &[reason::NO_MESSAGE])?
                && let Ok(time) = Timestamp::parse(&message.time)
            {
                oldest = oldest.max(Some(time.elapsed()));
            }
        }
        Ok(oldest)
    }
}

fn capabilities(limits: &Limits, window: Duration, config: &NatsConfig) -> Capabilities {
    let mut capabilities = Capabilities::all(BACKEND);
    capabilities.dedup_window = Some(window);
    // A stream keeps what a slow subscription has not read.
    capabilities.drops = false;
    capabilities.confirmed_acks = config.confirmed_acks;
    capabilities.hold = config.hold.is_some();
    capabilities.max_payload = limits.payload;
    capabilities
}
