//! Containers that never outlive the tests.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Removes the container `$1` and the directory `$2` when standard input ends: that is a pipe which this process holds, so it ends with this
/// process, whatever ends that.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r _
docker rm --force "$1"
rm -rf -- "$2"
"#;

/// A process that removes a container when this one has ended. Dropping it calls it off.
#[derive(Debug)]
pub(super) struct Watch(Option<Child>);

impl Watch {
    pub(super) fn over(container: &str, directory: &Path) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "watch", container]).arg(directory);
        // Apart from the terminal: an interrupt there ends the tests, and that is what it waits for.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Its standard input stays open as long as it is kept. Without a shell the container outlives a test that is killed, as any
        // container of `testcontainers` does.
        Self(command.spawn().ok())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = (child.kill(), child.wait());
        }
    }
}
