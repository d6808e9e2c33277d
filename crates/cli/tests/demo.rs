//! The demo, on the bus of the process and on one that sends everything through the codec.

mod common;

use common::{Ran, data, eventbus, eventbus_with};
use serde_json::Value;
use std::path::PathBuf;

/// The last line of a demo for programs.
fn summary(ran: &Ran) -> Value {
    let summary = ran.documents().pop().expect("there is a last line");
    assert_eq!(summary["what"], "summary");
    summary
}

fn service<'a>(summary: &'a Value, name: &str) -> &'a Value {
    let services = summary["services"].as_array().unwrap();
    services.iter().find(|service| service["service"] == name).unwrap_or_else(|| panic!("{name} is not in {summary:#}"))
}

#[test]
fn the_shop_adds_up_and_every_run_comes_to_the_same_figures() {
    for url in ["memory:", "memory:?strict=true"] {
        let ran = eventbus(&["demo", "--json", "--url", url]).exits(0);
        let summary = summary(&ran);
        assert_eq!((&summary["adds_up"], &summary["published"]), (&true.into(), &237.into()), "{summary:#}");
        assert_eq!((&summary["types"]["order.placed"], &summary["types"]["order.shipped"]), (&80.into(), &76.into()));
        let figures = ["published", "handled", "dead_lettered", "retried", "redriven"];
        let of = |name| figures.map(|figure| service(&summary, name)[figure].as_u64().unwrap());
        assert_eq!(of("billing"), [80, 76, 4, 22, 2]);
        assert_eq!(of("shipping"), [76, 76, 0, 3, 0]);
        assert_eq!(of("mail"), [232, 232, 0, 3, 0]);
        assert_eq!(of("audit"), [237, 237, 0, 0, 0]);
        assert_eq!((&summary["answered"], summary["asked"].as_array().unwrap().len()), (&5.into(), 5));
        assert_eq!(summary["asked"][4]["missing"][0], "airship");
    }
}

#[test]
fn what_the_summary_says_is_what_was_seen_to_happen() {
    let ran = eventbus(&["demo", "--json"]).exits(0);
    let documents = ran.documents();
    let count = |what: &str, service: Option<&str>| {
        documents.iter().filter(|document| document["what"] == what && service.is_none_or(|name| document["service"] == name)).count()
            as u64
    };
    let summary = summary(&ran);
    let billing = service(&summary, "billing");
    assert_eq!(count("published", None), summary["published"].as_u64().unwrap());
    assert_eq!(count("handled", Some("billing")), billing["handled"].as_u64().unwrap());
    assert_eq!(count("retried", Some("billing")), billing["retried"].as_u64().unwrap());
    // Two were given up twice over: once for good, and once until they were redriven.
    assert_eq!(count("dead_lettered", Some("billing")), billing["dead_lettered"].as_u64().unwrap() + billing["redriven"].as_u64().unwrap());
    assert_eq!(count("redriven", Some("billing")), 2);
    assert_eq!(count("asked", None), 5);
}

#[test]
fn the_summary_is_readable() {
    let ran = eventbus(&["demo"]).exits(0).says(&[
        "SERVICE",
        "✓ 80 = 76 + 4",
        "it adds up",
        "5 of 5 requests answered",
        "no reply in time: airship",
    ]);
    ran.says(&[
        "retry       billing: order.placed o-003, attempt 1 failed: the card network timed out",
        "the bank opens: 2 dead letters are redriven",
    ]);
}

#[test]
fn the_events_of_a_file_drive_it() {
    let orders = data("orders.ndjson");
    let ran = eventbus(&["demo", "--input", &orders, "--json"]).exits(0);
    let summary = summary(&ran);
    assert_eq!((&summary["input"]["events"], &summary["input"]["bad_lines"], &summary["published"]), (&5.into(), &0.into(), &5.into()));
    for name in ["archive", "index", "notify"] {
        assert_eq!((&service(&summary, name)["handled"], &service(&summary, name)["published"]), (&5.into(), &5.into()));
    }
    assert!(ran.documents().iter().any(|document| document["what"] == "published" && document["id"] == "e-1"), "ids are those of the file");
    eventbus(&["demo", "--input", &orders, "--rate", "100"]).exits(0).says(&["5 events of", "archive-desk 5, index-desk 5, notify-desk 5"]);
    let text = std::fs::read_to_string(&orders).unwrap();
    eventbus_with(&text, &["demo", "--input", "-"]).exits(0).says(&["5 events of standard input published"]);
}

