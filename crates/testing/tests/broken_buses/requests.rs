//! Buses that break a promise of request and reply.

use crate::harness::{Fault, caught};
use async_trait::async_trait;
use eventbus_core::{Bus, Event, Result};
use std::sync::{Arc, Mutex};

/// All requests share one inbox.
#[derive(Default)]
struct SharesAnInbox(Mutex<Vec<String>>);

#[async_trait]
impl Fault for SharesAnInbox {
    fn opened(&self, address: &str) {
        self.0.lock().unwrap().push(address.to_owned());
    }

    async fn reply(&self, bus: &Arc<dyn Bus>, _: &str, reply: Event) -> Result<()> {
        let addresses = self.0.lock().unwrap().clone();
        for address in addresses {
            bus.replies()?.send(&address, reply.clone()).await?;
        }
        Ok(())
    }
}

#[test]
fn a_bus_that_mixes_the_replies_of_requests() {
    caught(SharesAnInbox::default, "requests::requests_at_once_do_not_mix", "assertion `left == right` failed");
}

struct LosesReplies;

#[async_trait]
impl Fault for LosesReplies {
    async fn reply(&self, _: &Arc<dyn Bus>, _: &str, _: Event) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_bus_that_loses_replies() {
    let case = "requests::enough_replies_will_do_and_the_missing_are_named";
    caught(|| LosesReplies, case, "0 of at least 1 replies");
}

struct PublishesReplies;

#[async_trait]
impl Fault for PublishesReplies {
    async fn reply(&self, bus: &Arc<dyn Bus>, address: &str, reply: Event) -> Result<()> {
        bus.publish(reply.clone()).await?;
        bus.replies()?.send(address, reply).await
    }
}

#[test]
fn a_bus_that_delivers_replies_as_events() {
    caught(|| PublishesReplies, "requests::replies_are_no_events", r#""eventbus.reply""#);
}

/// The responder's failure stays with the responder.
struct HidesErrors;

#[async_trait]
impl Fault for HidesErrors {
    async fn reply(&self, bus: &Arc<dyn Bus>, address: &str, reply: Event) -> Result<()> {
        bus.replies()?.send(address, reply.without_extension("replyerror")).await
    }
}

#[test]
fn a_bus_that_hides_the_error_of_a_responder() {
    caught(|| HidesErrors, "requests::a_responder_that_fails_answers_with_its_error", "`Option::unwrap()` on a `None` value");
}

/// Every responder answers under one name.
struct MixesResponders;

#[async_trait]
impl Fault for MixesResponders {
    async fn reply(&self, bus: &Arc<dyn Bus>, address: &str, reply: Event) -> Result<()> {
        bus.replies()?.send(address, reply.with_extension("responder", "here")).await
    }
}

#[test]
fn a_bus_that_takes_one_responder_for_another() {
    caught(|| MixesResponders, "requests::replies_of_all_responders_are_gathered", "missing=double,triple");
}
