//! The node of a Redis Cluster that has a key.
//!
//! Each partition has connections of its own to its node, rather than a share of one for the whole cluster: some of them block, and on
//! each the order of what was sent is the order in which it is done.

use super::Access;
use crate::{error, reply};
use eventbus_core::{Error, Result};
use redis::{Client, Value, aio::MultiplexedConnection, cmd};
use std::sync::{Mutex, MutexGuard, PoisonError};

type Address = (String, u16);

pub(super) struct Nodes {
    access: Access,
    /// The nodes to ask, the one that answered last first.
    known: Mutex<Vec<Address>>,
}

impl Nodes {
    pub(super) fn new(addresses: &[Address], access: Access) -> Self {
        Self { access, known: Mutex::new(addresses.to_vec()) }
    }

    /// The client of the node that has a key now. Without a key, of any.
    pub(super) async fn owner(&self, key: &str) -> Result<Client> {
        let mut last = None;
        let nodes = self.known().clone();
        for node in nodes {
            match self.ask(&node, key).await {
                Ok((host, port)) => return self.access.client(&host, port),
                // A node that is gone knows nothing; the next one does. Whoever is not let in anywhere is told so.
                Err(error) if error.is_retryable() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| error::unavailable("no node of the cluster is known")))
    }

    async fn ask(&self, node: &Address, key: &str) -> Result<Address> {
        let client = self.access.client(&node.0, node.1)?;
        let mut connection = client.get_multiplexed_async_connection().await.map_err(|error| error::translate(&error))?;
        // A node that is cut off from the others does not know who has its slots now. Who may not ask that takes what the node knows.
        if query(&mut connection, cmd("CLUSTER").arg("INFO"))
            .await
            .and_then(reply::text)
            .is_ok_and(|info| info.contains("cluster_state:fail"))
        {
            return Err(error::unavailable("the cluster is down, as far as this node knows"));
        }
        let slots = shards(query(&mut connection, cmd("CLUSTER").arg("SLOTS")).await?, &node.0)?;
        self.remember(node, slots.iter().map(|(_, address)| address));
        if key.is_empty() {
            return Ok(node.clone());
        }
        let slot = reply::integer(query(&mut connection, cmd("CLUSTER").arg("KEYSLOT").arg(key)).await?)?;
        let owner = slots.into_iter().find(|(slots, _)| slots.contains(&slot));
        owner.map(|(_, address)| address).ok_or_else(|| error::unavailable(format!("no node of the cluster has slot {slot}")))
    }

    /// Keeps all nodes that there are, so that any of them can go.
    fn remember<'a>(&self, answered: &Address, nodes: impl Iterator<Item = &'a Address>) {
        let mut known = self.known();
        for node in nodes {
            if !known.contains(node) {
                known.push(node.clone());
            }
        }
        if let Some(at) = known.iter().position(|node| node == answered) {
            let node = known.remove(at);
            known.insert(0, node);
        }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Address>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn query(connection: &mut MultiplexedConnection, command: &redis::Cmd) -> Result<Value> {
    connection.send_packed_command(command).await.and_then(Value::extract_error).map_err(|error| error::translate(&error))
}

type Shard = (std::ops::RangeInclusive<i64>, Address);

/// The answer to `CLUSTER SLOTS`: ranges of slots with their master first.
fn shards(slots: Value, asked: &str) -> Result<Vec<Shard>> {
    reply::array(slots)?.into_iter().map(|shard| read_shard(shard, asked)).collect()
}

fn read_shard(shard: Value, asked: &str) -> Result<Shard> {
    let mut parts = reply::array(shard)?.into_iter();
    let first = reply::integer(reply::next(&mut parts)?)?;
    let last = reply::integer(reply::next(&mut parts)?)?;
    let mut master = reply::array(reply::next(&mut parts)?)?.into_iter();
    let host = match reply::next(&mut master)? {
        // A node that does not know its own address has that under which it was asked.
        Value::Nil => asked.to_owned(),
        host => Some(reply::text(host)?).filter(|host| !host.is_empty()).unwrap_or_else(|| asked.to_owned()),
    };
    let port = reply::integer(reply::next(&mut master)?)?;
    let port = u16::try_from(port).map_err(|_| Error::invalid(format!("port {port} of a cluster node: it must be 0 to 65535")))?;
    Ok((first..=last, (host, port)))
}
