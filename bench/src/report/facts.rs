//! What was measured on and with.

use crate::contest::Result;
use std::{fs, path::Path, process::Command};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Whose versions are told, apart from the servers'.
const PEERS: [&str; 16] = [
    "async-broadcast",
    "async-nats",
    "cloudevents-sdk",
    "flume",
    "omniqueue",
    "redis",
    "ruststream",
    "ruststream-fred",
    "ruststream-nats",
    "sea-streamer-redis",
    "serde_json",
    "strev",
    "strev-channel",
    "strev-nats",
    "strev-redis",
    "tokio",
];

/// Everything, by name.
pub(super) fn all() -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("date", OffsetDateTime::now_utc().format(&Rfc3339)?.chars().take(10).collect()),
        ("commit", commit()),
        ("machine", machine()),
        ("compiler", said("rustc", &["--version"])),
        ("servers", format!("{}; {}", said("nats-server", &["--version"]), said("redis-server", &["--version"]))),
        ("peers", peers()?),
    ])
}

fn commit() -> String {
    let changed = if said("git", &["status", "--porcelain", "--", "../crates"]).is_empty() { "" } else { ", with changes" };
    format!("{}{changed}", said("git", &["rev-parse", "--short", "HEAD"]))
}

fn machine() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    format!("{model}, {cores} cores, {} GiB, {}", (kib + (1 << 19)) >> 20, major_and_minor(&said("uname", &["-sr"])))
}

/// A kernel without the rest of its version.
fn major_and_minor(kernel: &str) -> String {
    kernel.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn peers() -> Result<String> {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"))?;
    let lines: Vec<&str> = lock.lines().collect();
    let versions = |peer: &str| -> Vec<String> {
        let name = format!("name = \"{peer}\"");
        let found = lines.windows(2).filter(|pair| pair[0] == name);
        found.filter_map(|pair| Some(pair[1].strip_prefix("version = \"")?.trim_end_matches('"').to_owned())).collect()
    };
    // Of several the last is the newest, which is ours; older ones are what peers are built on.
    Ok(PEERS.iter().filter_map(|peer| Some(format!("{peer} {}", versions(peer).pop()?))).collect::<Vec<_>>().join(", "))
}

/// What a program prints, on one line; nothing where it cannot be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    let run = Command::new(program).args(arguments).env("PATH", path).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    run.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_told_by_major_and_minor() {
        assert_eq!(major_and_minor("Linux 6.18.44-a-v657"), "Linux 6.18");
        assert_eq!(major_and_minor("Darwin 24.1.0"), "Darwin 24.1");
        assert_eq!(major_and_minor(""), "");
    }
}
