//! Instructions and allocations for each event, counted by callgrind in a process of their own.

use crate::{
    contest::{Contest, Result, Side, Unit, turn},
    in_process,
};
use std::{
    collections::HashMap,
    fs,
    process::{Command, ExitCode},
    sync::{Mutex, PoisonError},
};

/// The first argument of a process that does nothing but one side's job: the side and the number of events follow.
pub const ALONE: &str = "--alone";

/// The costs of an event are those of the second half of a run with twice as many.
const EVENTS: u64 = 4_000;

/// All of them; none where there is no valgrind.
#[must_use]
pub fn contests() -> Vec<Contest> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("costs: not counted, since there is no valgrind here");
        return Vec::new();
    }
    [Unit::Allocations, Unit::Instructions]
        .map(|unit| {
            let name = if unit == Unit::Allocations { "costs/allocations 1→1" } else { "costs/instructions 1→1" };
            Contest::new(name, unit, EVENTS, counted("ours", unit))
                .against("tokio broadcast", None, counted("tokio broadcast", unit))
                .against("tokio mpsc", None, counted("tokio mpsc", unit))
                .against("ruststream", None, counted("ruststream", unit))
                .against("strev", None, counted("strev", unit))
        })
        .into()
}

/// What a run costs.
#[derive(Debug, Clone, Copy)]
struct Costs {
    instructions: f64,
    allocations: f64,
}

fn counted(side: &'static str, unit: Unit) -> Side {
    Side::new(move || async move {
        Ok(turn(move |_| async move {
            let costs = tokio::task::spawn_blocking(move || of_an_event(side)).await??;
            Ok(if unit == Unit::Allocations { costs.allocations } else { costs.instructions })
        }))
    })
}

/// Counted once, since every count comes to the same.
fn of_an_event(side: &'static str) -> Result<Costs> {
    static KNOWN: Mutex<Option<HashMap<&str, Costs>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(costs) = known.get(side) {
        return Ok(*costs);
    }
    let (some, twice) = (of_a_run(side, EVENTS)?, of_a_run(side, 2 * EVENTS)?);
    let each = |of: fn(&Costs) -> f64| (of(&twice) - of(&some)) / EVENTS as f64;
    let costs = Costs { instructions: each(|costs| costs.instructions), allocations: each(|costs| costs.allocations) };
    known.insert(side, costs);
    Ok(costs)
}

fn of_a_run(side: &str, events: u64) -> Result<Costs> {
    let profile = std::env::temp_dir().join(format!("eventbus-bench-{}.callgrind", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--compress-strings=no"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args([ALONE, side, &events.to_string()])
        .output()?;
    let written = fs::read(&profile)?;
    fs::remove_file(&profile)?;
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into());
    }
    read(&String::from_utf8_lossy(&written)).ok_or_else(|| "callgrind wrote something else than expected".into())
}

/// Reads what callgrind wrote: the sum of all instructions, and how often functions that allocate were called.
fn read(profile: &str) -> Option<Costs> {
    let sum = |line: &str| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")).map(str::to_owned);
    let instructions = profile.lines().find_map(sum)?.trim().parse().ok()?;
    let mut allocations = 0.0;
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        if matches!(line, "cfn=malloc" | "cfn=calloc" | "cfn=realloc" | "cfn=memalign" | "cfn=posix_memalign" | "cfn=aligned_alloc") {
            let calls = lines.next()?.strip_prefix("calls=")?.split_whitespace().next()?;
            allocations += calls.parse::<f64>().ok()?;
        }
    }
    Some(Costs { instructions, allocations })
}

/// Does the job of one side on one thread, so that the same instructions are executed each time.
#[must_use]
pub fn alone(side: &str, events: &str) -> ExitCode {
    let (Some(side), Ok(events)) = (in_process::side(side), events.parse()) else { return ExitCode::from(2) };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return ExitCode::FAILURE };
    let turn = runtime.block_on(async { side.prepare().await?(events).await });
    match turn {
        Ok(_) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read() {
        let costs = read("fn=main\n1 2\ncfn=malloc\ncalls=3 0\n5 6\ncob=libc\ncfn=realloc\ncalls=2 1\n\ntotals: 1234\n").unwrap();
        assert_eq!((costs.instructions, costs.allocations), (1234.0, 5.0));
        assert!(read("nothing").is_none());
    }
}
