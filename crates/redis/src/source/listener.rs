//! A subscription in Pub/Sub mode: a bounded queue of what was heard. At most once.

use super::Token;
use crate::{
    ear::{Ear, Listen, Message, Sound},
    entry::{Decoded, EntryId},
    letters::Undertaker,
    names::{Names, escaped},
    tally::Tally,
};
use eventbus_core::{
    Error, EventType, Overflow, Pattern, PatternToken, Plan, Result,
    cloudevents::{json, undecodable},
};
use eventbus_runtime::{Backlog, Batch, Buried, Fetched, Progress, Run, Settled};
use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::{SystemTime, UNIX_EPOCH},
};

pub(crate) struct Listener {
    ear: Arc<Ear>,
    hearing: Arc<Hearing>,
    undertaker: Undertaker,
    prefetch: usize,
}

/// What was heard and is not settled.
struct Hearing {
    plan: Plan,
    /// What is listened to, and the patterns behind each.
    sounds: Vec<(Sound, Vec<Pattern>)>,
    /// What the channels of events begin with.
    channels: String,
    /// What the channels of replies begin with, which carry no events.
    replies: String,
    progress: Progress,
    tally: Tally,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Heard>,
    bytes: usize,
    /// How many were handed to the engine.
    handed: u64,
    waker: Option<Waker>,
}

struct Heard {
    event: Decoded,
    size: usize,
    at: u64,
}

impl Listener {
    pub(crate) async fn begin(ear: &Arc<Ear>, names: &Names, plan: &Plan, undertaker: Undertaker) -> Result<Self> {
        let hearing = Arc::new(Hearing {
            plan: plan.clone(),
            sounds: sounds(names, &plan.patterns),
            channels: names.channels(),
            replies: names.replies(),
            progress: Progress::default(),
            tally: Tally::default(),
            queue: Mutex::default(),
        });
        // What may be dropped must stay where it can be.
        let prefetch = match plan.overflow {
            Overflow::Block => usize::MAX,
            _ => plan.concurrency.saturating_mul(plan.batch.map_or(1, |batch| batch.max)),
        };
        let listener = Self { ear: Arc::clone(ear), hearing, undertaker, prefetch };
        ear.listen(&listener.sounds(), &listener.ears()).await?;
        Ok(listener)
    }

    fn sounds(&self) -> Vec<Sound> {
        self.hearing.sounds.iter().map(|(sound, _)| sound.clone()).collect()
    }

    fn ears(&self) -> Arc<dyn Listen> {
        Arc::clone(&self.hearing) as Arc<dyn Listen>
    }

    pub(crate) fn prefetch(&self) -> usize {
        self.prefetch
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.hearing.progress
    }

    pub(crate) async fn fetch(&self, max: usize) -> Result<Fetched<Token>> {
        poll_fn(|cx| {
            let mut queue = self.hearing.queue();
            if max == 0 || queue.items.is_empty() {
                queue.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(queue.take(max)))
        })
        .await
    }

    pub(crate) async fn settle(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        for Settled { run, .. } in settled.drain(..) {
            self.hearing.tally.settled(run.len() as u64, false);
        }
        Ok(())
    }

    pub(crate) async fn bury(&self, buried: &Buried<Token>) -> Result<()> {
        self.undertaker.bury(buried, buried.letter.event.id(), "").await?;
        self.hearing.tally.settled(1, false);
        Ok(())
    }

    pub(crate) async fn measure(&self) -> Result<()> {
        self.ear.hear_out().await
    }

    pub(crate) fn backlog(&self) -> Backlog {
        let mut backlog = self.hearing.tally.backlog_beside();
        backlog.oldest = self.hearing.queue().items.front().map(|heard| EntryId { millis: heard.at, number: 0 }.age());
        backlog
    }

    pub(crate) async fn leave(&self) {
        self.ear.ignore(&self.sounds(), &self.ears()).await;
    }
}

impl Listen for Hearing {
    fn hear(&self, by: &Sound, message: &Message) {
        let said = |channel: &str| EventType::new(channel.strip_prefix(&self.channels)?).ok();
        let Some(event_type) = message.event_type(said).filter(|event_type| self.is_first(by, event_type)) else { return };
        if let Some(event) = message.event(|| self.decode(message, event_type)) {
            self.keep(event, message.body.len());
        }
    }
}

