//! `ruststream-nats`: its JetStream publisher, and an application whose handler reads a durable consumer.

use super::fresh;
use crate::{
    brokers::{Consume, Members, Publish, Sample},
    contest::Result,
    traffic::Tally,
};
use async_nats::jetstream::{self, stream};
use ruststream::Broker as _;
use ruststream_nats::{ConnectedNatsBroker, JetStreamPublisher, prelude::*};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

#[derive(Clone)]
pub(super) struct RustStream {
    url: String,
    _connected: Arc<ConnectedNatsBroker>,
    publisher: JetStreamPublisher,
    stream: String,
    subject: String,
    size: usize,
}

impl RustStream {
    pub(super) async fn connect(url: String, size: usize) -> Result<Self> {
        let stream = fresh("ruststream");
        // It leaves the making of streams to others.
        let config = stream::Config { name: stream.clone(), subjects: vec![format!("{stream}.>")], ..stream::Config::default() };
        jetstream::new(async_nats::connect(&url).await?).create_stream(config).await?;
        let connected = NatsBroker::new(url.as_str()).connect().await?;
        let publisher = connected.publisher(JetStreamPublish::default());
        Ok(Self { url, _connected: Arc::new(connected), publisher, subject: format!("{stream}.sample"), stream, size })
    }
}

impl Publish for RustStream {
    async fn one(&self, number: u64) -> Result<()> {
        let sample = Sample::new(number, self.size);
        self.publisher.message(&sample).to(self.subject.as_str()).message_id(Uuid::now_v7().to_string()).publish().await?;
        Ok(())
    }
}

/// Where the next application reads, since the attribute of a handler says so.
static NEXT: Mutex<(String, String, String)> = Mutex::new((String::new(), String::new(), String::new()));

fn next() -> (String, String, String) {
    NEXT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[derive(Clone)]
struct Counting(Arc<Tally>);

#[subscriber(JetStreamSubject::new(next().0, next().1).durable(next().2))]
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
        *NEXT.lock().unwrap_or_else(PoisonError::into_inner) = (self.subject.clone(), self.stream.clone(), group);
        let app = ruststream_nats::prelude::RustStream::new(AppInfo::new("bench", "0.0.0"))
            .on_startup(move |_| async move { Ok::<_, std::convert::Infallible>(Counting(tally)) })
            .with_broker(NatsBroker::new(self.url.as_str()), move |app| {
                for _ in 0..members {
                    app.include(handle);
                }
            });
        Ok(Box::new(app.start().await?))
    }
}
