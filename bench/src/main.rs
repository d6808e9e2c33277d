//! Runs the comparisons: see `cargo xtask bench --help`.

use eventbus_bench::{
    all::PARTS,
    arguments::{Arguments, USAGE},
    contest::{Contest, Result},
    costs, report,
    run::{self, Effort},
    show,
};
use std::process::ExitCode;

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let [alone, job @ ..] = &given[..]
        && alone == costs::ALONE
    {
        return costs::alone(job);
    }
    let arguments = match Arguments::parse(given) {
        Ok(arguments) => arguments,
        Err(fault) => {
            eprintln!("{fault}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(measure(&arguments))) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            faults.iter().for_each(|fault| eprintln!("could not be measured: {fault}"));
            ExitCode::FAILURE
        }
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what is asked for. Returns what could not be measured.
async fn measure(arguments: &Arguments) -> Result<Vec<String>> {
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let mut faults = Vec::new();
    if !arguments.json && !arguments.list {
        println!("Medians of {} rounds in turns; the spread is between the quartiles of the ratios of each round.", effort.rounds);
        println!("A ratio above 1 means that Eventbus is better.\n\n{}", show::head());
    }
    let (filter, mut done) = (arguments.filter.as_deref(), Vec::new());
    for part in &PARTS {
        if arguments.list {
            let listed = part.contests("").into_iter().filter_map(|contest| contest.filtered(filter));
            listed.for_each(|contest| contest.rivals.iter().for_each(|rival| println!("{} {}", contest.name, rival.name)));
            continue;
        }
        for number in 0..part.contests("").len() {
            let is_in = |contest: &Contest| !(arguments.quick && contest.is_slow);
            let chosen = |url: &str| part.contests(url).into_iter().nth(number).filter(is_in).and_then(|contest| contest.filtered(filter));
            if chosen("").is_none() {
                continue;
            }
            let server = part.server().await;
            let Some(contest) = chosen(&server.url()) else { continue };
            for comparison in run::run(contest, effort, &mut faults).await {
                println!("{}", if arguments.json { show::object(&comparison).to_string() } else { show::line(&comparison) });
                done.push(comparison);
            }
        }
    }
    if arguments.report {
        eprintln!("written: {}", report::write(&done, effort)?.display());
    }
    Ok(faults)
}
