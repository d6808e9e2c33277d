//! Retention: removes what is older or more than is retained, now and then as events are stored.

use crate::{RedisConfig, link::Link, link::call, names::Names, script::TRIM};
use eventbus_core::Result;
use redis::Cmd;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// After how many events a stream is trimmed. Redis itself trims in pieces of about this size.
const OFTEN: u32 = 100;
/// After which time at the latest, where events were stored at all.
const SELDOM: Duration = Duration::from_secs(5);

/// Trims the streams of one bus.
pub(crate) struct Trimmer {
    limits: Option<(u64, u64)>,
    names: Names,
    /// How many events were stored in each partition since it was trimmed, or so many that it is to be trimmed.
    stored: Vec<AtomicU32>,
    due: Notify,
}

impl Trimmer {
    pub(crate) fn new(config: &RedisConfig, names: &Names) -> Arc<Self> {
        let limits = (config.max_msgs, config.max_age.as_millis() as u64);
        Arc::new(Self {
            limits: (limits != (0, 0)).then_some(limits),
            names: names.clone(),
            stored: names.partitions().map(|_| AtomicU32::new(0)).collect(),
            due: Notify::new(),
        })
    }

    /// An event was stored.
    pub(crate) fn stored(&self, partition: u32) {
        let stored = self.stored[partition as usize].fetch_add(1, Relaxed) + 1;
        if stored == 1 || stored == OFTEN {
            self.due.notify_one();
        }
    }

    /// The server had no room for an event. What is older than is retained may have been kept as long as nothing was stored.
    pub(crate) fn refused(&self, partition: u32) {
        self.stored[partition as usize].fetch_max(OFTEN, Relaxed);
        self.due.notify_one();
    }

    /// Trims one partition.
    pub(crate) async fn trim(&self, link: &Link, partition: u32) -> Result<()> {
        let Some((most, age)) = self.limits else { return Ok(()) };
        link.run(&self.call(partition, most, age)).await?;
        Ok(())
    }

    fn call(&self, partition: u32, most: u64, age: u64) -> Cmd {
        let keys = self.names.group(partition, "");
        let mut call = call(&TRIM, [keys.stream.as_str()]);
        call.arg(most).arg(age).arg(keys.group);
        call
    }

    /// Trims as events are stored, for as long as it is polled.
    pub(crate) async fn run(&self, link: impl Fn(u32) -> Arc<Link>) {
        if self.limits.is_none() {
            return std::future::pending().await;
        }
        let mut next = Instant::now();
        loop {
            self.due.notified().await;
            loop {
                let least = if Instant::now() < next { OFTEN } else { 1 };
                for partition in self.names.partitions() {
                    let stored = &self.stored[partition as usize];
                    if stored.load(Relaxed) >= least {
                        stored.store(0, Relaxed);
                        if let Err(error) = self.trim(&link(partition), partition).await {
                            tracing::debug!(target: "eventbus", %error, partition, "a stream could not be trimmed; the next time will do");
                        }
                    }
                }
                if least == 1 {
                    next = Instant::now() + SELDOM;
                }
                if self.stored.iter().all(|stored| stored.load(Relaxed) == 0) {
                    break;
                }
                // A few events were stored: they wait for more, or for their time.
                let _ = tokio::time::timeout_at(next, self.due.notified()).await;
            }
        }
    }
}
