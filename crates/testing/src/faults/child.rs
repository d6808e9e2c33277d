//! Processes of their own, which can be killed.

use super::{
    fixture::{Breakable, Terms},
    run::PATIENCE,
};
use eventbus_core::{Bus, Event, Ordering, Retry, Subscribe, async_trait};
use eventbus_core::{Context, Handler, HandlerError};
use std::{
    io::Write as _,
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::ChildStdout,
};

/// Says to a process that it is a child, and which part it has.
const PART: &str = "EVENTBUS_TEST_PART";
/// Where its lines begin, among whatever else a test prints.
const MARK: &str = "child: ";

/// A process that runs the test binary again.
pub(super) struct Child {
    process: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub(super) fn start(test: &str, part: &str, address: SocketAddr, terms: &Terms) -> Self {
        // The name of a test does not begin with that of its crate.
        let test = test.split_once("::").map_or(test, |(_, rest)| rest);
        let program = std::env::current_exe().expect("a test knows its own program");
        let lease = terms.lease.as_millis();
        let mut process = tokio::process::Command::new(program)
            .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(PART, format!("{part} {address} {} {lease}", terms.name))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the test program can be run again");
        let output = process.stdout.take().expect("its output is piped");
        Self { process, lines: BufReader::new(output).lines() }
    }

    /// Waits until the child has said so much, so many times.
    pub(super) async fn until_said(&mut self, what: &str, times: usize) {
        let said = async {
            let mut count = 0;
            while count < times {
                let line = self.lines.next_line().await.expect("its output can be read");
                let line = line.unwrap_or_else(|| panic!("the child ended when it had said {what:?} {count} times"));
                // The first line stands behind the name of the test.
                count += usize::from(line.split_once(MARK).is_some_and(|(_, said)| said == what));
            }
        };
        tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("the child did not say {what:?} {times} times"));
    }

    /// Kills the process, as `kill -9` does.
    pub(super) async fn kill(mut self) -> ExitStatus {
        self.process.start_kill().expect("a process can be killed");
        self.ended().await
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.process.wait()).await.expect("it ends").expect("it can be waited for")
    }
}

/// Plays the part of a child process. Anywhere else it does nothing.
pub fn play(fixture: &impl Breakable) {
    let Ok(asked) = std::env::var(PART) else { return };
    let words: Vec<_> = asked.split(' ').collect();
    let [part, address, name, lease] = words[..] else { panic!("{asked:?} is no part") };
    let mut terms = Terms::new(name.to_owned());
    terms.lease = Duration::from_millis(lease.parse().expect("the lease is a number"));
    let address = address.parse().expect("the address is one");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let bus = fixture.connect(address, &terms).await.expect("the server of the parent answers");
        let member = Subscribe::to("a").group("g").concurrency(1000).ordering(Ordering::Unordered);
        match part {
            "hold" => subscribe(&bus, member, Holds).await,
            "crash" => subscribe(&bus, member.retry(crashes()), Crashes).await,
            other => panic!("there is no part {other:?}"),
        }
        say("ready");
        std::future::pending::<()>().await;
    });
}

/// The retries of a group whose members crash.
pub(super) fn crashes() -> Retry {
    Retry::fixed(Duration::from_millis(10)).max_attempts(2)
}

async fn subscribe(bus: &Arc<dyn Bus>, subscribe: Subscribe, handler: impl Handler) {
    bus.subscribe(subscribe, Arc::new(handler)).await.expect("the parent can subscribe, too");
}

/// One line at once, since handlers run beside each other.
fn say(what: &str) {
    let _ = std::io::stdout().write_all(format!("{MARK}{what}\n").as_bytes());
}

/// Takes events and never lets go of them.
struct Holds;

#[async_trait]
impl Handler for Holds {
    async fn handle(&self, _ctx: &Context, _event: &Event) -> Result<(), HandlerError> {
        say("holding");
        std::future::pending().await
    }

    fn name(&self) -> &str {
        "holds"
    }
}

/// Takes the process down with it.
struct Crashes;

#[async_trait]
impl Handler for Crashes {
    async fn handle(&self, _ctx: &Context, _event: &Event) -> Result<(), HandlerError> {
        say("crashing");
        std::process::abort()
    }

    fn name(&self) -> &str {
        "crashes"
    }
}
