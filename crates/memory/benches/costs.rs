//! What an event costs from its publish to its acknowledgement, in allocations and in processor instructions, held to the figures in
//! `costs.txt`.
//!
//! ```sh
//! cargo bench -p eventbus-memory --bench costs               # fails where a cost is more than 5 % above what is recorded
//! cargo bench -p eventbus-memory --bench costs -- --record   # writes down what it is now
//! ```
//!
//! Neither depends on how fast the machine is or on what else it does. Instructions are counted by callgrind, where there is a `valgrind`,
//! and depend on the compiler, so they are compared only with figures of the same compiler.

use eventbus_core::{Bus, Context, Event, EventData, Handler, HandlerError, Subscribe, async_trait};
use eventbus_memory::MemoryBus;
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{
    alloc::System,
    error::Error,
    fmt::Write as _,
    fs,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/costs.txt");
/// How far a cost may be above what is recorded.
const TOLERANCE: f64 = 1.05;
/// The costs of events are those of the second half of a run with twice as many.
const EVENTS: u64 = 20_000;
/// The first argument of the process that callgrind looks at.
const TRAFFIC: &str = "--traffic";

/// A way from publisher to handlers.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    subscribers: u64,
    grouped: bool,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario { name: "one subscriber", subscribers: 1, grouped: false },
    Scenario { name: "four subscribers", subscribers: 4, grouped: false },
    Scenario { name: "a group", subscribers: 1, grouped: true },
];

/// One cost: what it is called in the record, and what it is.
struct Cost {
    name: String,
    each: f64,
    /// Whether it is as it should be only with the compiler of the record.
    of_compiler: bool,
}

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [TRAFFIC, name, events] => replay(name, events).map(|()| true),
        ["--record"] => record().map(|()| true),
        [] => compare(),
        _ => Err("the only option is --record".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("costs: {fault}");
            ExitCode::from(2)
        }
    }
}

/// Measures and holds the costs to the record. False where one is too high.
fn compare() -> Result<bool, Box<dyn Error>> {
    let recorded = fs::read_to_string(RECORD)?;
    let value_of = |name: &str| recorded.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let same_compiler = value_of("compiler") == Some(&compiler()?);
    let mut fine = true;
    for Cost { name, each, of_compiler } in measured()? {
        let before: f64 = value_of(&name).ok_or_else(|| format!("{name} is not recorded; see --record"))?.parse()?;
        let verdict = if of_compiler && !same_compiler {
            "not compared, since the record is of another compiler"
        } else if each > before * TOLERANCE {
            fine = false;
            "MORE than recorded"
        } else if each * TOLERANCE < before {
            "less than recorded: record it anew"
        } else {
            "as recorded"
        };
        println!("{name}: {each:.2} (recorded: {before:.2}), {verdict}");
    }
    if !fine {
        println!("What is meant to cost more is recorded with: cargo bench -p eventbus-memory --bench costs -- --record");
    }
    Ok(fine)
}

fn record() -> Result<(), Box<dyn Error>> {
    let mut written = format!("compiler: {}\n", compiler()?);
    for Cost { name, each, .. } in measured()? {
        writeln!(written, "{name}: {each:.2}")?;
    }
    print!("{written}");
    Ok(fs::write(RECORD, written)?)
}

fn measured() -> Result<Vec<Cost>, Box<dyn Error>> {
    let mut costs = Vec::new();
    for scenario in SCENARIOS {
        let each = (allocations(scenario, 2 * EVENTS)? - allocations(scenario, EVENTS)?) / EVENTS as f64;
        costs.push(Cost { name: format!("allocations, {}", scenario.name), each, of_compiler: false });
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("instructions: NOT COUNTED, since there is no valgrind here");
        return Ok(costs);
    }
    for scenario in SCENARIOS {
        let each = (instructions(scenario, 2 * EVENTS)? - instructions(scenario, EVENTS)?) / EVENTS as f64;
        costs.push(Cost { name: format!("instructions, {}", scenario.name), each, of_compiler: true });
    }
    Ok(costs)
}

/// The version of the compiler and what it compiles for.
fn compiler() -> Result<String, Box<dyn Error>> {
    let printed = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into())).arg("--version").output()?;
    Ok(format!("{} {}", String::from_utf8(printed.stdout)?.trim(), std::env::consts::ARCH))
}

/// How many allocations a run makes.
fn allocations(scenario: Scenario, events: u64) -> Result<f64, Box<dyn Error>> {
    let region = Region::new(ALLOCATOR);
    traffic(scenario, events)?;
    let made = region.change();
    Ok((made.allocations + made.reallocations) as f64)
}

/// How many instructions a process executes in which there is nothing but a run.
fn instructions(scenario: Scenario, events: u64) -> Result<f64, Box<dyn Error>> {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([TRAFFIC, scenario.name, &events.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&run.stderr);
    let counted = said.lines().find_map(|line| line.split_once("Collected :")).filter(|_| run.status.success());
    Ok(counted.ok_or_else(|| format!("callgrind counted nothing: {said}"))?.1.trim().parse()?)
}

fn replay(name: &str, events: &str) -> Result<(), Box<dyn Error>> {
    let scenario = SCENARIOS.into_iter().find(|scenario| scenario.name == name).ok_or("there is no such scenario")?;
    traffic(scenario, events.parse()?)
}

/// An event with 64 bytes of data.
#[derive(Debug, Serialize, Deserialize)]
struct Tick {
    numbers: [u64; 8],
}

impl EventData for Tick {
    const TYPE: &'static str = "tick";
}

struct Counting(AtomicU64);

#[async_trait]
impl Handler for Counting {
    async fn handle(&self, _: &Context, event: &Event) -> Result<(), HandlerError> {
        self.0.fetch_add(event.decode::<Tick>()?.numbers[0], Relaxed);
        Ok(())
    }
}

/// Publishes events and has them handled, on one thread, so that every run does the same.
fn traffic(scenario: Scenario, events: u64) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
        let bus = MemoryBus::new();
        let handler = Arc::new(Counting(AtomicU64::new(0)));
        for _ in 0..scenario.subscribers {
            let subscribe = Subscribe::to(Tick::TYPE);
            let subscribe = if scenario.grouped { subscribe.group("workers") } else { subscribe };
            bus.subscribe(subscribe, Arc::clone(&handler) as Arc<dyn Handler>).await?;
        }
        for _ in 0..events {
            bus.publish(Event::new(Tick { numbers: [1; 8] })).await?;
        }
        bus.settled().await;
        assert_eq!(handler.0.load(Relaxed), events * scenario.subscribers, "every event is handled once");
        Ok(())
    })
}
