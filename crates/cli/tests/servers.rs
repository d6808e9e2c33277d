//! The program on servers: everything that it can do, between processes, on every kind of bus.

mod common;

use common::{Ran, command, eventbus};
use eventbus::{Bus, BusExt as _, Event, HandlerError, Subscribe};
use eventbus_testing::servers::{self, NatsServer};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::runtime::Runtime;

/// The servers' addresses are asked for, and buses of these tests' own live, here.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
}

/// The kinds of buses that have a server.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    JetStream,
    CoreNats,
    Streams,
    PubSub,
}

/// Those that keep what they accepted.
const PERSISTENT: [Kind; 2] = [Kind::JetStream, Kind::Streams];
const ALL: [Kind; 4] = [Kind::JetStream, Kind::CoreNats, Kind::Streams, Kind::PubSub];

impl Kind {
    /// A place of its own on a server.
    fn url(self) -> String {
        static PLACES: AtomicU64 = AtomicU64::new(0);
        let place = format!("cli{}x{}", std::process::id(), PLACES.fetch_add(1, Relaxed));
        match self {
            Self::JetStream => format!("{}/{place}", runtime().block_on(servers::nats())),
            Self::CoreNats => format!("{}/{place}?mode=core", runtime().block_on(servers::nats())),
            Self::Streams => format!("{}?prefix={place}", runtime().block_on(servers::redis())),
            Self::PubSub => format!("{}?prefix={place}&mode=pubsub", runtime().block_on(servers::redis())),
        }
    }
}

fn bus(url: &str) -> Arc<dyn Bus> {
    runtime().block_on(eventbus::connect(url)).unwrap()
}

/// Starts the program and waits until it says on standard error that it listens.
fn listening(arguments: &[&str]) -> Child {
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("waiting for") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "{arguments:?} does not wait");
    }
    // Whatever else it says must find a reader.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    child
}

fn output(mut child: Child) -> (Option<i32>, String) {
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    (child.wait().unwrap().code(), stdout)
}

fn summary(ran: &Ran) -> Value {
    ran.documents().pop().expect("there is a last line")
}

#[test]
fn the_demo_adds_up_on_every_bus() {
    for kind in ALL {
        let url = kind.url();
        let ran = eventbus(&["--url", &url, "--json", "demo"]).exits(0);
        let summary = summary(&ran);
        assert_eq!(summary["adds_up"], true, "{kind:?}: {summary:#}");
        assert!(summary["published"].as_u64().unwrap() > 200, "{kind:?}: {summary:#}");
        if PERSISTENT.contains(&kind) {
            let groups = eventbus(&["--url", &url, "--json", "groups"]).exits(0);
            assert_eq!(groups.stdout, "", "{kind:?}: the demo leaves no groups behind");
            eventbus(&["--url", &url, "dlq", "ls"]).exits(0).complains(&["there are no dead letters"]);
        }
    }
}

#[test]
fn the_demo_says_that_a_server_has_no_jetstream_and_goes_on_without() {
    let server = runtime().block_on(NatsServer::builder().without_jetstream().start());
    let ran = eventbus(&["--url", &server.url(), "--json", "demo"]).exits(0).complains(&["no JetStream", "-js", "core NATS"]);
    assert_eq!(summary(&ran)["adds_up"], true);
    // Whoever asks for something of JetStream does not get something else.
    eventbus(&["--url", &format!("{}?replicas=1", server.url()), "demo"]).exits(2).complains(&["no JetStream"]);
    eventbus(&["--url", &server.url(), "pub", "a", "1"]).exits(2).complains(&["no JetStream"]);
}