#[test]
fn a_bad_line_is_reported_with_its_number_and_costs_no_other() {
    let bad = data("with_bad_lines.ndjson");
    let ran = eventbus(&["demo", "--input", &bad]).exits(2).says(&["3 events of", "3 bad lines left out", "it adds up"]);
    ran.complains(&["line 2: attribute 'type'", "order placed", "line 4: not JSON", "line 5: attribute 'source': it is required"]);
    let ran = eventbus(&["demo", "--input", &bad, "--json"]).exits(2);
    let documents = ran.documents();
    let lines: Vec<_> =
        documents.iter().filter(|document| document["what"] == "bad_line").map(|document| document["line"].clone()).collect();
    assert_eq!(lines, [2, 4, 5]);
}

#[test]
fn an_input_that_cannot_be_used_is_invalid() {
    eventbus(&["demo", "--input", "/nowhere.ndjson"]).exits(2).complains(&["/nowhere.ndjson", "cannot be read"]);
    eventbus_with("\n", &["demo", "--input", "-"]).exits(2).says(&["0 events of standard input"]);
    let ran = eventbus(&["demo", "--input", &data("orders.ndjson"), "--url", "memory:?max_payload=20"]).exits(2);
    ran.complains(&["line 3: a payload of ", "over the limit of 20 bytes"]);
}

#[test]
fn what_does_not_add_up_is_a_failure() {
    // Three events are to be given up and handled later, but the bus has room for two dead letters only.
    let lines: String = (1..=60).map(|number| format!("{{\"type\":\"a\",\"subject\":\"{number}\"}}\n")).collect();
    let ran = eventbus_with(&lines, &["demo", "--input", "-", "--url", "memory:?max_dead_letters=2"]).exits(1);
    ran.says(&["✗ it does not add up", "how many events have you handled?: 60 were published", "notify-desk 59"]);
}

#[test]
fn real_webhooks_are_all_handled() {
    let webhooks = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/github-webhooks.ndjson");
    if !webhooks.exists() {
        common::skipped("real_webhooks_are_all_handled", &format!("there is no {}", webhooks.display()));
        return;
    }
    let path = webhooks.to_str().unwrap();
    for url in ["memory:", "memory:?strict=true"] {
        let ran = eventbus(&["demo", "--input", path, "--url", url]).exits(0);
        ran.says(&["329 events of", "✓ 329 = 329 + 0", "archive-desk 329, index-desk 329, notify-desk 329"]);
        let ran = eventbus(&["demo", "--input", path, "--url", url, "--json"]).exits(0);
        let summary = summary(&ran);
        assert_eq!(
            (&summary["input"]["events"], &summary["input"]["bad_lines"], &summary["published"]),
            (&329.into(), &0.into(), &329.into())
        );
        for name in ["archive", "index", "notify"] {
            assert_eq!((&service(&summary, name)["handled"], &service(&summary, name)["dead_lettered"]), (&329.into(), &0.into()));
        }
    }
}

#[cfg(unix)]
#[test]
fn on_a_terminal_the_demo_takes_the_screen_and_gives_it_back() {
    // `script` runs a command on a terminal of its own.
    let line = format!("stty rows 30 cols 100; {} demo --rate 400; echo exit $?; stty -a", env!("CARGO_BIN_EXE_eventbus"));
    let ran = std::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::null())
        .output();
    let Ok(output) = ran else {
        common::skipped("on_a_terminal_the_demo_takes_the_screen_and_gives_it_back", "it needs the program `script` of util-linux");
        return;
    };
    let shown = String::from_utf8_lossy(&output.stdout);
    let place = |part: &str| shown.find(part).unwrap_or_else(|| panic!("{part:?} is missing in {shown}"));
    let (taken, drawn, given_back, summary) = (place("\u{1b}[?1049h"), place("Handlers"), place("\u{1b}[?1049l"), place("it adds up"));
    assert!(taken < drawn && drawn < given_back && given_back < summary, "{shown}");
    for part in ["exit 0", " icanon", " echo "] {
        place(part);
    }
}
