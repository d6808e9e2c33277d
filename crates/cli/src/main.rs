//! The eventbus program: publishes, subscribes, requests, looks after dead letters and groups, validates, diagnoses, measures, and shows
//! in one sitting what an event bus is for.

mod args;
mod commands;
mod draft;
mod event_text;
mod exit;
mod input;
mod interrupt;
mod json_text;
mod output;
mod pace;
mod parse;
mod progress;
mod run_id;
mod screen;
mod session;
mod table;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match args::Cli::try_parse() {
        Ok(cli) => commands::run(cli).into(),
        Err(said) => exit::usage(&said).into(),
    }
}
