//! The Docker daemon, asked from anywhere.

use std::{
    future::Future,
    sync::{LazyLock, mpsc},
};
use testcontainers::bollard;
use tokio::runtime::{Builder, Runtime};

/// Where requests to the daemon run. Not on the runtime of a test: a server that tests share outlives the runtime of the first, and a server
/// may be dropped where there is none.
static RUNTIME: LazyLock<Result<Runtime, String>> = LazyLock::new(|| {
    let made = Builder::new_multi_thread().worker_threads(1).thread_name("docker").enable_all().build();
    made.map_err(|error| format!("no runtime can be made for Docker: {error}"))
});

/// Runs a future for Docker to its end. Blocks for as long: a moment, unless it pulls an image.
pub(super) fn run<T, E>(future: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    E: ToString + Send + 'static,
{
    let (done, result) = mpsc::sync_channel(1);
    RUNTIME.as_ref()?.spawn(async move {
        let _ = done.send(future.await.map_err(|error| error.to_string()));
    });
    result.recv().unwrap_or_else(|_| Err("the request to Docker panicked".to_owned()))
}

/// Runs what asks the daemon directly.
pub(super) fn ask<T, F>(question: impl FnOnce(bollard::Docker) -> F + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, bollard::errors::Error>> + Send,
{
    run(async move { question(bollard::Docker::connect_with_defaults()?).await })
}

/// The error says why there is no daemon.
pub(super) fn answers() -> Result<(), String> {
    ask(|docker| async move { docker.ping().await }).map(drop).map_err(|error| format!("Docker does not answer: {error}"))
}
