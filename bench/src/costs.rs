//! Instructions and allocations for each event, counted by callgrind in a process of their own.

use crate::{
    all,
    contest::{Contest, Fault, Result, Side, Unit, turn},
    in_process,
};
use std::{
    collections::HashMap,
    fs,
    process::{Command, ExitCode},
    sync::{LazyLock, Mutex, PoisonError},
};

/// The first argument of a process that does nothing but one side's job: the contest, the side, how many events a turn has and the URL of the
/// server follow.
pub const ALONE: &str = "--alone";

/// More than a log keeps, so that each event that is counted pushes one out.
const IN_PROCESS: u64 = 20_000;
/// Callgrind is slow, and so is a client that it looks at.
const OVER_A_SERVER: u64 = 2_000;

/// Those in process.
#[must_use]
pub fn contests() -> Vec<Contest> {
    let Some(job) = in_process::contests().into_iter().next().filter(|_| *CAN_COUNT) else { return Vec::new() };
    [("costs/allocations 1→1", Unit::Allocations), ("costs/instructions 1→1", Unit::Instructions)]
        .map(|(name, unit)| of(&job, name, unit, IN_PROCESS, ""))
        .into()
}

/// What each client takes for jobs with the server at this URL, without what the server does.
#[must_use]
pub fn of_clients<'a>(jobs: impl IntoIterator<Item = &'a Contest>, url: &str) -> Vec<Contest> {
    let counted = |job: &Contest| {
        let (part, what) = job.name.split_once('/')?;
        Some(of(job, &format!("{part}/in the client alone: {what}"), Unit::Instructions, OVER_A_SERVER, url).slow())
    };
    jobs.into_iter().filter(|_| *CAN_COUNT).filter_map(counted).collect()
}

static CAN_COUNT: LazyLock<bool> = LazyLock::new(|| {
    let can = Command::new("valgrind").arg("--version").output().is_ok();
    if !can {
        eprintln!("costs: not counted, since there is no valgrind here");
    }
    can
});

/// The contest about what the sides of `job` cost.
fn of(job: &Contest, name: &str, unit: Unit, events: u64, url: &str) -> Contest {
    let counted = |side: &str| counted(Counted { job: job.name.clone(), side: side.to_owned(), url: url.to_owned() }, unit);
    let contest = Contest::new(name, unit, events, counted(OURS));
    job.rivals.iter().fold(contest, |contest, rival| contest.against(&rival.name, None, counted(&rival.name)))
}

const OURS: &str = "ours";

/// Whose job it is that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Counted {
    job: String,
    side: String,
    url: String,
}

/// What an event costs.
#[derive(Debug, Clone, Copy)]
struct Costs {
    instructions: f64,
    allocations: f64,
}

fn counted(counted: Counted, unit: Unit) -> Side {
    Side::new(move || async move {
        Ok(turn(move |events| {
            let counted = counted.clone();
            async move {
                let costs = tokio::task::spawn_blocking(move || of_an_event(counted, events)).await??;
                Ok(if unit == Unit::Allocations { costs.allocations } else { costs.instructions })
            }
        }))
    })
}

/// Counted once, since counting takes long and every count comes to the same but for the little that depends on a server's timing.
fn of_an_event(counted: Counted, events: u64) -> Result<Costs> {
    static KNOWN: Mutex<Option<HashMap<Counted, Costs>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(costs) = known.get(&counted) {
        return Ok(*costs);
    }
    let Costs { instructions, allocations } = of_a_turn(&counted, events)?;
    let costs = Costs { instructions: instructions / events as f64, allocations: allocations / events as f64 };
    known.insert(counted, costs);
    Ok(costs)
}

fn of_a_turn(Counted { job, side, url }: &Counted, events: u64) -> Result<Costs> {
    let profile = std::env::temp_dir().join(format!("eventbus-bench-{}.callgrind", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--compress-strings=no", "--zero-before=*counting_begins*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args([ALONE, job, side, &events.to_string(), url])
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

/// Has two turns of one side on one thread, so that the same instructions are executed each time. The second one counts.
#[must_use]
pub fn alone(arguments: &[String]) -> ExitCode {
    let [job, side, events, url] = arguments else { return ExitCode::from(2) };
    let (Some(job), Ok(events)) = (all::contest(job, url), events.parse()) else { return ExitCode::from(2) };
    let Some(side) = (if side == OURS { Some(job.ours) } else { job.rival(side) }) else { return ExitCode::from(2) };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return ExitCode::FAILURE };
    let turns = runtime.block_on(async {
        let mut turn = side.prepare().await?;
        turn(events).await?;
        counting_begins();
        turn(events).await?;
        // At once, since taking everything down would count, too.
        std::process::exit(0)
    });
    let Err::<(), Fault>(fault) = turns else { return ExitCode::SUCCESS };
    eprintln!("{fault}");
    ExitCode::FAILURE
}

/// Callgrind knows it by its name.
#[inline(never)]
fn counting_begins() {
    std::hint::black_box(ALONE);
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
