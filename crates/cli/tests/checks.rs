//! `validate`, `doctor` and `bench`.

mod common;

use common::{data, eventbus, eventbus_with};

const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","data":{"price":1.10}}"#;
const CANONICAL: &str =
    r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","datacontenttype":"application/json","data":{"price":1.10}}"#;

#[test]
fn one_event_a_batch_and_lines_are_valid() {
    for (text, count) in [
        (EVENT.to_owned(), 1),
        (EVENT.replace(',', ",\n  "), 1),
        (format!("[{EVENT},\n{EVENT}]"), 2),
        (format!("{EVENT}\n\n{EVENT}\n{EVENT}\n"), 3),
    ] {
        eventbus_with(&text, &["validate"]).exits(0).says(&[&format!("{count} valid event")]);
        let ran = eventbus_with(&text, &["validate", "-", "--json"]).exits(0);
        assert_eq!(ran.stdout, format!("{CANONICAL}\n").repeat(count), "{text}");
    }
}

#[test]
fn what_is_invalid_is_named_by_line_attribute_and_rule() {
    let ran = eventbus(&["validate", &data("with_bad_lines.ndjson")]).exits(2).says(&["0 valid events, 6 invalid"]);
    ran.complains(&["line 1: attribute 'specversion': it is required", "line 4: not JSON", "line 5: attribute 'source': it is required"]);
    for (member, parts) in [
        (r#""time":"yesterday""#, ["'time'", "RFC 3339"]),
        (r#""subject":"""#, ["'subject'", "must not be empty"]),
        (r#""dataschema":"/relative""#, ["'dataschema'", "absolute URI"]),
        (r#""MyName":"x""#, ["MyName", "a-z"]),
        (r#""count":2147483648"#, ["'count'", "32-bit"]),
        (r#""data_base64":"AA==""#, ["'data_base64'", "beside 'data'"]),
        (r#""id":"2""#, ["'id'", "twice"]),
    ] {
        let text = format!("{EVENT}\n{}", EVENT.replacen('{', &format!("{{{member},"), 1));
        eventbus_with(&text, &["validate"]).exits(2).complains(&["standard input: line 2: "]).complains(&parts);
    }
}

#[test]
fn the_valid_events_are_printed_though_others_are_not() {
    let ran = eventbus_with(&format!("[{EVENT},\n7,\n{EVENT}]"), &["validate", "--json"]).exits(2);
    assert_eq!(ran.stdout, format!("{CANONICAL}\n").repeat(2));
    ran.complains(&["line 2: event 2 of the batch: "]);
}

#[test]
fn what_is_no_input_is_invalid() {
    eventbus_with("", &["validate"]).exits(2).complains(&["no event"]);
    eventbus_with("{\"id\":", &["validate"]).exits(2).complains(&["line 1: not JSON"]);
    eventbus(&["validate", "/nowhere.json"]).exits(2).complains(&["/nowhere.json", "cannot be read"]);
}

#[test]
fn the_doctor_says_what_the_bus_can_do() {
    let ran = eventbus(&["doctor"]).exits(0);
    ran.says(&[
        "in this process",
        "connected",
        "round trip",
        "yes  durable groups",
        "no   events outlive the process",
        "nothing looks wrong",
    ]);
    let ran = eventbus(&["doctor", "--json"]).exits(0);
    let shown = &ran.documents()[0];
    assert_eq!((&shown["backend"], &shown["state"]), (&"memory".into(), &"connected".into()));
    assert_eq!((&shown["capabilities"]["groups"], &shown["capabilities"]["persistent"]), (&true.into(), &false.into()));
    assert!(shown["round_trip"]["median_us"].as_f64().unwrap() > 0.0, "{shown:#}");
}

#[test]
fn a_bus_that_holds_everything_back_does_not_pass_the_doctor() {
    // Nothing that is published comes back before a start that nobody gives.
    eventbus(&["doctor", "--url", "memory:?hold=1"]).exits(1).complains(&["did not come back"]);
}

#[test]
fn a_measurement_counts_every_delivery() {
    let line = ["bench", "--count", "3000", "--size", "200", "--publishers", "2", "--subscribers", "3"];
    eventbus(&line).exits(0).says(&[
        "3000 events of 200 bytes, 2 publishers, 3 subscribers",
        "9000 of 9000, each once",
        "p99.9",
        "events/s",
    ]);
    let ran = eventbus(&[&line[..], &["--json"]].concat()).exits(0);
    let shown = &ran.documents()[0];
    assert_eq!((&shown["delivered"], &shown["each_once"], &shown["missing"]), (&9000.into(), &true.into(), &0.into()));
    let latency = |name: &str| shown["latency_us"][name].as_f64().unwrap();
    assert!(0.0 < latency("p50") && latency("p50") <= latency("p99") && latency("p99") <= latency("p99.9"), "{shown:#}");
}
