//! From entries to runs.

use crate::{entry::Decoded, source::Token};
use eventbus_core::Event;
use eventbus_runtime::{Batch, Fetched, Run};
use std::sync::Arc;

/// Deliveries on their way into runs: those that stand together and are on the same attempt become one.
#[derive(Default)]
pub(super) struct Ready {
    done: Vec<Fetched<Token>>,
    open: Vec<(Event, Token)>,
    attempt: u32,
}

impl Ready {
    pub(super) fn read(&mut self, event: Decoded, token: Token) {
        match event {
            Ok(event) => self.push(event, token, 1),
            Err((event, error)) => self.put(Fetched::Undecodable(Run::one(event, token, 1), error)),
        }
    }

    pub(super) fn push(&mut self, event: Event, token: Token, attempt: u32) {
        if attempt != self.attempt {
            self.cut();
            self.attempt = attempt;
        }
        self.open.push((event, token));
    }

    /// Puts something behind what there is.
    pub(super) fn put(&mut self, fetched: Fetched<Token>) {
        self.cut();
        self.done.push(fetched);
    }

    fn cut(&mut self) {
        if !self.open.is_empty() {
            let batch: Batch<Token> = self.open.drain(..).collect();
            let places = 0..batch.places();
            self.done.push(Fetched::Run(Run::new(Arc::new(batch), places, self.attempt)));
        }
    }

    pub(super) fn into_fetched(mut self) -> Vec<Fetched<Token>> {
        self.cut();
        self.done
    }
}
