//! A server that stays away for longer than the bus tries to reach it: whatever was to come of it ends, and says why and what to set.

mod common;

use common::{numbered, soon};
use eventbus_core::{Bus, Error, ErrorKind, Subscribe, Subscription};
use eventbus_nats::{Mode, NatsBus};
use eventbus_testing::{Probe, servers::NatsServer};
use std::{sync::Arc, time::Duration};

async fn subscriptions(bus: &NatsBus) -> [Subscription; 2] {
    let alone = bus.subscribe(Subscribe::to("a"), Arc::new(Probe::new())).await.unwrap();
    let member = bus.subscribe(Subscribe::to("a").group("g"), Arc::new(Probe::new())).await.unwrap();
    [alone, member]
}

fn names_the_setting(error: &Error) {
    assert!(error.kind() == ErrorKind::Unavailable && !error.is_retryable(), "{error}");
    for part in ["max_reconnects=2", "max_reconnects=unlimited"] {
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
    }
}

/// The client ends on a thread of its own, at whatever moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_has_made_its_last_attempt_says_which_setting_was_the_limit() {
    for mode in [Mode::JetStream, Mode::Core] {
        let server = NatsServer::start().await;
        let config = NatsBus::builder().server(&server.url()).mode(mode).max_reconnects(2).reconnect_wait(Duration::from_millis(200));
        let bus = config.connect().await.unwrap();
        let subscriptions = subscriptions(&bus).await;
        server.kill().await;
        let waiting = soon("the end of a publish that waits", bus.publish(numbered("a", 1)));
        let ended = async {
            for subscription in &subscriptions {
                names_the_setting(&soon("the end of the subscription", subscription.ended()).await.unwrap_err());
            }
        };
        let (waited, ()) = tokio::join!(waiting, ended);
        names_the_setting(&waited.unwrap_err());
        names_the_setting(&soon("the refusal", bus.publish(numbered("a", 2))).await.unwrap_err());
        names_the_setting(&soon("the refusal", bus.subscribe(Subscribe::to("a"), Arc::new(Probe::new()))).await.map(drop).unwrap_err());
        names_the_setting(&bus.health().await.unwrap_err());
        bus.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_client_that_gives_up_ends_what_was_to_come_of_it() {
    for mode in [Mode::JetStream, Mode::Core] {
        let server = NatsServer::start().await;
        let options = async_nats::ConnectOptions::new().max_reconnects(2).reconnect_delay_callback(|_| Duration::from_millis(50));
        let client = options.connect(server.url()).await.unwrap();
        let bus = NatsBus::from_client(client, NatsBus::builder().mode(mode)).await.unwrap();
        let subscriptions = subscriptions(&bus).await;
        server.kill().await;
        let about_the_client =
            |error: &Error| assert!(!error.is_retryable() && error.to_string().contains("client that was passed in"), "{error}");
        for subscription in &subscriptions {
            about_the_client(&soon("the end of the subscription", subscription.ended()).await.unwrap_err());
        }
        about_the_client(&soon("the refusal", bus.publish(numbered("a", 1))).await.unwrap_err());
    }
}
