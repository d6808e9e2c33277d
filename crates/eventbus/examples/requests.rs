//! Scatter-gather: a request goes to everyone who can answer it, and the replies are gathered until all have answered or the time is up.

use eventbus::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Serialize, Deserialize, EventData)]
#[event(type = "config.validate")]
struct Config {
    name: String,
    retries: u32,
}

#[derive(Serialize, Deserialize)]
struct Opinion {
    accepted: bool,
    why: String,
}

async fn limits(Data(config): Data<Config>) -> Opinion {
    let accepted = config.retries <= 10;
    Opinion { accepted, why: format!("{} of at most 10 retries", config.retries) }
}

async fn names(Data(config): Data<Config>) -> Result<Opinion, HandlerError> {
    if config.name.is_empty() {
        return Err(HandlerError::reject("a configuration needs a name"));
    }
    Ok(Opinion { accepted: true, why: format!("{:?} is a name", config.name) })
}

/// Answers too late to be heard.
async fn security(_: Event) -> Opinion {
    tokio::time::sleep(Duration::from_secs(3600)).await;
    Opinion { accepted: false, why: "it took an hour to find out".into() }
}

async fn ask(bus: &MemoryBus, config: Config) -> eventbus::Result<()> {
    let everyone = Gather::from(["limits", "names", "security"]).at_least(2).timeout(Duration::from_millis(300));
    let replies = bus.request(Event::new(config), everyone).await?;
    for responder in ["limits", "names"] {
        let Some(reply) = replies.of(responder) else { continue };
        match reply.decode::<Opinion>() {
            Ok(opinion) => println!("{responder}: {}, {}", if opinion.accepted { "yes" } else { "no" }, opinion.why),
            Err(error) => println!("{responder}: failed, {}", error.message()),
        }
    }
    println!("missing: {}", replies.missing().join(", "));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = MemoryBus::new();
    bus.respond("config.validate", "limits", limits).await?;
    bus.respond("config.validate", "names", names).await?;
    let once = Subscribe::to("config.validate").concurrency(2).timeout(Duration::from_millis(400)).retry(Retry::none());
    bus.respond(once, "security", security).await?;

    ask(&bus, Config { name: "billing".into(), retries: 3 }).await?;
    ask(&bus, Config { name: String::new(), retries: 99 }).await?;

    let nobody = bus.request(Event::json("config.forget", ())?, Gather::first().timeout(Duration::from_millis(20))).await;
    println!("{}", nobody.unwrap_err());
    bus.close().await?;
    Ok(())
}
