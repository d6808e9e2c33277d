//! What every command keeps: exit codes, output for programs and for people, pipes, colours, secrets.

mod common;

use common::{command, data, eventbus, eventbus_with};
use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Stdio},
};

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What is indented further belongs to the line before it.
    let lines = lines.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

#[test]
fn help_and_version_are_results() {
    let help = eventbus(&["--help"]).exits(0).says(&["Exit codes: 0 done, 1 failed, 2 wrong usage", "EVENTBUS_URL"]);
    let expected = ["demo", "pub", "sub", "request", "dlq", "groups", "validate", "doctor", "bench", "completions"];
    assert_eq!(commands(&help.stdout), expected);
    eventbus(&["--version"]).exits(0).says(&[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn every_command_explains_itself_with_examples() {
    let (mut open, mut seen) = (vec![Vec::<String>::new()], Vec::new());
    while let Some(path) = open.pop() {
        let line: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = eventbus(&line).exits(0).says(&["Usage: eventbus", "Examples:\n  eventbus "]);
        open.extend(commands(&help.stdout).into_iter().map(|name| [&path[..], &[name.to_owned()]].concat()));
        seen.push(path.join(" "));
    }
    for nested in ["dlq ls", "dlq show", "dlq redrive", "dlq drop"] {
        assert!(seen.iter().any(|path| path == nested), "{nested} is not among {seen:?}");
    }
}

#[test]
fn wrong_usage_names_the_option_the_value_and_the_rule() {
    eventbus(&[]).exits(2).complains(&["Usage: eventbus"]);
    eventbus(&["dmeo"]).exits(2).complains(&["dmeo", "demo"]);
    eventbus(&["demo", "--rate", "fast"]).exits(2).complains(&["--rate", "fast", "events per second"]);
    eventbus(&["sub", "a..b"]).exits(2).complains(&["PATTERN", "a..b"]);
    eventbus(&["sub", ">", "--from", "yesterday"]).exits(2).complains(&["--from", "yesterday", "RFC 3339"]);
    eventbus(&["sub", ">", "--timeout", "5"]).exits(2).complains(&["--timeout", "'5'", "500ms"]);
    eventbus(&["pub", "no type", "1"]).exits(2).complains(&["TYPE", "no type", "tokens"]);
    eventbus(&["bench", "--size", "1"]).exits(2).complains(&["--size", "1", "64"]);
    eventbus(&["completions", "cmd"]).exits(2).complains(&["cmd", "bash", "zsh", "fish"]);
}

#[test]
fn a_url_that_is_wrong_is_named_without_its_secrets() {
    eventbus(&["doctor", "--url", "memory:?strikt=true"]).exits(2).complains(&["strikt", "strict"]);
    eventbus(&["doctor", "--url", "memory:?strict=perhaps"]).exits(2).complains(&["strict", "perhaps"]);
    for url in ["carrier-pigeon://user:hunter2@coop", "memory://user:hunter2@host"] {
        let ran = eventbus(&["doctor", "--url", url]).exits(2);
        assert!(!ran.stderr.contains("hunter2") && ran.stdout.is_empty(), "{ran:#?}");
    }
}

#[test]
fn the_url_also_comes_from_the_environment() {
    let output = command(&["doctor"]).env("EVENTBUS_URL", "memory:?strikt=true").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = command(&["doctor", "--url", "memory:"]).env("EVENTBUS_URL", "memory:?strikt=true").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "the option comes first");
}

#[test]
fn there_are_completions_for_the_usual_shells() {
    for (shell, part) in [("bash", "_eventbus"), ("zsh", "#compdef eventbus"), ("fish", "complete -c eventbus"), ("powershell", "eventbus")]
    {
        eventbus(&["completions", shell]).exits(0).says(&[part, "redrive"]);
    }
}

#[test]
fn what_is_piped_has_no_colours() {
    let orders = data("orders.ndjson");
    for line in [&["demo", "--input", &orders][..], &["doctor"], &["validate", &orders], &["sub", ">", "--timeout", "1ms"], &["dmeo"]] {
        let ran = eventbus(line);
        assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{ran:#?}");
    }
}

#[test]
fn notes_can_be_turned_off() {
    let ran = eventbus(&["bench", "--count", "10", "--quiet"]).exits(0);
    assert!(!ran.stderr.contains("publishing"), "{ran:#?}");
    eventbus(&["bench", "--count", "10"]).exits(0).complains(&["publishing 10 events"]);
    eventbus(&["--quiet", "--verbose", "doctor"]).exits(2);
}

fn spawned(arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    for line in [&["demo", "--json"][..], &["demo", "--rate", "50"], &["completions", "bash"], &["--help"]] {
        let (mut child, mut stdout) = spawned(line);
        stdout.read_line(&mut String::new()).unwrap();
        drop(stdout);
        let said = stderr(&mut child);
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""), "{line:?}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_demo_finishes_what_it_began_and_prints_its_summary() {
    let (mut child, mut stdout) = spawned(&["demo", "--rate", "20"]);
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    let signalled = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let said = stderr(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}{said}");
    for part in ["ended early", "it adds up"] {
        assert!(rest.contains(part), "{part}: {rest}");
    }
    assert!(said.contains("interrupted"), "{said}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_subscriber_exits_with_130() {
    let (mut child, _stdout) = spawned(&["sub", ">"]);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("waiting for") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it does not wait");
    }
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_bus_of_one_process_is_explained_and_used_all_the_same() {
    let explained = &["memory:", "its own process", "--url", "EVENTBUS_URL", "eventbus demo"];
    eventbus(&["pub", "order.placed", "{\"total\":1.10}", "--id", "e-1"]).exits(0).says(&["e-1\n"]).complains(explained);
    eventbus(&["sub", ">", "--timeout", "10ms"]).exits(3).complains(explained).complains(&["no event arrived in time"]);
    let asked = eventbus(&["request", "price.ask", "1", "--expect", "eu,us", "--timeout", "10ms"]).exits(3);
    asked.complains(explained).complains(&["0 of at least 2 replies", "missing: eu, us"]);
    eventbus(&["groups"]).exits(0).complains(explained).complains(&["there are no groups"]);
    eventbus(&["dlq", "ls"]).exits(0).complains(explained).complains(&["there are no dead letters"]);
    eventbus(&["dlq", "redrive"]).exits(0).says(&["redriven 0 dead letters"]);
    eventbus(&["dlq", "show", "e-1"]).exits(1).complains(&["e-1"]);
    eventbus(&["dlq", "drop", "--dry-run", "--json"]).exits(0);
}

#[test]
fn results_for_programs_are_json() {
    let published = eventbus(&["--json", "pub", "order.placed", "{\"total\": 1.10}", "--id", "e-1", "--attr", "region=eu"]).exits(0);
    assert_eq!((&published.documents()[0]["id"], &published.documents()[0]["region"]), (&"e-1".into(), &"eu".into()));
    assert!(published.stdout.contains(r#""data":{"total":1.10}"#), "numbers keep their digits: {published:#?}");
    let asked = eventbus(&["--json", "request", "a", "--expect", "b", "--timeout", "10ms"]).exits(3);
    assert_eq!(asked.documents()[0]["missing"][0], "b");
    assert_eq!(eventbus(&["--json", "groups"]).exits(0).stdout, "");
    assert_eq!(eventbus(&["--json", "dlq", "drop"]).exits(0).documents()[0]["dropped"], 0);
}

#[test]
fn what_is_published_is_checked_first() {
    eventbus(&["pub", "a", "hello"]).exits(2).complains(&["DATA", "hello", "JSON"]);
    eventbus(&["pub", "a", "1", "--source", "no uri"]).exits(2).complains(&["'source'", "no uri", "URI-reference"]);
    eventbus(&["pub", "a", "1", "--attr", "Region=eu"]).exits(2).complains(&["Region", "a-z"]);
    eventbus(&["pub", "a", "1", "--attr", "region"]).exits(2).complains(&["--attr", "region", "name=value"]);
    eventbus(&["pub", "a", "\"123456\"", "--url", "memory:?max_payload=3"]).exits(2).complains(&["8 bytes", "limit of 3"]);
    let given = eventbus_with("{\"at\": 9}\n", &["pub", "a", "-", "--json"]).exits(0);
    assert_eq!(given.documents()[0]["data"]["at"], 9);
}

#[test]
fn a_file_is_published_line_by_line_and_its_bad_lines_are_reported() {
    eventbus(&["pub", "--file", &data("orders.ndjson")]).exits(0).says(&["published 5 events"]);
    let bad = data("with_bad_lines.ndjson");
    let ran = eventbus(&["pub", "--file", &bad]).exits(2).says(&["published 3 events, skipped 3 lines"]);
    ran.complains(&["line 2: attribute 'type'", "line 4: not JSON", "line 5: attribute 'source'"]);
    eventbus(&["pub", "--file", &bad, "--strict", "--json"]).exits(2).says(&["{\"published\":1,\"skipped\":0}"]).complains(&["line 2"]);
    eventbus(&["pub", "--file", "/nowhere.ndjson"]).exits(2).complains(&["/nowhere.ndjson", "cannot be read"]);
}
