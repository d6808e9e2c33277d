//! What a bus counts by itself.

use super::Stored;
use crate::metrics;
use ::metrics::Counter;
use eventbus_core::{BusStats, Error, EventType};
use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::watch;

/// How many types have a counter at hand. A bus with more of them finds the counter of the others anew each time.
const TYPES: usize = 1024;

pub(super) struct Counts {
    backend: &'static str,
    published: AtomicU64,
    refused: AtomicU64,
    duplicates: AtomicU64,
    by_type: RwLock<HashMap<EventType, Counter, foldhash::fast::RandomState>>,
    /// Subscriptions that have not left the server.
    members: watch::Sender<usize>,
}

impl Counts {
    pub(super) fn new(backend: &'static str) -> Self {
        Self {
            backend,
            published: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            by_type: RwLock::default(),
            members: watch::Sender::new(0),
        }
    }

    pub(super) fn accepted(&self, event_type: &EventType, stored: Stored) {
        match stored {
            Stored::New => {
                self.published.fetch_add(1, Relaxed);
                self.count_type(event_type);
            }
            Stored::Duplicate => {
                self.duplicates.fetch_add(1, Relaxed);
                metrics::duplicates(self.backend).increment(1);
            }
        }
    }

    /// Counts a publish that failed.
    pub(super) fn refuse(&self, error: Error) -> Error {
        self.refused.fetch_add(1, Relaxed);
        metrics::refused(self.backend).increment(1);
        error.during("publish")
    }

    fn count_type(&self, event_type: &EventType) {
        if let Some(counter) = self.by_type.read().unwrap_or_else(PoisonError::into_inner).get(event_type) {
            return counter.increment(1);
        }
        let counter = metrics::published(self.backend, event_type);
        counter.increment(1);
        let mut by_type = self.by_type.write().unwrap_or_else(PoisonError::into_inner);
        if by_type.len() < TYPES {
            by_type.insert(event_type.clone(), counter);
        }
    }

    pub(super) fn show(&self, stats: &mut BusStats) {
        stats.published = self.published.load(Relaxed);
        stats.refused = self.refused.load(Relaxed);
        stats.duplicates = self.duplicates.load(Relaxed);
    }

    pub(super) fn joined(&self) {
        self.members.send_modify(|members| *members += 1);
    }

    pub(super) fn left(&self) {
        self.members.send_modify(|members| *members -= 1);
    }

    pub(super) async fn until_all_left(&self) {
        let _ = self.members.subscribe().wait_for(|members| *members == 0).await;
    }
}
