//! In process: the same 64 bytes from publishers to handlers, until the last handler has run. Nobody loses anything.

mod async_broadcast;
mod channels;
mod gate;
mod ours;
mod ruststream;
mod strev;
mod tokio_broadcast;

use crate::contest::{Contest, Unit};
use std::fmt;

use self::{channels::mpsc, ours::ours, ruststream::ruststream, strev::strev, tokio_broadcast::broadcast};

/// How many events may wait for a subscriber, in all that have a bound.
pub const BUFFER: usize = 1024;

/// How many publish and how many subscribe.
#[derive(Debug, Clone, Copy)]
pub struct Topology {
    /// How many tasks publish, all at once.
    pub publishers: u64,
    /// How many subscribers get each event.
    pub subscribers: usize,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{}", self.publishers, self.subscribers)
    }
}

/// All of them.
pub fn contests() -> Vec<Contest> {
    // How much is asked of the broadcast channel, for which one subscriber is the worst case.
    [(1, 1, 1.3), (1, 4, 1.0), (1, 16, 1.0), (4, 1, 1.3), (4, 4, 1.0)]
        .map(|(publishers, subscribers, broadcast_target)| {
            let topology = Topology { publishers, subscribers };
            let events = 1_000_000 / (subscribers as u64 + 1);
            let contest = Contest::new(format!("in process/{topology}"), Unit::EventsPerSecond, events, ours(topology))
                .against("tokio broadcast", broadcast_target, broadcast(topology))
                .against("async-broadcast", 0.8, async_broadcast::broadcast(topology))
                .against("tokio mpsc", 0.8, mpsc(topology))
                .against("flume", 0.8, channels::flume(topology))
                .against("ruststream", 2.0, ruststream(topology));
            // Its channel holds a lock while it waits for room, which several publishers never get out of.
            if publishers == 1 { contest.against("strev", 2.0, strev(topology)) } else { contest }
        })
        .into()
}
