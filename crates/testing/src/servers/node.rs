//! One server, wherever it runs: started, waited for, killed, paused and started again.

use super::{
    guarded::Guarded,
    ready::Ready,
    source::{Found, Kind},
};
use std::{fs, net::SocketAddr, path::Path, time::Duration};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long a server may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a wait looks again.
const PACE: Duration = Duration::from_millis(5);
/// How many lines of its log tell why a server does not answer.
const TAIL: usize = 30;

/// What can be sent to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Kill,
    Stop,
    Pause,
    Resume,
}

/// What runs a server. Nothing here waits for the server, only for the host.
pub(super) trait Host: std::fmt::Debug + Send + Sync {
    fn start(&self) -> Result<(), String>;
    fn is_running(&self) -> bool;
    /// Does nothing where it does not run.
    fn signal(&self, signal: Signal);
    /// Resident bytes; 0 where they cannot be read.
    fn memory(&self) -> u64;
    /// What the server has said so far.
    fn log(&self) -> String;
}

/// What there is to know before a server can be started.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) kind: &'static Kind,
    pub(super) address: SocketAddr,
    pub(super) directory: TempDir,
    /// The arguments after the program's name.
    pub(super) arguments: Vec<String>,
    /// When it counts as ready.
    pub(super) ready: Ready,
}

/// A server with a directory of its own.
#[derive(Debug)]
pub(super) struct Node {
    // Before the directory, which it writes into until it is dropped.
    host: Box<dyn Host>,
    recipe: Recipe,
}

/// The directory for a server, with room for its data.
pub(super) fn directory(kind: &Kind) -> TempDir {
    let made = tempfile::Builder::new().prefix(&format!("eventbus-{}-", kind.program)).tempdir();
    made.unwrap_or_else(|error| panic!("no temporary directory can be made for {}: {error}", kind.program))
}

/// Writes a file into the directory of a server. Returns its path.
pub(super) fn write(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
    path.display().to_string()
}

impl Node {
    /// Starts it, and returns when it is ready. The error is the log's end, or why there is no log.
    pub(super) async fn start(recipe: Recipe, found: &Found) -> Result<Self, String> {
        let host: Box<dyn Host> = match found {
            Found::Binary(program) => Box::new(Guarded::new(program, &recipe)),
            #[cfg(feature = "containers")]
            Found::Container(image) => Box::new(super::container::Container::new(image, &recipe)),
        };
        host.start()?;
        let node = Self { host, recipe };
        node.answers().await?;
        Ok(node)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.recipe.address
    }

    pub(super) fn directory(&self) -> &Path {
        self.recipe.directory.path()
    }

    pub(super) fn log(&self) -> String {
        self.host.log()
    }

    pub(super) fn memory(&self) -> u64 {
        self.host.memory()
    }

    pub(super) async fn kill(&self) {
        self.host.signal(Signal::Kill);
        self.gone("killed").await;
    }

    pub(super) async fn stop(&self) {
        self.host.signal(Signal::Stop);
        self.gone("asked to stop").await;
    }

    pub(super) fn pause(&self) {
        assert!(self.host.is_running(), "{self} cannot be paused, since it does not run");
        self.host.signal(Signal::Pause);
    }

    pub(super) fn resume(&self) {
        self.host.signal(Signal::Resume);
    }

    pub(super) async fn start_again(&self) {
        assert!(!self.host.is_running(), "{self} cannot be started again, since it still runs");
        if let Err(fault) = async {
            self.host.start()?;
            self.answers().await
        }
        .await
        {
            panic!("{self} was started again: {fault}");
        }
    }

    /// Waits until it is ready in another sense than at its start, for so long. The error names it, and says why it is not.
    pub(super) async fn wait_for(&self, ready: Ready, patience: Duration) -> Result<(), String> {
        self.answers_as(ready, patience).await.map_err(|fault| format!("{self}: {fault}"))
    }

    async fn answers(&self) -> Result<(), String> {
        self.answers_as(self.recipe.ready, PATIENCE).await
    }

    /// Waits until it is ready. The error says why it is not, with the end of its log.
    async fn answers_as(&self, ready: Ready, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            let answer = ready.ask(self.address()).await;
            // Also after an answer: another one may have the port, and answer in its place.
            if !self.host.is_running() {
                return Err(format!("it ended at once. Its log ends with:\n{}", self.log_tail()));
            }
            let Err(fault) = answer else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(format!("it is not ready after {patience:?}: {fault}. Its log ends with:\n{}", self.log_tail()));
            }
            sleep(PACE).await;
        }
    }

    async fn gone(&self, how: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.host.is_running() {
            assert!(Instant::now() < deadline, "{self} was {how}, and still runs after {PATIENCE:?}. Is it paused?\n{}", self.log_tail());
            sleep(PACE).await;
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.recipe.kind.program, self.address())
    }
}