#[test]
fn what_one_process_publishes_another_prints() {
    for kind in ALL {
        let url = kind.url();
        let subscriber = listening(&["--url", &url, "--json", "sub", "order.*", "--count", "2", "--timeout", "30s"]);
        for (event_type, data) in [("order.placed", "{\"price\":1.10}"), ("invoice.sent", "1"), ("order.paid", "\"größe\"")] {
            eventbus(&["--url", &url, "pub", event_type, data, "--source", "/shop", "--subject", "s 1"]).exits(0);
        }
        let (code, printed) = output(subscriber);
        assert_eq!(code, Some(0), "{kind:?}: {printed}");
        let printed: Vec<&str> = printed.lines().collect();
        assert_eq!(printed.len(), 2, "{kind:?}: {printed:?}");
        assert!(printed[0].contains(r#""data":{"price":1.10}"#) && printed[0].contains(r#""subject":"s 1""#), "{kind:?}: {}", printed[0]);
        assert!(printed[1].contains(r#""data":"größe""#), "{kind:?}: {}", printed[1]);
    }
}

#[test]
fn a_group_of_processes_resumes_where_it_stopped() {
    for kind in PERSISTENT {
        let url = kind.url();
        let group = |count: &str| {
            let ran = eventbus(&[
                "--url",
                &url,
                "--json",
                "sub",
                ">",
                "--group",
                "g",
                "--from",
                "earliest",
                "--count",
                count,
                "--timeout",
                "30s",
            ]);
            let ran = ran.exits(0);
            ran.documents().iter().map(|event| event["data"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        for number in 0..5 {
            eventbus(&["--url", &url, "pub", "a", &number.to_string()]).exits(0);
        }
        assert_eq!(group("2"), [0, 1], "{kind:?}");
        let groups = eventbus(&["--url", &url, "--json", "groups"]).exits(0).documents();
        assert_eq!((&groups[0]["name"], &groups[0]["lag"]), (&"g".into(), &3.into()), "{kind:?}");
        if kind == Kind::Streams {
            // JetStream counts what was given back as being in flight until somebody else has it.
            assert_eq!(groups[0]["in_flight"], 0);
        }
        assert!(groups[0]["oldest_unacknowledged_ms"].is_u64(), "{kind:?}: {groups:?}");
        assert_eq!(group("3"), [2, 3, 4], "{kind:?}");
        let groups = eventbus(&["--url", &url, "--json", "groups"]).exits(0).documents();
        assert_eq!((groups.len(), &groups[0]["lag"]), (1, &0.into()), "{kind:?}");
        eventbus(&["--url", &url, "groups", "--delete", "g"]).exits(0);
        eventbus(&["--url", &url, "groups", "--delete", "g"]).exits(1).complains(&["\"g\""]);
    }
}

#[test]
fn replay_begins_where_it_is_told() {
    for kind in PERSISTENT {
        let url = kind.url();
        let input = tempfile::NamedTempFile::new().unwrap();
        let lines: String = (0..100).map(|number| format!("{{\"type\":\"a\",\"source\":\"/s\",\"data\":{number}}}\n")).collect();
        std::fs::write(input.path(), lines).unwrap();
        eventbus(&["--url", &url, "pub", "--file", input.path().to_str().unwrap()]).exits(0).says(&["100"]);
        let from = |start: &str| {
            let ran = eventbus(&["--url", &url, "--json", "sub", "a", "--from", start, "--timeout", "1s"]).exits(0);
            ran.documents().iter().map(|event| event["data"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(from("earliest"), (0..100).collect::<Vec<_>>(), "{kind:?}");
        assert_eq!(from("2020-01-01T00:00:00Z").len(), 100, "{kind:?}");
        if kind == Kind::JetStream {
            assert_eq!(from("91"), (90..100).collect::<Vec<_>>(), "{kind:?}");
        }
    }
}

#[test]
fn requests_are_answered_by_other_processes() {
    for kind in ALL {
        let url = kind.url();
        let responders = bus(&url);
        runtime().block_on(async {
            for name in ["eu", "us"] {
                responders.respond("price.ask", name, move |event: Event| async move { format!("{name}:{}", event.id()) }).await.unwrap();
            }
        });
        let asked = eventbus(&["--url", &url, "--json", "request", "price.ask", "1", "--expect", "eu,us", "--timeout", "20s"]).exits(0);
        let replies = asked.documents().remove(0);
        assert_eq!(replies["replies"].as_array().map(Vec::len), Some(2), "{kind:?}: {replies:#}");
        let asked = ["--url", &url, "request", "price.ask", "1", "--expect", "eu,mars", "--timeout", "500ms"];
        eventbus(&asked).exits(3).complains(&["mars"]);
        runtime().block_on(responders.close()).unwrap();
    }
}

#[test]
fn dead_letters_are_listed_shown_redriven_and_dropped() {
    for kind in PERSISTENT {
        let url = kind.url();
        let broken = bus(&url);
        let member = || Subscribe::to("order.*").group("billing");
        runtime().block_on(async {
            broken.on(member(), |_: Event| async { Err::<(), _>(HandlerError::reject("no such card")) }).await.unwrap();
            for (id, event_type) in [("e-1", "order.placed"), ("e-2", "order.paid"), ("e-3", "order.placed")] {
                broken.publish(Event::builder(event_type).id(id).source("/shop").json_text("1.10").build().unwrap()).await.unwrap();
            }
            eventbus_testing::settle(&*broken, Duration::from_secs(30)).await.unwrap();
            broken.close().await.unwrap();
        });
        let ls = |arguments: &[&str]| {
            let all = [&["--url", &url, "--json", "dlq", "ls"], arguments].concat();
            eventbus(&all).exits(0).documents().len()
        };
        assert_eq!((ls(&[]), ls(&["--type", "order.placed"]), ls(&["--limit", "1"])), (3, 2, 1), "{kind:?}");
        eventbus(&["--url", &url, "dlq", "show", "e-2"]).exits(0).says(&["e-2", "no such card", "billing", "rejected"]);
        eventbus(&["--url", &url, "dlq", "redrive", "--type", "order.placed", "--dry-run"]).exits(0);
        assert_eq!(ls(&[]), 3, "{kind:?}: a dry run changes nothing");
        eventbus(&["--url", &url, "dlq", "redrive", "--type", "order.placed"]).exits(0).says(&["2"]);
        let redriven = eventbus(&["--url", &url, "--json", "sub", "order.*", "--group", "billing", "--count", "2", "--timeout", "30s"]);
        let ids: Vec<_> = redriven.exits(0).documents().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, ["e-1", "e-3"], "{kind:?}: as if for the first time, ids unchanged");
        assert_eq!(ls(&[]), 1, "{kind:?}");
        eventbus(&["--url", &url, "dlq", "drop"]).exits(0);
        assert_eq!(ls(&[]), 0, "{kind:?}");
    }
}

#[test]
fn the_doctor_names_the_server_and_what_can_be_lost() {
    for kind in ALL {
        let url = kind.url();
        let found = eventbus(&["--url", &url, "--json", "doctor"]).exits(0).documents().remove(0);
        let server = found["server"].as_str().unwrap_or_default().to_lowercase();
        let expected = if matches!(kind, Kind::JetStream | Kind::CoreNats) { ["nats", "nats"] } else { ["redis", "valkey"] };
        assert!(expected.iter().any(|name| server.contains(name)) && server.chars().any(|c| c.is_ascii_digit()), "{kind:?}: {server}");
        assert!(found["round_trip"]["median_us"].as_f64().unwrap() > 0.0, "{kind:?}");
        let wrong = found["wrong"].as_array().unwrap();
        assert!(!wrong.is_empty(), "{kind:?}: every server that tests start can lose something");
    }
}

#[test]
fn the_bench_measures_every_bus() {
    for kind in ALL {
        let url = kind.url();
        eventbus(&["--url", &url, "--json", "bench", "--count", "2000", "--subscribers", "2"]).exits(0);
    }
}

#[test]
fn what_a_bus_cannot_do_is_told_as_wrong_usage() {
    for kind in [Kind::CoreNats, Kind::PubSub] {
        let url = kind.url();
        eventbus(&["--url", &url, "sub", "a", "--from", "earliest"]).exits(2).complains(&["Start::Earliest", "not supported"]);
        eventbus(&["--url", &url, "dlq", "ls"]).exits(2).complains(&["not supported"]);
    }
}

#[test]
fn a_server_that_is_not_there_is_told_in_time_and_without_secrets() {
    for url in ["nats://u:hunter2@127.0.0.1:1?connect_timeout=1s", "redis://u:hunter2@127.0.0.1:1?connect_timeout=1s"] {
        let begun = std::time::Instant::now();
        let ran = eventbus(&["--url", url, "pub", "a", "1"]).exits(1);
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
    }
    for url in ["nats://127.0.0.1:1?mod=core", "redis://127.0.0.1:1?partition=2"] {
        eventbus(&["--url", url, "pub", "a", "1"])
            .exits(2)
            .complains(&["mod", "partition"].map(|name| if url.contains(name) { name } else { "" }));
    }
}
