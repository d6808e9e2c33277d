//! `eventbus completions`: a completion script.

use crate::{
    args::{Cli, CompletionsArgs},
    exit::{Exit, Outcome},
    output::Output,
};
use clap::CommandFactory as _;

pub(super) fn run(args: &CompletionsArgs, out: &mut Output) -> Outcome {
    // Into memory first: the generator panics where a write fails, and a closed pipe is no reason to.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "eventbus", &mut script);
    out.bytes(&script)?;
    Ok(Exit::Done)
}
