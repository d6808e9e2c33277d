//! Requests and their replies.

use super::{
    run::Outcome,
    story::{Story, bus, needs, numbered, quiet, subscribe},
};
use crate::{Probe, observe::patience};
use eventbus_core::{Bus, Error, ErrorKind, Event, HandlerError, Result};
use eventbus_runtime::{BusExt, Gather, Replies, Reply};
use std::{sync::Arc, time::Duration};

const SHORT: Duration = Duration::from_millis(200);

/// Asks for a "check", with ever more time until what comes of it is right: how long a reply takes is the machine's affair.
async fn check(bus: &dyn Bus, gather: Gather, is_right: impl Fn(&Result<Replies>) -> bool) -> Result<Replies> {
    let mut timeout = SHORT;
    loop {
        let said = bus.request(numbered("check", 1), gather.clone().timeout(timeout)).await;
        if is_right(&said) || timeout > patience() / 2 {
            return said;
        }
        timeout *= 3;
    }
}

pub(super) async fn replies_of_all_responders_are_gathered(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, requests);
    for (name, factor) in [("double", 2), ("triple", 3)] {
        bus.respond("calc", name, move |event: Event| async move { Ok::<_, Error>(*event.decode::<u64>()? * factor) }).await.unwrap();
    }
    let replies =
        bus.request(numbered("calc", 7).with_correlation("c-1"), Gather::from(["double", "triple"]).timeout(patience())).await.unwrap();
    assert!(replies.missing().is_empty());
    assert_eq!(
        (replies.len(), *replies.of("double").unwrap().decode::<u64>().unwrap(), *replies.of("triple").unwrap().decode::<u64>().unwrap()),
        (2, 14, 21)
    );
    assert!(replies.iter().all(|reply| reply.event().correlation_id() == Some("c-1") && reply.event().causation_id().is_some()));
    let first = bus.request(numbered("calc", 1), Gather::first().timeout(patience())).await.unwrap();
    assert_eq!(first.len(), 1);
    let any = bus.request(numbered("calc", 1), Gather::any(2).timeout(patience())).await.unwrap();
    assert_eq!(any.len(), 2);
    Outcome::Done
}

pub(super) async fn enough_replies_will_do_and_the_missing_are_named(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, requests);
    bus.respond("check", "here", |_: Event| async { true }).await.unwrap();
    bus.respond("check", "stranger", |_: Event| async { true }).await.unwrap();
    bus.respond("check", "silent", |_: Event| std::future::pending::<bool>()).await.unwrap();
    let replies = check(&*bus, Gather::from(["here", "silent", "absent"]).at_least(1), Result::is_ok).await.unwrap();
    assert_eq!(replies.missing(), ["absent", "silent"]);
    assert_eq!(replies.iter().map(Reply::responder).collect::<Vec<_>>(), ["here"], "whoever was not asked for is passed over");
    Outcome::Done
}

pub(super) async fn too_few_replies_are_a_timeout_that_names_the_missing(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, requests);
    bus.respond("check", "here", |_: Event| async { true }).await.unwrap();
    let names_the_missing = |said: &Result<Replies>| said.as_ref().is_err_and(|error| error.context_value("missing") == Some("absent"));
    let error = check(&*bus, Gather::from(["here", "absent"]), names_the_missing).await.unwrap_err();
    assert_eq!((error.kind(), error.context_value("missing")), (ErrorKind::Timeout, Some("absent")), "{error}");
    let error = bus.request(numbered("nobody", 1), Gather::first().timeout(SHORT)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    for bad in [
        Gather::from([""; 0]),
        Gather::from(["a"]).at_least(2),
        Gather::from(["a"]).at_least(0),
        Gather::any(0),
        Gather::first().timeout(Duration::ZERO),
        Gather::first().timeout(Duration::MAX),
    ] {
        assert_eq!(bus.request(numbered("check", 1), bad).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    Outcome::Done
}

pub(super) async fn a_responder_that_fails_answers_with_its_error(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, requests);
    bus.respond("check", "strict", |event: Event| async move {
        if *event.decode::<u64>()? > 5 { Err(HandlerError::reject("more than 5\nis too much")) } else { Ok("fine") }
    })
    .await
    .unwrap();
    let good = bus.request(numbered("check", 1), Gather::from(["strict"]).timeout(patience())).await.unwrap();
    assert_eq!(*good.of("strict").unwrap().decode::<String>().unwrap(), "fine");
    let bad = bus.request(numbered("check", 9), Gather::from(["strict"]).timeout(patience())).await.unwrap();
    let reply = bad.of("strict").unwrap();
    assert!(reply.error().unwrap().contains("more than 5"));
    assert_eq!(reply.decode::<String>().unwrap_err().kind(), ErrorKind::Handler);
    Outcome::Done
}

pub(super) async fn requests_at_once_do_not_mix(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, requests);
    bus.respond("echo", "a", |event: Event| async move { Ok::<_, Error>(*event.decode::<u64>()?) }).await.unwrap();
    bus.respond("echo", "b", |event: Event| async move { Ok::<_, Error>(*event.decode::<u64>()?) }).await.unwrap();
    let patience = patience();
    let asking = (0..50).map(|number| {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move {
            let replies = bus.request(numbered("echo", number), Gather::from(["a", "b"]).timeout(patience)).await.unwrap();
            for reply in &replies {
                assert_eq!(*reply.decode::<u64>().unwrap(), number);
            }
        })
    });
    for asked in asking.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    Outcome::Done
}

pub(super) async fn replies_are_no_events(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, requests);
    let everything = Probe::new();
    subscribe(&*bus, ">", &everything).await;
    bus.respond("check", "a", |_: Event| async { 1 }).await.unwrap();
    bus.request(numbered("check", 1), Gather::from(["a"]).timeout(patience())).await.unwrap();
    quiet(&*bus).await;
    let types: Vec<_> = everything.seen().iter().map(|seen| seen.event.event_type().to_string()).collect();
    assert_eq!(types, ["check"], "the request is an event, its reply is none");
    Outcome::Done
}
