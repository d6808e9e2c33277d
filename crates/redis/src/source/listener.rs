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

/// A message that waits. It is decoded by whoever takes it, not by the one task that reads the connection.
struct Heard {
    message: Arc<Message>,
    event_type: EventType,
    at: u64,
}

impl Heard {
    fn size(&self) -> usize {
        self.message.body.len()
    }

    fn event(&self) -> &Decoded {
        self.message.event(|message| decode(message, &self.event_type))
    }

    fn token(&self) -> Token {
        Token { partition: 0, id: EntryId { millis: self.at, number: 0 }, lease: None }
    }
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
        let taken = poll_fn(|cx| {
            let mut queue = self.hearing.queue();
            if max == 0 || queue.items.is_empty() {
                queue.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(queue.take(max))
        });
        Ok(self.hand_out(taken.await))
    }

    /// Decodes up to the first that is no event, which comes alone.
    fn hand_out(&self, mut taken: Vec<Heard>) -> Fetched<Token> {
        let good = taken.iter().position(|heard| heard.event().is_err()).unwrap_or(taken.len());
        let rest = taken.split_off(good.max(1));
        if !rest.is_empty() {
            self.hearing.queue().put_back(rest);
        }
        let mut open = Vec::with_capacity(taken.len());
        for heard in taken {
            match heard.event() {
                Ok(event) => open.push((event.clone(), heard.token())),
                Err((event, error)) => return Fetched::Undecodable(Run::one(event.clone(), heard.token(), 1), error.clone()),
            }
        }
        let batch: Batch<Token> = open.into_iter().collect();
        let places = 0..batch.places();
        Fetched::Run(Run::new(Arc::new(batch), places, 1))
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
    fn hear(&self, by: &Sound, message: &Arc<Message>) {
        let said = |channel: &str| EventType::new(channel.strip_prefix(&self.channels)?).ok();
        let Some(event_type) = message.event_type(said).filter(|event_type| self.is_first(by, event_type)) else { return };
        // Those who await replies read the rest. An event that was published to such a channel is of its type.
        if message.channel.starts_with(&self.replies) && message.event(|message| decode(message, event_type)).is_err() {
            return;
        }
        self.keep(Heard { message: Arc::clone(message), event_type: event_type.clone(), at: millis() });
    }
}

impl Hearing {
    /// Whether a message came by the first of several ways that it comes to this subscription.
    fn is_first(&self, by: &Sound, event_type: &EventType) -> bool {
        let matches = |patterns: &Vec<Pattern>| patterns.iter().any(|pattern| pattern.matches(event_type));
        self.sounds.iter().find(|(_, patterns)| matches(patterns)).is_some_and(|(sound, _)| sound == by)
    }

    fn keep(&self, heard: Heard) {
        let size = heard.size();
        let mut queue = self.queue();
        // What the engine holds and has not started waits, too.
        let waiting = queue.items.len() as u64 + queue.handed.saturating_sub(self.progress.started());
        let full = waiting >= self.plan.buffer as u64 || waiting > 0 && queue.bytes + size > self.plan.buffer_bytes;
        if full && !(self.plan.overflow == Overflow::DropOldest && self.make_room(&mut queue, size)) {
            self.tally.dropped(1);
            return;
        }
        queue.bytes += size;
        queue.items.push_back(heard);
        self.tally.fetched(1);
        if let Some(waker) = queue.waker.take() {
            drop(queue);
            waker.wake();
        }
    }

    /// Drops the oldest, as many as one more of this size takes. Whether there were any.
    fn make_room(&self, queue: &mut Queue, size: usize) -> bool {
        let mut dropped = 0;
        while (dropped == 0 || queue.bytes + size > self.plan.buffer_bytes) && queue.pop().is_some() {
            dropped += 1;
        }
        self.tally.dropped(dropped);
        self.tally.settled(dropped, false);
        dropped > 0
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Heard> {
        let heard = self.items.pop_front()?;
        self.bytes -= heard.size();
        Some(heard)
    }

    /// The next, at most so many.
    fn take(&mut self, max: usize) -> Vec<Heard> {
        let taken: Vec<Heard> = std::iter::from_fn(|| self.pop()).take(max).collect();
        self.handed += taken.len() as u64;
        taken
    }

    /// What was taken and has to wait goes back to where it was.
    fn put_back(&mut self, taken: Vec<Heard>) {
        self.handed -= taken.len() as u64;
        self.bytes += taken.iter().map(Heard::size).sum::<usize>();
        taken.into_iter().rev().for_each(|heard| self.items.push_front(heard));
    }
}

/// The event of a message, or what stands for it and why.
fn decode(message: &Message, event_type: &EventType) -> Decoded {
    match json::decode(&message.body) {
        Ok(event) if event.event_type() == event_type => Ok(event),
        Ok(event) => {
            let rule = format!("the event has the type {}, and its channel that of {event_type}", event.event_type());
            Err((event, Error::new(eventbus_core::ErrorKind::Decode, rule)))
        }
        Err(error) => {
            let id = format!("{}/{}", message.channel, uuid::Uuid::now_v7());
            Err((undecodable::stand_in(&id, Some(event_type.as_str()), [], message.body.clone()), error))
        }
    }
}

fn millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
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

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::{Capabilities, Subscribe};

    #[test]
    fn the_oldest_make_room_for_what_is_larger_than_they_are() {
        let subscribe = Subscribe::to("a").buffer_bytes(1000).overflow(Overflow::DropOldest);
        let hearing = Hearing {
            plan: Plan::new(subscribe, &Capabilities::all("test"), "test").unwrap(),
            sounds: Vec::new(),
            channels: String::new(),
            replies: String::new(),
            progress: Progress::default(),
            tally: Tally::default(),
            queue: Mutex::default(),
        };
        let keep = |size: usize| {
            let message = Message::new("a".to_owned(), vec![b' '; size]);
            hearing.keep(Heard { message, event_type: EventType::new("a").unwrap(), at: 0 });
        };
        let kept = || {
            let queue = hearing.queue();
            (queue.bytes, queue.items.len())
        };
        (0..10).for_each(|_| keep(100));
        keep(950);
        assert_eq!(kept(), (950, 1));
        assert_eq!((hearing.tally.held(), hearing.tally.backlog().dropped), (1, 10));
        keep(50);
        assert_eq!(kept(), (1000, 2));
    }
}
