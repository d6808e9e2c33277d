//! Servers that refuse for a while whoever comes back to them: one that runs a script, and one that has all the clients it may have.

mod common;

use common::{PATIENCE, ask, client, numbered, until, words};
use eventbus_core::{Bus, Subscribe, Subscription};
use eventbus_redis::{RedisBus, RedisConfig};
use eventbus_testing::{
    Probe,
    servers::{Proxy, RedisServer},
};
use redis::{Value, aio::MultiplexedConnection, cmd};
use std::{sync::Arc, time::Duration};

/// A bus that signs in and chooses a database, and its subscriptions.
struct Scene {
    server: RedisServer,
    admin: MultiplexedConnection,
    proxy: Proxy,
    bus: Arc<RedisBus>,
    probes: [Probe; 2],
    subscriptions: [Subscription; 2],
}

impl Scene {
    async fn set() -> Self {
        let server = RedisServer::builder().config("requirepass secret\nlua-time-limit 20").start().await;
        let admin = admin(&server).await;
        let proxy = Proxy::to(server.address()).await;
        let config = RedisConfig::new().address(proxy.address().to_string()).password("secret").database(3);
        let wait = Duration::from_millis(10);
        let bus = Arc::new(config.reconnect_wait(wait).max_reconnect_wait(wait * 5).publish_timeout(PATIENCE).connect().await.unwrap());
        let probes = [Probe::new(), Probe::new()];
        let group = bus.subscribe(Subscribe::to("a").group("g"), Arc::new(probes[0].clone())).await.unwrap();
        let alone = bus.subscribe(Subscribe::to("a"), Arc::new(probes[1].clone())).await.unwrap();
        let scene = Self { server, admin, proxy, bus, probes, subscriptions: [group, alone] };
        scene.bus.publish(numbered(1)).await.unwrap();
        scene.everybody_has(1).await;
        scene
    }

    async fn everybody_has(&self, count: usize) {
        for probe in &self.probes {
            probe.wait_within(count, PATIENCE).await;
        }
    }

    /// Closes all connections, and returns when the server has refused many new ones.
    async fn come_back_in_vain(&self) {
        let before = self.proxy.accepted();
        self.proxy.reset();
        let [group, alone] = &self.subscriptions;
        tokio::select! {
            ended = group.ended() => panic!("the group ends of a refusal that passes: {ended:?}"),
            ended = alone.ended() => panic!("the subscription without a group ends of a refusal that passes: {ended:?}"),
            () = until("attempts to come back", async || self.proxy.accepted() >= before + 20) => {}
        }
    }

    async fn close(self) {
        self.everybody_has(2).await;
        self.bus.close().await.unwrap();
    }
}

async fn admin(server: &RedisServer) -> MultiplexedConnection {
    client(&format!(":secret@{}", server.address())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_with_a_script_is_waited_for() {
    let mut scene = Scene::set().await;
    let mut running = admin(&scene.server).await;
    let running = tokio::spawn(async move { running.send_packed_command(cmd("EVAL").arg("while true do end").arg(0)).await });
    until("a server that is busy", async || {
        let answer = scene.admin.send_packed_command(&cmd("PING")).await.and_then(Value::extract_error);
        answer.is_err_and(|error| error.code() == Some("BUSY"))
    })
    .await;
    // Valkey lets in who comes back, from 9 on, and refuses what else they ask for.
    let lets_in = scene.admin.send_packed_command(cmd("CLIENT").arg("ID")).await.and_then(Value::extract_error).is_ok();
    if lets_in {
        scene.proxy.reset();
    } else {
        scene.come_back_in_vain().await;
    }
    let publishing = tokio::spawn({
        let bus = Arc::clone(&scene.bus);
        async move { bus.publish(numbered(2)).await }
    });
    if !lets_in {
        let tries = scene.proxy.accepted() + 5;
        until("a publish that is tried", async || scene.proxy.accepted() >= tries || publishing.is_finished()).await;
    }
    let _: String = ask(&mut scene.admin, &words("SCRIPT KILL")).await;
    publishing.await.unwrap().unwrap();
    let _ = running.await;
    if lets_in {
        return scene.close().await;
    }
    let stats: String = ask(&mut scene.admin, &words("INFO commandstats")).await;
    let select = stats.lines().find(|line| line.starts_with("cmdstat_select:")).unwrap();
    assert!(!select.contains("rejected_calls=0"), "the choice of the database was refused: {select}");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_has_all_its_clients_is_waited_for() {
    let mut scene = Scene::set().await;
    let _: String = ask(&mut scene.admin, &words("CONFIG SET maxclients 1")).await;
    scene.come_back_in_vain().await;
    let stats: String = ask(&mut scene.admin, &words("INFO stats")).await;
    assert!(!stats.contains("rejected_connections:0"), "new clients were refused");
    let _: String = ask(&mut scene.admin, &words("CONFIG SET maxclients 1000")).await;
    scene.bus.publish(numbered(2)).await.unwrap();
    scene.close().await;
}
