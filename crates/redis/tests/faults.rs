//! Redis Streams under the shared fault suite (`eventbus_testing::faults`): servers that die, stand still or forget, connections that
//! break, members that are killed. What only Redis can suffer is beside this file.

use async_trait::async_trait;
use eventbus_core::{Bus, Result};
use eventbus_redis::RedisConfig;
use eventbus_testing::{
    faults::{Breakable, Server, Terms},
    servers::RedisServer,
};
use std::{net::SocketAddr, sync::Arc};

struct Streams;

#[async_trait]
impl Breakable for Streams {
    async fn server(&self) -> Box<dyn Server> {
        Box::new(RedisServer::builder().durable().start().await)
    }

    async fn connect(&self, address: SocketAddr, terms: &Terms) -> Result<Arc<dyn Bus>> {
        let config = RedisConfig::default()
            .address(address.to_string())
            .prefix(&terms.name)
            .connect_timeout(terms.connect_timeout)
            .response_timeout(terms.heartbeat)
            .reconnect_wait(std::time::Duration::from_millis(100))
            .publish_timeout(terms.publish_timeout)
            .close_timeout(terms.close_timeout)
            .lease(terms.lease)
            .retry_on_connect(terms.retry_on_connect);
        Ok(Arc::new(config.connect().await?))
    }

    async fn put_raw(&self, address: SocketAddr, terms: &Terms, _event_type: &str, message: &[u8]) {
        let _: String = ask(address, redis::cmd("XADD").arg(format!("{}:0", terms.name)).arg("*").arg("event").arg(message)).await;
    }

    async fn delete_group(&self, address: SocketAddr, terms: &Terms, group: &str) {
        let destroyed: i64 = ask(address, redis::cmd("XGROUP").arg("DESTROY").arg(format!("{}:0", terms.name)).arg(group)).await;
        assert_eq!(destroyed, 1, "there was a group to delete");
    }

    async fn wipe(&self, address: SocketAddr, _terms: &Terms) {
        let _: String = ask(address, &redis::cmd("FLUSHALL")).await;
    }
}

async fn ask<T: redis::FromRedisValue>(address: SocketAddr, command: &redis::Cmd) -> T {
    let client = redis::Client::open(format!("redis://{address}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}

eventbus_testing::faults!(Streams);