impl Hearing {
    fn decode(&self, message: &Message, event_type: &EventType) -> Option<Decoded> {
        let Message { channel, body, .. } = message;
        Some(match json::decode(body) {
            Ok(event) if event.event_type() == event_type => Ok(event),
            // A reply, on a channel that no event of this type was published to.
            _ if channel.starts_with(&self.replies) => return None,
            Ok(event) => {
                let rule = format!("the event has the type {}, and its channel that of {event_type}", event.event_type());
                Err((event, Error::new(eventbus_core::ErrorKind::Decode, rule)))
            }
            Err(error) => {
                let id = format!("{channel}/{}", uuid::Uuid::now_v7());
                Err((undecodable::stand_in(&id, Some(event_type.as_str()), [], body.clone()), error))
            }
        })
    }

    /// Whether a message came by the first of several ways that it comes to this subscription.
    fn is_first(&self, by: &Sound, event_type: &EventType) -> bool {
        let matches = |patterns: &Vec<Pattern>| patterns.iter().any(|pattern| pattern.matches(event_type));
        self.sounds.iter().find(|(_, patterns)| matches(patterns)).is_some_and(|(sound, _)| sound == by)
    }

    fn keep(&self, event: Decoded, size: usize) {
        let mut queue = self.queue();
        // What the engine holds and has not started waits, too.
        let waiting = queue.items.len() as u64 + queue.handed.saturating_sub(self.progress.started());
        let full = waiting >= self.plan.buffer as u64 || waiting > 0 && queue.bytes + size > self.plan.buffer_bytes;
        if full {
            self.tally.dropped(1);
            if self.plan.overflow != Overflow::DropOldest || queue.pop().is_none() {
                return;
            }
            self.tally.settled(1, false);
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        queue.bytes += size;
        queue.items.push_back(Heard { event, size, at });
        self.tally.fetched(1);
        if let Some(waker) = queue.waker.take() {
            drop(queue);
            waker.wake();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Heard> {
        let heard = self.items.pop_front()?;
        self.bytes -= heard.size;
        Some(heard)
    }

    /// The next, at least one.
    fn take(&mut self, max: usize) -> Fetched<Token> {
        let mut open = Vec::new();
        while open.len() < max && self.items.front().is_some_and(|heard| open.is_empty() || heard.event.is_ok()) {
            let Some(heard) = self.pop() else { break };
            self.handed += 1;
            let token = Token { partition: 0, id: EntryId { millis: heard.at, number: 0 }, lease: None };
            match heard.event {
                Ok(event) => open.push((event, token)),
                Err((event, error)) => return Fetched::Undecodable(Run::one(event, token, 1), error),
            }
        }
        let batch: Batch<Token> = open.into_iter().collect();
        let places = 0..batch.places();
        Fetched::Run(Run::new(Arc::new(batch), places, 1))
    }
}

/// What to listen to for these patterns. Several patterns may be one to Redis, whose `*` stands for dots, too.
fn sounds(names: &Names, patterns: &[Pattern]) -> Vec<(Sound, Vec<Pattern>)> {
    let mut sounds: Vec<(Sound, Vec<Pattern>)> = Vec::new();
    for pattern in patterns {
        let sound = sound(names, pattern);
        match sounds.iter_mut().find(|(known, _)| *known == sound) {
            Some((_, those)) => those.push(pattern.clone()),
            None => sounds.push((sound, vec![pattern.clone()])),
        }
    }
    sounds
}

fn sound(names: &Names, pattern: &Pattern) -> Sound {
    let tokens: Vec<PatternToken> = pattern.tokens().collect();
    if tokens.iter().all(|token| matches!(token, PatternToken::Literal(_))) {
        return Sound::Channel(format!("{}{pattern}", names.channels()));
    }
    let tokens = tokens.iter().map(|token| match token {
        PatternToken::Literal(literal) => escaped(literal),
        _ => "*".to_owned(),
    });
    Sound::Pattern(format!("{}{}", escaped(&names.channels()), tokens.collect::<Vec<_>>().join(".")))
}
