//! JetStream under the shared fault suite (`eventbus_testing::faults`): servers that die, stand still or forget, connections that break,
//! members that are killed. What only NATS can suffer is beside this file.

use async_trait::async_trait;
use eventbus_core::{Bus, Result};
use eventbus_nats::NatsConfig;
use eventbus_testing::{
    faults::{Breakable, Server, Terms},
    servers::NatsServer,
};
use std::{net::SocketAddr, sync::Arc};

struct JetStream;

#[async_trait]
impl Breakable for JetStream {
    async fn server(&self) -> Box<dyn Server> {
        Box::new(NatsServer::builder().durable().start().await)
    }

    async fn connect(&self, address: SocketAddr, terms: &Terms) -> Result<Arc<dyn Bus>> {
        let config = NatsConfig::default()
            .server(&format!("nats://{address}"))
            .prefix(&terms.name)
            .connect_timeout(terms.connect_timeout)
            .retry_on_connect(terms.retry_on_connect)
            .reconnect_wait(std::time::Duration::from_millis(100))
            .max_reconnects(None)
            .ping_interval(terms.heartbeat)
            .publish_timeout(terms.publish_timeout)
            .close_timeout(terms.close_timeout)
            .lease(terms.lease);
        Ok(Arc::new(config.connect().await?))
    }

    async fn put_raw(&self, address: SocketAddr, terms: &Terms, event_type: &str, message: &[u8]) {
        let jetstream = jetstream(address).await;
        let stored = jetstream.publish(format!("{}.{event_type}", terms.name), message.to_vec().into()).await.unwrap();
        stored.await.unwrap();
    }

    async fn delete_group(&self, address: SocketAddr, terms: &Terms, _group: &str) {
        let stream = jetstream(address).await.get_stream(terms.name.to_uppercase()).await.unwrap();
        // The only consumer that outlives its process is that of the group.
        let mut names = stream.consumer_names();
        let mut deleted = 0;
        while let Some(name) = std::future::poll_fn(|cx| futures_core::Stream::poll_next(std::pin::Pin::new(&mut names), cx)).await {
            let name = name.unwrap();
            let info = stream.consumer_info(&name).await.unwrap();
            if info.config.durable_name.is_some() {
                // A server of 2.9 may stumble over its own files and has to be asked again.
                while stream.delete_consumer(&name).await.is_err() && stream.consumer_info(&name).await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                deleted += 1;
            }
        }
        assert_eq!(deleted, 1, "there was a group to delete");
    }

    async fn wipe(&self, address: SocketAddr, terms: &Terms) {
        jetstream(address).await.delete_stream(terms.name.to_uppercase()).await.unwrap();
        // Whoever deploys it anew makes the stream again.
        self.connect(address, terms).await.unwrap().close().await.unwrap();
    }
}

async fn jetstream(address: SocketAddr) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(async_nats::connect(address.to_string()).await.unwrap())
}

eventbus_testing::faults!(JetStream);
