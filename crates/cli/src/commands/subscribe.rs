//! `eventbus sub`: prints events as they come.

use crate::{
    args::SubArgs,
    event_text::{json_line, readable},
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupt,
    output::Output,
    session::{Session, shown_url},
};
use eventbus::{Bus, BusExt as _, Delivery, EventStream, MAX_DURATION, Pattern, Subscribe};
use std::{sync::Arc, time::Duration};

pub(super) async fn run(url: &str, args: &SubArgs, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let session = Session::open_shared(url, out, interrupt, "nobody else can publish what this command waits for").await?;
    let outcome = follow(&**session.bus(), url, args, out, interrupt).await;
    session.end(outcome).await
}

async fn follow(bus: &dyn Bus, url: &str, args: &SubArgs, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let stream = interrupt.or(bus.stream(subscription(args))).await??;
    // Said once it is in place: whoever reads this may publish.
    let patterns: Vec<&str> = args.patterns.iter().map(Pattern::as_str).collect();
    out.note(format_args!("waiting for {} on {}; Ctrl-C ends it", patterns.join(" "), shown_url(url)));
    receive(stream, args, out, interrupt).await
}

/// Why no further event is waited for.
enum End {
    Counted,
    TimedOut,
    Interrupted,
}

async fn receive(mut stream: EventStream, args: &SubArgs, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let mut printed = 0;
    let end = loop {
        let delivery = tokio::select! {
            biased;
            () = interrupt.wait() => break End::Interrupted,
            delivery = stream.next() => delivery,
            () = silence(args.timeout) => break End::TimedOut,
        };
        let Some(delivery) = delivery else {
            stream.subscription().ended().await?;
            return Err(Failure::failed("the subscription has ended"));
        };
        printed += 1;
        let counted = args.count == Some(printed);
        if counted {
            // Before the last one is acknowledged, so that no further one is begun.
            stream.subscription().pause();
        }
        print(delivery, out)?;
        if counted {
            break End::Counted;
        }
    };
    printed += finish(stream, args.group.is_some(), out).await?;
    match end {
        End::Counted => Ok(Exit::Done),
        End::Interrupted => Err(Failure::Interrupted),
        End::TimedOut if printed == 0 => Err(Failure::Said(Exit::NothingArrived, "no event arrived in time".to_owned())),
        End::TimedOut => match args.count {
            Some(count) => Err(Failure::Said(Exit::NothingArrived, format!("{printed} of {count} events arrived in time"))),
            None => Ok(Exit::Done),
        },
    }
}

fn subscription(args: &SubArgs) -> Subscribe {
    let subscribe = Subscribe::to(args.patterns.clone())
        .from(args.from.clone())
        // A pager may hold back the output for as long as its user reads.
        .timeout(MAX_DURATION);
    match &args.group {
        Some(group) => subscribe.group(group),
        None => subscribe.name("eventbus-sub"),
    }
}

/// Ends after a time without an event.
async fn silence(most: Option<Duration>) {
    match most {
        Some(most) => tokio::time::sleep(most).await,
        None => std::future::pending().await,
    }
}

/// Prints an event, and acknowledges it once it is printed.
fn print(delivery: Delivery, out: &mut Output) -> Outcome<()> {
    if out.json() {
        out.line(json_line(delivery.event())?)?;
    } else {
        let attempt = delivery.context().attempt();
        let again = if attempt > 1 { format!("  {}", out.paint().yellow(format_args!("attempt {attempt}"))) } else { String::new() };
        out.line(format_args!("{}{again}", readable(delivery.event(), out.paint())))?;
    }
    out.flush()?;
    if let Err(error) = delivery.ack() {
        out.warn(error);
    }
    Ok(())
}

