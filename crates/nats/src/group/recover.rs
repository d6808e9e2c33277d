//! What happens when consumer or stream are gone.

use super::{GroupSource, Known, fetch::Reading, filter, gap::Trace, make};
use crate::api::{DeliverPolicy, found, reason};
use eventbus_core::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::time::Instant;

/// How long a stream may be gone before the subscription ends. Whoever deletes one may make it again.
const MISSING: Duration = Duration::from_secs(3);

impl GroupSource {
    /// Looks for stream and consumer, and makes the consumer again where it is gone: from where the group stood, or, where the stream is
    /// another one, from its beginning, since all of it is new to the group.
    pub(super) async fn recover(&self, reading: &mut Reading) -> Result<()> {
        let connection = self.grounds.api.link.connection();
        let Some(stream) = found(self.grounds.api.stream(&self.grounds.stream).await, &[reason::NO_STREAM])? else {
            return Err(self.missing(reading));
        };
        reading.missing_since = None;
        let known = self.known();
        let is_new = stream.created != known.stream_born;
        let deliver = if is_new { DeliverPolicy::All } else { DeliverPolicy::ByStartSequence { opt_start_seq: known.floor + 1 } };
        let consumer = make(&self.grounds, &self.plan, &self.declaration, deliver).await?;
        let was_made_again = super::born(&consumer) != *known.born;
        reading.filter = filter(&self.grounds, &self.plan, &consumer)?;
        if is_new {
            tracing::warn!(target: "eventbus", stream = self.grounds.stream, group = self.group(), "the stream was made again; what the group had of the old one is forgotten");
            self.ledger().forget();
        } else if was_made_again {
            tracing::warn!(target: "eventbus", stream = self.grounds.stream, group = self.group(), from = known.floor + 1, "the consumer was made again; some events may come twice");
        }
        if is_new || was_made_again {
            reading.trace = Trace::from(&consumer, connection);
            self.ledger().begin_again(&consumer);
        }
        self.learn(|known| *known = Known::of(&stream, &consumer, known.epoch + u64::from(is_new)));
        reading.is_doubtful = false;
        Ok(())
    }

    fn missing(&self, reading: &mut Reading) -> Error {
        let since = *reading.missing_since.get_or_insert_with(Instant::now);
        Error::new(ErrorKind::Unavailable, "the stream is gone").retryable(since.elapsed() < MISSING).with("stream", &self.grounds.stream)
    }
}
