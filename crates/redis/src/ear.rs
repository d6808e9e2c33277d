//! The one connection of a bus on which the server speaks by itself: channels and patterns of channels, and who listens to them.
//!
//! Messages are handed on by the task that reads the connection, which never waits: each listener has a bound and counts what it has to
//! drop. A connection that is lost is made again and everything asked for again; what was sent meanwhile is lost, as Pub/Sub is.

use crate::{connect::Connector, entry::Decoded, error};
use bytes::Bytes;
use eventbus_core::{EventType, Result, Retry};
use redis::{PushInfo, PushKind, Value, aio::MultiplexedConnection, cmd};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

/// How often a connection on which nothing comes is asked whether it is there.
const PULSE: Duration = Duration::from_secs(3);

/// What to listen to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Sound {
    /// One channel.
    Channel(String),
    /// All channels that match a pattern, as Redis matches.
    Pattern(String),
}

/// Gets what was listened for.
pub(crate) trait Listen: Send + Sync + 'static {
    /// Takes a message, and what it came by. Must not wait.
    fn hear(&self, by: &Sound, message: &Arc<Message>);
}

/// A message as it was heard. What one listener has read in it no other one reads again.
pub(crate) struct Message {
    pub(crate) channel: String,
    pub(crate) body: Bytes,
    event_type: OnceLock<Option<EventType>>,
    event: OnceLock<Decoded>,
}

impl Message {
    pub(crate) fn new(channel: String, body: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { channel, body: body.into(), event_type: OnceLock::new(), event: OnceLock::new() })
    }

    /// The type that the channel says, where it says one.
    pub(crate) fn event_type(&self, read: impl FnOnce(&str) -> Option<EventType>) -> Option<&EventType> {
        self.event_type.get_or_init(|| read(&self.channel)).as_ref()
    }

    pub(crate) fn event(&self, read: impl FnOnce(&Self) -> Decoded) -> &Decoded {
        self.event.get_or_init(|| read(self))
    }
}

/// Copied when it changes, so that a message need not copy it.
type Listeners = Arc<Vec<Arc<dyn Listen>>>;

pub(crate) struct Ear {
    connector: Arc<Connector>,
    again: Retry,
    listeners: Mutex<HashMap<Sound, Listeners>>,
    /// Whoever holds this changes what is listened to.
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    lost: Notify,
    keeper: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Ear {
    pub(crate) fn new(connector: &Arc<Connector>, again: &Retry) -> Arc<Self> {
        Arc::new(Self {
            connector: Arc::clone(connector),
            again: again.clone(),
            listeners: Mutex::default(),
            connection: tokio::sync::Mutex::default(),
            lost: Notify::new(),
            keeper: Mutex::default(),
        })
    }

    /// Listens. When this returns, what is sent from then on is heard. Where nobody waits for it to the end, nothing is listened to.
    pub(crate) async fn listen(self: &Arc<Self>, sounds: &[Sound], listener: &Arc<dyn Listen>) -> Result<()> {
        let (teller, told) = oneshot::channel();
        let (ear, sounds, listener) = (Arc::clone(self), sounds.to_vec(), Arc::clone(listener));
        // A task of its own: half-way, others would rely on what was never asked for.
        tokio::spawn(async move {
            let asked = ear.listen_to_the_end(&sounds, &listener).await;
            if let Err(Ok(())) = teller.send(asked) {
                ear.ignore_to_the_end(&sounds, &listener).await;
            }
        });
        told.await.unwrap_or_else(|_| Err(error::unavailable("listening was interrupted")))
    }

    async fn listen_to_the_end(self: &Arc<Self>, sounds: &[Sound], listener: &Arc<dyn Listen>) -> Result<()> {
        let mut connection = self.connection.lock().await;
        let heard_by_others = sounds.iter().any(|sound| self.listeners().contains_key(sound));
        if let Some(open) = connection.as_mut().filter(|_| heard_by_others) {
            // What was sent before is on its way to those, and is not for this one. A connection that is lost says so below.
            let _ = open.send_packed_command(&cmd("PING")).await;
        }
        let new: Vec<Sound> = {
            let mut listeners = self.listeners();
            let new = sounds.iter().filter(|sound| !listeners.contains_key(sound)).cloned().collect();
            sounds.iter().for_each(|sound| Arc::make_mut(listeners.entry(sound.clone()).or_default()).push(Arc::clone(listener)));
            new
        };
        let asked = match connection.as_mut() {
            Some(open) => ask(open, &new).await,
            None => self.open().await.map(|open| *connection = Some(open)),
        };
        if let Err(error) = &asked {
            let silent = self.forget(sounds, listener);
            match connection.as_mut() {
                // A refusal. Those who listen to something else go on, and a part of this may have been granted.
                Some(open) if !error.is_retryable() => self.hush(open, silent).await,
                _ => {
                    *connection = None;
                    if !self.listeners().is_empty() {
                        self.lost.notify_one();
                    }
                }
            }
        } else {
            self.keep();
        }
        asked
    }

    /// Listens no more.
    pub(crate) async fn ignore(self: &Arc<Self>, sounds: &[Sound], listener: &Arc<dyn Listen>) {
        let (ear, sounds, listener) = (Arc::clone(self), sounds.to_vec(), Arc::clone(listener));
        // A task of its own: it may have to wait for a server that does not answer, for longer than anybody waits here.
        let _ = tokio::spawn(async move { ear.ignore_to_the_end(&sounds, &listener).await }).await;
    }

    async fn ignore_to_the_end(&self, sounds: &[Sound], listener: &Arc<dyn Listen>) {
        let mut connection = self.connection.lock().await;
        let silent = self.forget(sounds, listener);
        if let Some(open) = connection.as_mut() {
            self.hush(open, silent).await;
        }
    }

    /// Asks for what nobody listens to no more.
    async fn hush(&self, open: &mut MultiplexedConnection, silent: Vec<Sound>) {
        for sound in silent {
            let done = match sound {
                Sound::Channel(channel) => open.unsubscribe(channel).await,
                Sound::Pattern(pattern) => open.punsubscribe(pattern).await,
            };
            if done.is_err() {
                // It is made again, and asks for less.
                self.lost.notify_one();
                return;
            }
        }
    }

    /// Waits until everything is heard that the server has sent so far.
    pub(crate) async fn hear_out(&self) -> Result<()> {
        let Some(mut open) = self.connection.lock().await.clone() else { return Ok(()) };
        open.send_packed_command(&cmd("PING")).await.map(drop).map_err(|error| error::translate(&error))
    }

    pub(crate) fn close(&self) {
        if let Some(keeper) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            keeper.abort();
        }
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }

