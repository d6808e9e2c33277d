//! Trials that take too long for a test: minutes of steady traffic through a server that is restarted again and again, and very much at once.
//!
//! `cargo xtask soak` runs it. What it prints is what the reliability of a backend is stated with.

mod backlog;
mod crowd;
mod findings;
mod ledger;
mod memory;
mod options;
mod report;
mod server;
mod traffic;

use self::{
    findings::Findings,
    memory::Samples,
    options::{Backend, Options, Trial, USAGE},
    report::Report,
    server::Server,
    traffic::Traffic,
};
use eventbus::{Error, ErrorKind, ErrorStream};
use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    time::{interval, interval_at, sleep},
};

/// How often memory is measured, and whether something is left is looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// How long what is left at the end may take.
const DRAIN: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(fault) => {
            eprintln!("soak: {fault}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut found_all: Vec<Findings> = Vec::new();
    for &backend in &options.backends {
        let found = match options.trial {
            Trial::Restarts => soak(backend, &options).await.map(Report::findings),
            Trial::Backlog(events) => backlog::run(backend, events).await,
            Trial::Crowd(subscriptions) => crowd::run(backend, subscriptions).await,
        };
        match found {
            Ok(findings) => found_all.push(findings),
            Err(error) => {
                eprintln!("soak: {backend:?}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    for findings in &found_all {
        println!("\n{findings}");
    }
    if found_all.iter().all(|findings| findings.faults.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Soaks one backend.
async fn soak(backend: Backend, options: &Options) -> Result<Report, Error> {
    let server = Server::start(backend).await;
    let bus = eventbus::connect(&server.url(server::FEW)).await?;
    let name = bus.health().await?.server.unwrap_or_else(|| "memory".to_owned());
    eprintln!("{name}: {} events each second for {:.1} minutes", options.rate, options.length.as_secs_f64() / 60.0);
    tokio::spawn(tell_failures(bus.errors()));
    let traffic = Arc::new(Traffic::new(options.events(), options.failing));
    let subscription = traffic.subscribe(&bus).await?;

    let since = Instant::now();
    let (over, ended) = watch::channel(false);
    let publishing = async {
        let published = traffic.publish(&bus, options.rate).await;
        over.send_replace(true);
        published
    };
    let seconds = options.length.as_secs() as usize + 1;
    let (published, (own, theirs), restarts) =
        tokio::join!(publishing, measure(&traffic, &server, seconds, ended.clone()), disturb(&server, options.restart_every, ended));
    published?;
    let length = since.elapsed();

    // The last restart may have been a moment ago.
    let drained = Instant::now();
    let stats = loop {
        let (stats, is_late) = (bus.stats().await, drained.elapsed() > DRAIN);
        if is_late || (stats.is_ok() && traffic.ledger.judge().lost == 0) {
            break stats?;
        }
        sleep(SAMPLE).await;
    };
    subscription.close().await?;
    bus.close().await?;
    let (stopped, killed) = restarts;
    Ok(Report {
        server: name,
        length,
        stopped,
        killed,
        published: traffic.begun(),
        failed: traffic.failed.load(SeqCst),
        refused: traffic.refused.load(SeqCst),
        dead_letters: stats.dead_letters,
        slowest: Duration::from_millis(traffic.slowest.load(SeqCst)),
        judgement: traffic.ledger.judge(),
        own_memory: own.trend(),
        server_memory: theirs.trend(),
    })
}

/// Says what fails in the background, but for what fails on purpose.
async fn tell_failures(mut failures: ErrorStream) {
    while let Some(failure) = failures.next().await {
        if failure.kind() != ErrorKind::Handler {
            eprintln!("the bus says: {failure}");
        }
    }
}

/// Measures the memory of this process and of the server, and says now and then how it goes.
async fn measure(traffic: &Traffic, server: &Server, seconds: usize, mut ended: watch::Receiver<bool>) -> (Samples, Samples) {
    let (mut own, mut theirs) = (Samples::with_capacity(seconds), Samples::with_capacity(seconds));
    let mut ticks = interval(SAMPLE);
    for second in 0_u64.. {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => break,
            _ = ticks.tick() => {}
        }
        let (here, there) = (memory::own(), server.memory());
        own.take(here);
        theirs.take(there);
        if second % 10 == 0 {
            let (judgement, here, there) = (traffic.ledger.judge(), here >> 20, there >> 20);
            eprintln!(
                "{second:>5} s: {} acknowledged, {} waiting, {} handled twice; {here} MiB here, {there} MiB at the server",
                judgement.acknowledged, judgement.lost, judgement.duplicates
            );
        }
    }
    (own, theirs)
}

/// Restarts the server, gracefully and by SIGKILL in turn. Returns how often each.
async fn disturb(server: &Server, every: Duration, mut ended: watch::Receiver<bool>) -> (u32, u32) {
    let (mut stopped, mut killed) = (0, 0);
    let mut ticks = interval_at(tokio::time::Instant::now() + every / 2, every);
    while server.can_restart() {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => break,
            _ = ticks.tick() => {}
        }
        if stopped == killed {
            eprintln!("the server is stopped");
            server.restart().await;
            stopped += 1;
        } else {
            eprintln!("the server is killed");
            server.crash().await;
            killed += 1;
        }
        eprintln!("the server is back");
    }
    (stopped, killed)
}
