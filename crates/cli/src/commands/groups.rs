//! `eventbus groups`: how far behind groups are, and getting rid of one.

use crate::{
    args::GroupsArgs,
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupt,
    output::Output,
    session::Session,
    table::Table,
};
use eventbus::{Bus, Error, GroupStats};
use serde_json::json;
use std::{sync::Arc, time::Duration};

pub(super) async fn run(arguments: GroupsArgs, url: &str, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let session = Session::open_shared(url, out, interrupt, "it has no groups but those of this command").await?;
    let bus = Arc::clone(session.bus());
    let work = async move {
        match arguments.delete {
            Some(group) => delete(&*bus, &group, out).await,
            None => list(&*bus, out).await,
        }
    };
    session.run(work).await
}

async fn delete(bus: &dyn Bus, group: &str, out: &mut Output) -> Outcome {
    if !bus.delete_group(group).await? {
        return Err(Failure::failed(format_args!("there is no group {group:?}")));
    }
    if out.json() {
        out.document(&json!({ "deleted": group }))?;
    } else {
        out.note(format_args!("deleted {group:?}"));
    }
    Ok(Exit::Done)
}

async fn list(bus: &dyn Bus, out: &mut Output) -> Outcome {
    let capabilities = bus.capabilities();
    if !capabilities.groups {
        return Err(Error::unsupported("groups", capabilities.backend).into());
    }
    let mut groups = bus.stats().await?.groups;
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    if out.json() {
        for group in &groups {
            out.document(&json!({
                "name": group.name,
                "members": group.members,
                "lag": group.lag,
                "in_flight": group.in_flight,
                "redelivered": group.redelivered,
                "oldest_unacknowledged_ms": group.oldest_unacknowledged.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            }))?;
        }
        return Ok(Exit::Done);
    }
    if groups.is_empty() {
        out.note("there are no groups");
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["GROUP", ">MEMBERS", ">LAG", ">IN FLIGHT", ">OLDEST UNACKNOWLEDGED"]);
    for GroupStats { name, members, lag, in_flight, oldest_unacknowledged, .. } in &groups {
        let oldest = oldest_unacknowledged.map_or_else(|| "-".to_owned(), age);
        table.row([name.clone(), members.to_string(), lag.to_string(), in_flight.to_string(), oldest]);
    }
    table.print(out)?;
    Ok(Exit::Done)
}

/// A duration as its largest units tell it.
pub(super) fn age(age: Duration) -> String {
    let rounded = match age.as_secs() {
        0 => Duration::from_millis(u64::from(age.subsec_millis())),
        seconds => Duration::from_secs(seconds),
    };
    humantime::format_duration(rounded).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Captured;
    use eventbus::{BusExt as _, Event, Start, Subscribe};

    async fn bus() -> Arc<dyn Bus> {
        let bus = eventbus::connect("memory:").await.unwrap();
        for number in 0..3 {
            bus.publish(Event::json("a", number).unwrap()).await.unwrap();
        }
        bus
    }

    #[tokio::test]
    async fn a_group_is_listed_with_its_lag_also_when_nobody_is_in_it() {
        let bus = bus().await;
        let subscription =
            bus.on(Subscribe::to("a").group("billing").from(Start::Earliest), async || std::future::pending::<()>().await).await.unwrap();
        drop(subscription.into_guard());
        let (mut out, said) = Captured::output(true);
        assert_eq!(list(&*bus, &mut out).await.unwrap(), Exit::Done);
        let shown: serde_json::Value = serde_json::from_str(&said.stdout()).unwrap();
        assert_eq!((&shown["name"], &shown["lag"]), (&"billing".into(), &3.into()));
        let (mut out, said) = Captured::output(false);
        list(&*bus, &mut out).await.unwrap();
        assert!(said.stdout().contains("OLDEST UNACKNOWLEDGED\nbilling"), "{}", said.stdout());
    }

    #[tokio::test]
    async fn a_group_is_deleted_once() {
        let bus = bus().await;
        drop(bus.on(Subscribe::to("a").group("billing"), async || {}).await.unwrap().into_guard());
        let (mut out, said) = Captured::output(true);
        // The member has to have left.
        while bus.delete_group("billing").await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(delete(&*bus, "billing", &mut out).await, Err(Failure::Said(Exit::Failed, _))));
        drop(bus.on(Subscribe::to("a").group("again"), async || {}).await.unwrap());
        assert!(delete(&*bus, "again", &mut out).await.is_err(), "it has a member");
        assert_eq!(said.stdout(), "");
    }

    #[tokio::test]
    async fn no_groups_is_said_in_words() {
        let (mut out, said) = Captured::output(false);
        assert_eq!(list(&*bus().await, &mut out).await.unwrap(), Exit::Done);
        assert_eq!((said.stdout().as_str(), said.stderr().as_str()), ("", "there are no groups\n"));
    }

    #[test]
    fn an_age_is_as_exact_as_one_needs_it() {
        assert_eq!(age(Duration::from_micros(1_500)), "1ms");
        assert_eq!(age(Duration::from_millis(61_300)), "1m 1s");
    }
}
