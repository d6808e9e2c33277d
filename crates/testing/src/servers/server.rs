//! What servers of all kinds have in common.

use super::{
    node::{Node, Recipe, directory},
    port,
    source::{self, Kind},
};
use std::net::SocketAddr;
use tempfile::TempDir;

/// How often another port is tried, where somebody was quicker.
const PORTS: usize = 5;

/// How a server of one kind is started.
pub(super) trait Shape: Clone {
    fn kind(&self) -> &'static Kind;
    /// The port that it must have.
    fn port(&self) -> Option<u16>;
    /// Writes its files into its directory, and says how to run it.
    fn recipe(&self, address: SocketAddr, directory: TempDir) -> Recipe;
    /// What to start in its place, where a server that is too old refused it.
    fn simpler(&self, _fault: &str) -> Option<Self> {
        None
    }
}

/// Starts a server. The error says what to install, or why it did not get ready.
pub(super) async fn launch<S: Shape>(shape: &S) -> Result<Node, String> {
    let found = source::find(shape.kind())?;
    let mut shape = shape.clone();
    let mut ports = PORTS;
    loop {
        let address = shape.port().map_or_else(port::free, port::local);
        let fault = match Node::start(shape.recipe(address, directory(shape.kind())), &found).await {
            Ok(node) => return Ok(node),
            Err(fault) => fault,
        };
        if let Some(simpler) = shape.simpler(&fault) {
            shape = simpler;
        } else if shape.port().is_none() && ports > 1 && fault.to_lowercase().contains("address already in use") {
            ports -= 1;
        } else {
            return Err(format!("{} at {address}, started from {found:?}: {fault}", shape.kind().program));
        }
    }
}

/// The methods that every server has.
macro_rules! server_methods {
    ($server:ident) => {
        impl $server {
            /// Where it listens. It stays the same when it is started again.
            pub fn address(&self) -> SocketAddr {
                self.node.address()
            }

            /// Its directory: configuration, data and log. It is removed with the server.
            pub fn directory(&self) -> &std::path::Path {
                self.node.directory()
            }

            /// What it has logged so far.
            pub fn log(&self) -> String {
                self.node.log()
            }

            /// Kills it, as `kill -9` does, and returns when it is gone.
            pub async fn kill(&self) {
                self.node.kill().await;
            }

            /// Asks it to stop, as `kill` does, and returns when it is gone.
            ///
            /// # Panics
            /// Where it does not stop, such as while it is paused.
            pub async fn stop(&self) {
                self.node.stop().await;
            }

            /// Stops its clock: connections stay open and nothing is answered.
            ///
            /// # Panics
            /// Where it does not run.
            pub fn pause(&self) {
                self.node.pause();
            }

            /// Lets it go on after [`pause`](Self::pause).
            pub fn resume(&self) {
                self.node.resume();
            }

            /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same port with the same directory, and
            /// returns when it is ready.
            ///
            /// # Panics
            /// Where it still runs, or does not get ready.
            pub async fn start_again(&self) {
                self.node.start_again().await;
            }

            /// Kills it and starts it again.
            ///
            /// # Panics
            /// As [`start_again`](Self::start_again) does.
            pub async fn restart(&self) {
                self.node.kill().await;
                self.node.start_again().await;
            }

            /// The resident bytes of its process; 0 where that cannot be read.
            pub fn memory(&self) -> u64 {
                self.node.memory()
            }
        }
    };
}
pub(super) use server_methods;
