//! `ruststream-fred`: its stream publisher, and an application whose handler reads a group.

use super::fresh;
use crate::{
    brokers::{Consume, Members, Publish, Sample},
    contest::Result,
    traffic::Tally,
};
use ruststream::Broker as _;
use ruststream_fred::{ConnectedRedisBroker, RedisPublisher, StreamStart, stream::prelude::*};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone)]
pub(super) struct RustStream {
    url: String,
    _connected: Arc<ConnectedRedisBroker>,
    publisher: Arc<RedisPublisher>,
    key: String,
    size: usize,
}

impl RustStream {
    pub(super) async fn connect(url: String, size: usize) -> Result<Self> {
        let connected = RedisBroker::standalone(url.as_str()).connect().await?;
        let publisher = Arc::new(connected.publisher());
        Ok(Self { url, _connected: Arc::new(connected), publisher, key: fresh("ruststream"), size })
    }
}

impl Publish for RustStream {
    async fn one(&self, number: u64) -> Result<()> {
        self.publisher.message(&Sample::new(number, self.size)).to(self.key.as_str()).publish().await?;
        Ok(())
    }
}

/// Where the next application reads, since the attribute of a handler says so.
static NEXT: Mutex<(String, String)> = Mutex::new((String::new(), String::new()));

fn next() -> (String, String) {
    NEXT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[derive(Clone)]
struct Counting(Arc<Tally>);

#[subscriber(RedisStream::new(next().0).group(next().1).start_id(StreamStart::Beginning))]
async fn handle(sample: &Sample, ctx: &mut Context<'_, (), Counting>) -> HandlerOutcome {
    ctx.state().0.note(0, sample.number());
    HandlerOutcome::ack()
}

impl Consume for RustStream {
    async fn fill(&self, samples: u64) -> Result<()> {
        for number in 0..samples {
            self.one(number).await?;
        }
        Ok(())
    }

    async fn join(&self, group: String, members: usize, tally: Arc<Tally>) -> Result<Members> {
        *NEXT.lock().unwrap_or_else(PoisonError::into_inner) = (self.key.clone(), group);
        let app = ruststream_fred::stream::prelude::RustStream::new(AppInfo::new("bench", "0.0.0"))
            .on_startup(move |_| async move { Ok::<_, std::convert::Infallible>(Counting(tally)) })
            .with_broker(RedisBroker::standalone(self.url.as_str()), move |app| {
                for _ in 0..members {
                    app.include(handle);
                }
            });
        Ok(Box::new(app.start().await?))
    }
}