/// Ends the subscription. What was handed out meanwhile is printed too, so that a group does not count an attempt that nobody made.
async fn finish(mut stream: EventStream, grouped: bool, out: &mut Output) -> Outcome<u64> {
    stream.subscription().pause();
    let mut printed = 0;
    if grouped {
        let control = Arc::clone(stream.subscription().control());
        let mut closing = control.close();
        loop {
            tokio::select! {
                biased;
                delivery = stream.next() => match delivery {
                    Some(delivery) => {
                        print(delivery, out)?;
                        printed += 1;
                    }
                    None => {
                        closing.await?;
                        break;
                    }
                },
                closed = &mut closing => {
                    closed?;
                    break;
                }
            }
        }
    }
    Ok(printed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::{Cli, Command},
        output::Captured,
    };
    use clap::Parser as _;
    use eventbus::Event;

    fn args(line: &[&str]) -> SubArgs {
        match Cli::try_parse_from([&["eventbus", "sub"], line].concat()).unwrap().command {
            Command::Sub(args) => args,
            _ => unreachable!(),
        }
    }

    async fn bus_with(types: &[&str]) -> Arc<dyn Bus> {
        let bus = eventbus::connect("memory:").await.unwrap();
        for event_type in types {
            bus.publish(Event::builder(event_type).subject("s").json_text("{ \"price\": 1.10 }").build().unwrap()).await.unwrap();
        }
        bus
    }

    async fn received(bus: &dyn Bus, line: &[&str], json: bool) -> (Outcome, Captured) {
        let (mut out, said) = Captured::output(json);
        (follow(bus, "memory:", &args(line), &mut out, &Interrupt::never()).await, said)
    }

    fn types(said: &Captured) -> Vec<String> {
        said.stdout()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].as_str().unwrap().to_owned())
            .collect()
    }

    #[tokio::test]
    async fn matching_events_are_printed_one_per_line_until_the_count() {
        let bus = bus_with(&["order.placed", "other", "order.paid", "order.sent"]).await;
        let (outcome, said) = received(&*bus, &["order.*", "--from", "earliest", "--count", "2"], true).await;
        assert_eq!(outcome.unwrap(), Exit::Done);
        assert_eq!(types(&said), ["order.placed", "order.paid"]);
        assert!(said.stdout().contains(r#""data":{"price":1.10}"#));
    }

    #[tokio::test]
    async fn a_group_resumes_after_what_was_printed() {
        let bus = bus_with(&["a", "b", "c", "d", "e"]).await;
        let (_, first) = received(&*bus, &[">", "--group", "g", "--from", "earliest", "--count", "2"], true).await;
        let (_, second) = received(&*bus, &[">", "--group", "g", "--count", "2"], true).await;
        let (_, rest) = received(&*bus, &[">", "--group", "g", "--timeout", "50ms"], true).await;
        assert_eq!([types(&first), types(&second), types(&rest)], [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
        let stats = bus.stats().await.unwrap();
        assert_eq!(stats.groups[0].lag, 0);
    }

    #[tokio::test]
    async fn what_a_group_was_not_shown_costs_no_attempt() {
        let bus = bus_with(&["a", "b"]).await;
        received(&*bus, &[">", "--group", "g", "--from", "earliest", "--count", "1"], true).await.0.unwrap();
        let mut stream = bus.stream(Subscribe::to(">").group("g")).await.unwrap();
        let delivery = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap().unwrap();
        assert_eq!((delivery.event().event_type().as_str(), delivery.context().attempt()), ("b", 1));
        delivery.ack().unwrap();
    }

    #[tokio::test]
    async fn time_that_is_up_is_a_failure_only_where_something_is_missing() {
        let bus = bus_with(&["a"]).await;
        let exit = async |line: &[&str]| received(&*bus, line, false).await.0.unwrap_or_else(|failure| failure.exit());
        assert_eq!(exit(&["x", "--timeout", "20ms"]).await, Exit::NothingArrived);
        assert_eq!(exit(&["a", "--from", "earliest", "--timeout", "20ms"]).await, Exit::Done);
        assert_eq!(exit(&["a", "--from", "earliest", "--timeout", "20ms", "--count", "2"]).await, Exit::NothingArrived);
    }

    #[tokio::test]
    async fn readable_events_show_type_subject_and_data() {
        let bus = bus_with(&["order.placed"]).await;
        let (_, said) = received(&*bus, &[">", "--from", "1", "--count", "1"], false).await;
        assert!(said.stdout().contains("order.placed  s  id ") && said.stdout().contains("\n  {\"price\":1.10}\n"), "{}", said.stdout());
    }

    #[tokio::test]
    async fn what_the_bus_cannot_do_is_refused() {
        let bus = eventbus::connect("memory:?retain_events=0").await.unwrap();
        let (outcome, _) = received(&*bus, &[">", "--from", "earliest"], false).await;
        assert_eq!(outcome.unwrap_err().exit(), Exit::Invalid);
    }

    #[tokio::test]
    async fn an_interrupt_ends_it() {
        let bus = bus_with(&["a"]).await;
        let interrupt = Interrupt::never();
        interrupt.trigger();
        let (mut out, _) = Captured::output(false);
        let outcome = follow(&*bus, "memory:", &args(&[">", "--group", "g"]), &mut out, &interrupt).await;
        assert!(matches!(outcome, Err(Failure::Interrupted)));
    }
}