    /// Returns what nobody listens to any more.
    fn forget(&self, sounds: &[Sound], listener: &Arc<dyn Listen>) -> Vec<Sound> {
        let mut listeners = self.listeners();
        let mut silent = Vec::new();
        for sound in sounds {
            let Some(those) = listeners.get_mut(sound).map(Arc::make_mut) else { continue };
            if let Some(at) = those.iter().position(|known| Arc::ptr_eq(known, listener)) {
                those.swap_remove(at);
            }
            if those.is_empty() {
                listeners.remove(sound);
                silent.push(sound.clone());
            }
        }
        silent
    }

    /// A new connection that listens to everything.
    async fn open(self: &Arc<Self>) -> Result<MultiplexedConnection> {
        let ear = Arc::downgrade(self);
        let mut open = self.connector.open_receiving(move |info| receive(&ear, info)).await?;
        let all: Vec<Sound> = self.listeners().keys().cloned().collect();
        ask(&mut open, &all).await?;
        Ok(open)
    }

    /// Keeps the connection, from now on.
    fn keep(self: &Arc<Self>) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if keeper.is_none() {
            *keeper = Some(tokio::spawn(keep(Arc::downgrade(self))));
        }
    }

    fn hand_on(&self, by: &Sound, message: &Arc<Message>) {
        let listeners = self.listeners().get(by).cloned();
        listeners.iter().flat_map(|listeners| listeners.iter()).for_each(|listener| listener.hear(by, message));
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<Sound, Listeners>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(open: &mut MultiplexedConnection, sounds: &[Sound]) -> Result<()> {
    let (mut channels, mut patterns) = (Vec::new(), Vec::new());
    for sound in sounds {
        match sound {
            Sound::Channel(channel) => channels.push(channel),
            Sound::Pattern(pattern) => patterns.push(pattern),
        }
    }
    let asked = async {
        if !channels.is_empty() {
            open.subscribe(channels).await?;
        }
        if !patterns.is_empty() {
            open.psubscribe(patterns).await?;
        }
        Ok(())
    };
    asked.await.map_err(|error: redis::RedisError| error::translate(&error))
}

/// Watches over the connection, and makes it again when it is lost.
async fn keep(ear: Weak<Ear>) {
    let mut failures = 0;
    loop {
        let Some(ear) = ear.upgrade() else { return };
        let lost = tokio::time::timeout(PULSE, ear.lost.notified()).await.is_ok();
        let mut connection = ear.connection.lock().await;
        let there = match connection.as_mut() {
            Some(_) if lost => false,
            Some(open) => open.send_packed_command(&cmd("PING")).await.is_ok(),
            None => false,
        };
        if there {
            failures = 0;
            continue;
        }
        *connection = None;
        if ear.listeners().is_empty() {
            continue;
        }
        match ear.open().await {
            Ok(open) => {
                tracing::info!(target: "eventbus", "listening to Redis again");
                *connection = Some(open);
                failures = 0;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(target: "eventbus", %error, "the connection to listen on was lost, trying again");
                let next = Instant::now() + ear.again.delay(failures, rand::random());
                drop(connection);
                tokio::time::sleep_until(next).await;
                ear.lost.notify_one();
            }
        }
    }
}

fn receive(ear: &Weak<Ear>, info: PushInfo) -> Result<(), redis::aio::SendError> {
    let Some(ear) = ear.upgrade() else { return Err(redis::aio::SendError) };
    let mut parts = info.data.into_iter().map(|part| match part {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.into_bytes(),
        _ => Vec::new(),
    });
    let text = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    match info.kind {
        PushKind::Disconnection => ear.lost.notify_one(),
        PushKind::Message => {
            if let (Some(channel), Some(message)) = (text(parts.next()), parts.next()) {
                ear.hand_on(&Sound::Channel(channel.clone()), &Message::new(channel, message));
            }
        }
        PushKind::PMessage => {
            if let (Some(pattern), Some(channel), Some(message)) = (text(parts.next()), text(parts.next()), parts.next()) {
                ear.hand_on(&Sound::Pattern(pattern), &Message::new(channel, message));
            }
        }
        _ => {}
    }
    Ok(())
}
