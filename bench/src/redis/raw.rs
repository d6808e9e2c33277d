//! `redis` by hand: a field for each attribute of a CloudEvent, pipelines, and groups read in batches.

use super::fresh;
use crate::{
    brokers::{BATCH, Consume, Members, Publish, Sample},
    contest::Result,
    traffic::Tally,
};
use redis::{AsyncConnectionConfig, Client, Cmd, aio::MultiplexedConnection, cmd, pipe, streams::StreamReadReply};
use std::{ops::Range, sync::Arc};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::task::JoinSet;
use uuid::Uuid;

#[derive(Clone)]
pub(super) struct Raw {
    client: Client,
    connection: MultiplexedConnection,
    key: String,
    size: usize,
}

impl Raw {
    pub(super) async fn connect(url: String, size: usize) -> Result<Self> {
        let client = Client::open(url)?;
        let connection = connection(&client).await?;
        Ok(Self { client, connection, key: fresh("raw"), size })
    }

    fn add(&self, number: u64) -> Result<Cmd> {
        let mut add = cmd("XADD");
        add.arg(&self.key).arg("MAXLEN").arg("~").arg(100_000).arg("*");
        for (name, value) in attributes()? {
            add.arg(name).arg(value);
        }
        add.arg("data").arg(Sample::new(number, self.size).json()?);
        Ok(add)
    }
}

/// A connection on which reading may block.
pub(super) async fn connection(client: &Client) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

fn attributes() -> Result<[(&'static str, String); 6]> {
    Ok([
        ("specversion", "1.0".to_owned()),
        ("id", Uuid::now_v7().to_string()),
        ("source", "/eventbus".to_owned()),
        ("type", "sample".to_owned()),
        ("time", OffsetDateTime::now_utc().format(&Rfc3339)?),
        ("datacontenttype", "application/json".to_owned()),
    ])
}

impl Publish for Raw {
    async fn one(&self, number: u64) -> Result<()> {
        let _id: String = self.add(number)?.query_async(&mut self.connection.clone()).await?;
        Ok(())
    }

    async fn many(&self, numbers: Range<u64>) -> Result<()> {
        let mut together = pipe();
        for number in numbers {
            together.add_command(self.add(number)?);
        }
        let _ids: Vec<String> = together.query_async(&mut self.connection.clone()).await?;
        Ok(())
    }
}

impl Consume for Raw {
    async fn fill(&self, samples: u64) -> Result<()> {
        for first in (0..samples).step_by(BATCH as usize) {
            self.many(first..(first + BATCH).min(samples)).await?;
        }
        Ok(())
    }

    async fn join(&self, group: String, members: usize, tally: Arc<Tally>) -> Result<Members> {
        () = cmd("XGROUP").arg("CREATE").arg(&self.key).arg(&group).arg("0").query_async(&mut self.connection.clone()).await?;
        let mut joined = JoinSet::new();
        for member in 0..members {
            let (mut connection, tally) = (connection(&self.client).await?, Arc::clone(&tally));
            let (key, group) = (self.key.clone(), group.clone());
            joined.spawn(async move { while consume(&mut connection, &key, &group, member, &tally).await.is_ok() {} });
        }
        Ok(Box::new(joined))
    }
}

/// One batch, acknowledged together.
async fn consume(connection: &mut MultiplexedConnection, key: &str, group: &str, member: usize, tally: &Tally) -> Result<()> {
    let mut read = cmd("XREADGROUP");
    read.arg("GROUP").arg(group).arg(member).arg("COUNT").arg(500).arg("BLOCK").arg(1000).arg("STREAMS").arg(key).arg(">");
    let reply: Option<StreamReadReply> = read.query_async(connection).await?;
    let mut acknowledge = cmd("XACK");
    acknowledge.arg(key).arg(group);
    let mut handled = 0;
    for entry in reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids) {
        let data: Option<Vec<u8>> = entry.get("data");
        let sample: Sample = serde_json::from_slice(&data.ok_or("an entry without data")?)?;
        tally.note(0, sample.number());
        acknowledge.arg(entry.id);
        handled += 1;
    }
    if handled > 0 {
        let _: usize = acknowledge.query_async(connection).await?;
    }
    Ok(())
}
