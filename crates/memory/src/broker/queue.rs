//! The events that wait for a group, or for a subscription that drops events when it is full.
//!
//! Whoever fetches takes them out, so members of a group share them, and the oldest can be dropped.

use super::{MemberId, Token};
use eventbus_core::{Event, Pattern};
use eventbus_runtime::{Batch, Run};
use std::{collections::VecDeque, sync::Arc};

pub(super) struct Queue {
    pub(super) patterns: Vec<Pattern>,
    /// Members that wait for an event: who has waited longest gets the next.
    pub(super) parked: VecDeque<MemberId>,
    /// Bytes of what waits, and of what members have and have not settled.
    pub(super) bytes: u64,
    pub(super) dropped: u64,
    pub(super) lost_to_retention: u64,
    events: VecDeque<(Event, Token)>,
}

impl Queue {
    pub(super) fn new(patterns: Vec<Pattern>) -> Self {
        Self { patterns, parked: VecDeque::new(), bytes: 0, dropped: 0, lost_to_retention: 0, events: VecDeque::new() }
    }

    pub(super) fn len(&self) -> u64 {
        self.events.len() as u64
    }

    pub(super) fn first(&self) -> Option<&Token> {
        self.events.front().map(|(_, token)| token)
    }

    pub(super) fn push(&mut self, event: Event, token: Token) {
        self.bytes += u64::from(token.bytes);
        self.events.push_back((event, token));
    }

    /// Drops the oldest. Returns whether there was one.
    pub(super) fn pop(&mut self) -> bool {
        let oldest = self.events.pop_front();
        self.bytes -= oldest.as_ref().map_or(0, |(_, token)| u64::from(token.bytes));
        oldest.is_some()
    }

    /// Takes out the oldest events, at most `max`.
    pub(super) fn take(&mut self, max: usize) -> Option<Run<Token>> {
        let count = self.events.len().min(max);
        if count == 0 {
            return None;
        }
        let batch: Batch<Token> = self.events.drain(..count).collect();
        if self.events.is_empty() && self.events.capacity() > 1024 {
            self.events = VecDeque::new();
        }
        Some(Run::new(Arc::new(batch), 0..count, 1))
    }
}
