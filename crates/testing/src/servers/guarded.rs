//! A server as a process of this machine, which never outlives the tests.

use super::node::{Host, Recipe, Signal};
use rustix::process::{Pid, kill_process};
use std::{
    fs,
    io::{BufRead, BufReader},
    iter,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Runs a command, and kills it when standard input ends: that is a pipe which this process holds, so it ends with this process, whatever
/// ends that. `kill -9` reaches a stopped process, too. The directory `$1` is then removed, since nobody else is left to do it. Output goes
/// to `$2`.
///
/// Hanging up is ignored, since the system does that to a group of processes with a stopped one in it, when nobody outside is left.
///
/// The shell lives exactly as long as the server. It collects the server's process, so the number it printed stays true meanwhile.
const WATCHDOG: &str = r#"
directory=$1 log=$2
shift 2
exec 3<&0 </dev/null
"$@" 3<&- >>"$log" 2>&1 &
server=$!
( trap '' INT HUP; read -r _ <&3; trap '' TERM; kill -9 "$server" 2>/dev/null; exit 0 ) >/dev/null 2>&1 &
guard=$!
trap '' INT TERM HUP
echo "$server"
exec >/dev/null 2>&1 3<&-
wait "$server"
kill "$guard"
wait "$guard" && rm -rf -- "$directory"
exit 0
"#;

/// A program that can be started, signalled and started again. Its output goes to a file in its directory.
#[derive(Debug)]
pub(super) struct Guarded {
    command: Vec<String>,
    directory: PathBuf,
    log: PathBuf,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    watchdog: Child,
    server: Pid,
    /// What the watchdog waits at.
    _held: ChildStdin,
}

impl Guarded {
    pub(super) fn new(program: &Path, recipe: &Recipe) -> Self {
        let directory = recipe.directory.path().to_owned();
        let command = iter::once(program.display().to_string()).chain(recipe.arguments.iter().cloned()).collect();
        Self { command, log: directory.join("server.log"), directory, running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for Guarded {
    fn start(&self) -> Result<(), String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCHDOG, "watchdog"]).arg(&self.directory).arg(&self.log).args(&self.command);
        // Apart from the terminal: an interrupt there ends the tests, and that ends the server.
        command.process_group(0).current_dir(&self.directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut watchdog = command.spawn().map_err(|error| format!("/bin/sh cannot be run: {error}"))?;
        let (Some(held), Some(said)) = (watchdog.stdin.take(), watchdog.stdout.take()) else { unreachable!("both are pipes") };
        let mut number = String::new();
        let read = BufReader::new(said).read_line(&mut number);
        let server = number.trim().parse().ok().and_then(Pid::from_raw);
        let server = server.ok_or_else(|| format!("the watchdog of {:?} did not say the process it started: {read:?}", self.command))?;
        *self.running() = Some(Running { watchdog, server, _held: held });
        Ok(())
    }

    fn is_running(&self) -> bool {
        let mut running = self.running();
        let Some(process) = running.as_mut() else { return false };
        // The watchdog ends with the server.
        let over = !matches!(process.watchdog.try_wait(), Ok(None));
        if over {
            *running = None;
        }
        !over
    }

    fn signal(&self, signal: Signal) {
        if !self.is_running() {
            return;
        }
        if let Some(process) = self.running().as_ref() {
            let signal = match signal {
                Signal::Kill => rustix::process::Signal::KILL,
                Signal::Stop => rustix::process::Signal::TERM,
                Signal::Pause => rustix::process::Signal::STOP,
                Signal::Resume => rustix::process::Signal::CONT,
            };
            // It may end just now; then there is nobody to signal.
            let _ = kill_process(process.server, signal);
        }
    }

    fn memory(&self) -> u64 {
        let server = self.running().as_ref().map(|process| process.server.as_raw_nonzero().get().unsigned_abs());
        server.map_or(0, memory_of)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.signal(Signal::Kill);
        if let Some(mut process) = self.running().take() {
            let _ = process.watchdog.wait();
        }
    }
}

/// The resident bytes of a process; 0 where they cannot be read.
pub fn memory_of(process: u32) -> u64 {
    let kilobytes = |text: &str| text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    let listed = match fs::read_to_string(format!("/proc/{process}/status")) {
        Ok(status) => status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(kilobytes),
        // Without /proc, as on macOS.
        Err(_) => {
            let ps = Command::new("ps").args(["-o", "rss=", "-p", &process.to_string()]).output().ok();
            ps.and_then(|ps| kilobytes(&String::from_utf8_lossy(&ps.stdout)))
        }
    };
    listed.unwrap_or_default() * 1024
}
